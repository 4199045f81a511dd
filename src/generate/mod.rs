//! Text that a model writes by itself, token by token: what merging learns from where there is a model of a language, and no
//! text.
//!
//! A document begins with the start token and goes on until the model ends it. Each has random numbers of its own, which a
//! seed and its number decide, so that documents do not depend on how many are written together or by how many threads.

mod author;
mod draw;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use author::{Author, Draft, Stopped};
pub use draw::Sampling;

use crate::decoder::{Config, Decoder};
use crate::eval::{Model, Start, Tokenizer};
use crate::execute::Observer;
use crate::problem::{Error, ExecError, Problem, Problems};

/// Documents one after another without a byte of text after which a model is believed to write none.
const PATIENCE: usize = 256;

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
    /// Tokens that were drawn for them, ends included.
    pub tokens: usize,
    /// Documents that the model did not end: they were cut.
    pub cut: usize,
    /// Documents that were left out: nothing but white space, or bytes that are no text.
    pub left_out: usize,
}

/// Lets a model write.
///
/// Memory beside the model: for each thread keys and values of 64 documents, or of as many as go into 1 GiB, and their logits.
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
    let end = tokenizer.end().map(|end| end.0);
    let author = Author { decoder: &decoder, start, end, vocab, sampling, cancel: task.cancel };
    let threads = task.threads.max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool =
        pool.map_err(|e| ExecError::Memory { what: format!("cannot start {threads} threads: {e}") })?;
    task.progress.begin(task.bytes as u64);
    let mut written = Written::default();
    let mut nothing = 0;
    let together = author.together();
    for first in (0u64..).step_by(together * threads) {
        let groups: Vec<u64> = (first..).step_by(together).take(threads).collect();
        let groups: Vec<_> = pool
            .install(|| groups.into_par_iter().with_max_len(1).map(|first| author.write(first)).collect());
        // In order and no further than is needed: what came of more threads must not decide what is said.
        for group in groups {
            for draft in group.map_err(|stopped| refused(&model.name, &stopped))? {
                if written.bytes >= task.bytes {
                    model.check_intact()?;
                    return Ok(written);
                }
                let before = written.bytes.min(task.bytes);
                nothing = if written.add(&draft, &tokenizer)? { 0 } else { nothing + 1 };
                if nothing == PATIENCE {
                    let what = format!("wrote {PATIENCE} documents one after another with no text in them");
                    return Err(Problem::error(&model.name, what)
                        .hint("is the tokenizer the model's?")
                        .into());
                }
                task.progress.advance((written.bytes.min(task.bytes) - before) as u64);
            }
        }
    }
    Ok(written)
}

impl Written {
    /// Takes a document, unless there is nothing to read in it.
    fn add(&mut self, draft: &Draft, tokenizer: &Tokenizer) -> Result<bool, Problems> {
        self.tokens += draft.ids.len() + usize::from(draft.ended);
        let text = tokenizer.text(&draft.ids)?;
        let text = text.trim();
        if text.is_empty() || text.contains(char::REPLACEMENT_CHARACTER) {
            self.left_out += 1;
            return Ok(false);
        }
        self.cut += usize::from(!draft.ended);
        self.bytes += text.len();
        self.documents.push(text.to_owned());
        Ok(true)
    }
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

fn refused(model: &str, stopped: &Stopped) -> Error {
    match stopped {
        Stopped::Interrupted => ExecError::Interrupted.into(),
        Stopped::NotNumbers(position) => {
            let what = format!("what it predicts for token {position} of a text is NaN or infinite");
            let hint = "config.json may be of another model, or the weights of one that did not converge";
            Problem::error(model, what).hint(hint).into()
        }
    }
}
