//! Perplexity of a checkpoint, or of a recipe that was never written, for each language.
//!
//! Texts become documents ([`Text`]), documents tokens ([`Tokenizer`]), tokens windows, and windows sums
//! ([`measure()`]). [`Evaluation`] is what all reports are made from; [`Baseline`] is one that was kept, to hold
//! later ones against.

mod baseline;
mod count;
mod home;
mod lines;
mod measure;
mod model;
mod pairs;
mod run;
mod statistics;
mod text;
mod tokenizer;
mod verdict;
mod windows;

pub use baseline::{Baseline, Kept};
pub use count::{Corpus, count};
pub use home::Home;
pub use measure::{Measured, Prepared, Sums, Unit, measure};
pub use model::{Model, ModelSource, is_recipe};
pub use pairs::{Judged, Pairs};
pub use run::{Evaluation, Evaluator, JudgedPairs, Language, Rules};
pub use statistics::{Estimate, paired, ratio};
pub use text::{Documents, Reading, Split, Text, documents_as_file, folder};
pub use tokenizer::{Start, Tokenizer, Tokens};
pub use verdict::{Noise, Tolerance, Tolerances, Verdict, Why};
pub use windows::{Window, windows};
