//! Small files that say how much of each model goes into which part of a merge: [`Counts`] of a language's tokens, from which
//! weights of embedding rows follow, and [`Coefficients`], weights that somebody has computed or learned.
//!
//! Both are safetensors files with a `format` in their metadata, so that any program can write and read them.

mod counts;
mod file;
mod open;

pub use counts::Counts;
pub use file::{Coefficient, Coefficients, Key, Written, write};
pub(crate) use open::{Opened, open};
