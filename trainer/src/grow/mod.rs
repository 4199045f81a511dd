//! Growing a checkpoint by HyperCloning, and what may be asked of the result.
//!
//! The formulas are the engine's ([`growmerge::view`]): a grown checkpoint is the merge of one model with
//! `grow`, so it streams in bounded memory, can be resumed, and has a manifest.

mod compare;
mod recipe;
mod write;

pub use compare::{Difference, Rounding, compare};
pub use recipe::{conversion, recipe};
pub use write::{Options, write};
