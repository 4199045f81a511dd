//! Text that a model writes by itself, token by token: what merging learns from where there is a model of a language, and no
//! text.
//!
//! A document begins with the start token and goes on until the model ends it. Each has random numbers of its own, which a
//! seed and its number decide, so that documents do not depend on how many are written together or by how many threads.

mod author;
mod board;
mod draw;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use author::Author;
use board::{Board, DOCUMENT};
pub use draw::Sampling;

use crate::decoder::{Config, Decoder};
use crate::eval::{Model, Start, Tokenizer};
use crate::execute::Observer;
use crate::problem::{Error, ExecError, Problem, Problems};

/// Changes whenever the same model and seed would write other documents.
pub const WRITING: &str = "documents 1";

/// A model, and how much it is to write.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The model.
    pub model: &'a Model,
    /// A folder to take the tokenizer from instead of the model's own.
    pub tokenizer: Option<&'a Path>,
    /// What documents begin with; where that is nothing, the token that stands between texts.
    pub start: &'a Start,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Bytes of documents: they end with the one that reaches it.
    pub bytes: usize,
    /// Worker threads, at least 1; no document depends on how many.
    pub threads: usize,
    /// Set from outside to stop.
    pub cancel: &'a AtomicBool,
    /// Is told how many bytes there are to be, and of those that there are.
    pub progress: &'a dyn Observer,
}

/// What a model wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// In order; none is empty, none has white space at its ends.
    pub documents: Vec<String>,
    /// Bytes of them.
    pub bytes: usize,
    /// Tokens that were drawn for them and for those that were left out, ends included.
    pub tokens: usize,
    /// Documents that the model did not end: they were cut.
    pub cut: usize,
    /// Documents that were left out: nothing but white space, or bytes that are no text.
    pub left_out: usize,
}

/// Lets a model write. A document ends with any special token.
///
/// Memory beside the model, for each thread: keys and values of up to 128 documents, fewer where they take more than 1 GiB, but
/// of one at least; as many rows of logits; and 16 bytes for each token of the vocabulary.
///
/// # Errors
/// What is wrong with model or tokenizer, among it that nothing is there to begin with; logits that are no numbers; a
/// model that writes nothing; [`ExecError::Interrupted`]; what the machine does.
pub fn generate(task: &Task<'_>) -> Result<Written, Error> {
    let Task { model, sampling, .. } = task;
    let config = Config::read(&model.config, &format!("{}: config.json", model.name))?;
    let tokenizer = match task.tokenizer {
        Some(folder) => Tokenizer::open(folder, task.start)?,
        None => Tokenizer::of(&model.tokenizer, task.start)?,
    };
    let start = start(&tokenizer, &config, &model.name)?;
    let vocab = config.vocab.min(tokenizer.ids_end());
    let decoder = Decoder::new(config, model.tensors(), &model.name, sampling.length)?;
    let ends = tokenizer.special_ids();
    let author = Author { decoder: &decoder, start, ends: &ends, vocab, sampling };
    let threads = task.threads.max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool =
        pool.map_err(|e| ExecError::Memory { what: format!("cannot start {threads} threads: {e}") })?;
    task.progress.begin(task.bytes as u64);
    let board = Board::new(&model.name, &tokenizer, task.bytes, task.cancel, task.progress);
    let each = task.bytes.div_ceil(DOCUMENT * threads).clamp(1, author.room());
    pool.install(|| (0..threads).into_par_iter().with_max_len(1).for_each(|_| author.write(&board, each)));
    let written = board.written()?;
    model.check_intact()?;
    Ok(written)
}

/// The token that documents begin with.
fn start(tokenizer: &Tokenizer, config: &Config, model: &str) -> Result<u32, Problems> {
    let Some(id) = tokenizer.start_id().or(tokenizer.end().map(|end| end.0)) else {
        let what = "its tokenizer has no token that a text begins with, and none that stands between texts";
        return Err(Problem::error(model, what).hint("--bos names one").into());
    };
    if id as usize >= config.vocab {
        let what = format!(
            "the token that texts begin with has id {id}, but the embedding has {} rows",
            config.vocab
        );
        return Err(Problem::error(model, what).hint("tokenizer and weights are of two models").into());
    }
    Ok(id)
}
