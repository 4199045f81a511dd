//! The Hugging Face Hub: models by name. The only network.

mod answer;
mod api;
mod name;
mod retry;
mod settings;
mod token;
mod trouble;
mod web;

pub use name::RepoName;
pub use retry::Policy;
pub use settings::{Network, Settings};
pub use token::Token;
