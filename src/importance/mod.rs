//! How much a model's weights matter to a text: squared gradients, and what goes into its projections.
//!
//! [`Fisher`] is the diagonal of the empirical Fisher information (Matena and Raffel 2022, arXiv 2111.09832): for each
//! weight the sum over sequences of the squared gradient of the sequence's log-likelihood, divided by the number of
//! tokens that were predicted. [`Grams`] are the Gram matrices of RegMean (Jin et al. 2023, arXiv 2212.09849): for each
//! projection the mean over tokens of `x · xᵀ`, with `x` what goes into it. The methods `fisher` and `regmean` merge
//! with them.

mod fisher;
mod gram;
mod sample;

use std::path::Path;

pub use fisher::Fisher;
pub use gram::Grams;
pub use sample::{Sample, Sampling, Sequence};

use crate::decoder::{Config, Weights};
use crate::eval::{Model, ModelSource, Start, Text, Tokenizer};
use crate::execute::Observer;
use crate::problem::{Error, ExecError, Problems};

/// A model, a text, and how much of it is used.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The model.
    pub model: &'a Model,
    /// What it is measured on.
    pub text: &'a Text,
    /// A folder to take the tokenizer from instead of the model's own.
    pub tokenizer: Option<&'a Path>,
    /// What texts begin with.
    pub start: &'a Start,
    /// Which part of the text.
    pub sampling: Sampling,
    /// Worker threads, at least 1; no number depends on how many.
    pub threads: usize,
    /// Is told how many tokens there are, and of tokens as they are done.
    pub progress: &'a dyn Observer,
}

/// What a measurement was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// SHA-256 of the model's weights: [`Model::digest`].
    pub model: String,
    /// SHA-256 of `tokenizer.json`.
    pub tokenizer: String,
    /// The user's name for the text's language.
    pub language: String,
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Runs of tokens that they were predicted in.
    pub sequences: usize,
}

/// What can be said before a weight is read: configuration, shapes and tokenizer.
///
/// # Errors
/// All that is wrong with them.
pub fn check(model: &ModelSource, tokenizer: Option<&Path>, start: &Start) -> Result<(), Problems> {
    let mut problems = Problems::new();
    let config = Config::read(&model.config, &format!("{}: config.json", model.name));
    let weights = config.and_then(|c| Weights::find(&c, model.tensors(), &model.name).map(drop));
    let tokenizer = match tokenizer {
        Some(folder) => Tokenizer::open(folder, start),
        None => Tokenizer::of(&model.tokenizer, start),
    };
    let found = [weights, tokenizer.map(drop)].into_iter().filter_map(Result::err);
    found.for_each(|found| problems.extend(found));
    if problems.has_errors() { Err(problems) } else { Ok(()) }
}

impl Task<'_> {
    fn config(&self) -> Result<Config, Problems> {
        Config::read(&self.model.config, &format!("{}: config.json", self.model.name))
    }

    /// The part of the text, in tokens, and what is said of it.
    fn sample(&self, config: &Config) -> Result<(Sample, About), Problems> {
        let tokenizer = match self.tokenizer {
            Some(folder) => Tokenizer::open(folder, self.start)?,
            None => Tokenizer::of(&self.model.tokenizer, self.start)?,
        };
        let sample = Sample::draw(self.text, &tokenizer, config.vocab, self.sampling)?;
        let about = About {
            model: self.model.digest.clone(),
            tokenizer: tokenizer.sha256().to_owned(),
            language: self.text.language.clone(),
            tokens: sample.tokens(),
            sequences: sample.sequences().len(),
        };
        Ok((sample, about))
    }

    fn pool(&self) -> Result<rayon::ThreadPool, Error> {
        let threads = self.threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        Ok(pool.map_err(|e| ExecError::Memory { what: format!("cannot start {threads} threads: {e}") })?)
    }
}
