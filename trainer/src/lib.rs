//! Makes the inputs of language-level merging: a small model, grown by HyperCloning, and continued
//! pretraining of it in one language at a time.

pub mod data;
mod files;
pub mod grow;
pub mod languages;
pub mod reproduce;
mod tensors;
pub mod tokenizer;
pub mod train;
