//! The three things that a study has made for it: a tokenizer, trained models, grown models.

use std::path::Path;

use growmerge::problem::Error;

use crate::train::config::Run;

/// How a model is grown.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Widening {
    /// Factor of every width and of heads.
    pub width: u32,
    /// Signal-to-noise ratio of the noise, in decibels; without noise where there is none.
    pub noise_snr: Option<f64>,
    /// Of the noise.
    pub seed: u64,
}

/// Makes what a study asks for. Every folder that a call returns from without an error holds a complete model or
/// tokenizer.
pub trait Maker {
    /// Trains a tokenizer of `vocab` tokens on texts of several languages, the same number of bytes of each, into a
    /// new folder.
    ///
    /// # Errors
    /// What is wrong with the texts; what the machine does.
    fn tokenizer(&self, texts: &[(&str, &Path)], vocab: u64, out: &Path) -> Result<(), Error>;

    /// Trains a model, or goes on where an earlier call was interrupted.
    ///
    /// # Errors
    /// As [`Maker::tokenizer`]; a loss that diverges.
    fn train(&self, run: &Run, out: &Path) -> Result<(), Error>;

    /// Grows a model into a new folder.
    ///
    /// # Errors
    /// What is wrong with the model; what the machine does.
    fn grow(&self, from: &Path, growth: &Widening, out: &Path) -> Result<(), Error>;
}
