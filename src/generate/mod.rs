//! Text that a model writes by itself, token by token: what merging learns from where there is a model of a language, and no
//! text.
//!
//! A document begins with the start token and goes on until the model ends it. Each has random numbers of its own, which a
//! seed and its number decide, so that documents do not depend on how many are written together or by how many threads.

mod author;
mod draw;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use author::{Author, TEXTS};
pub use draw::Sampling;

use crate::decoder::{Config, Decoder};
use crate::eval::{Model, Start, Tokenizer};
use crate::execute::Observer;
use crate::problem::{Error, ExecError, Problem, Problems};

/// Rounds of documents without a byte after which a model is believed to write none.
const PATIENCE: usize = 4;

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
    /// Tokens that were drawn for them, ends included.
    pub tokens: usize,
    /// Documents that the model did not end: they were cut.
    pub cut: usize,
    /// Documents that were left out: nothing but white space, or bytes that are no text.
    pub left_out: usize,
}

/// Lets a model write.
///
/// Memory beside the model: keys and values of 64 documents for each thread, and their logits.
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
    let author = Author { decoder: &decoder, start, end: tokenizer.end().map(|end| end.0), vocab, sampling };
    let threads = task.threads.max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool =
        pool.map_err(|e| ExecError::Memory { what: format!("cannot start {threads} threads: {e}") })?;
    task.progress.begin(task.bytes as u64);
    let (mut written, mut bytes, mut empty) = (Written::default(), 0, 0);
    for first in (0u64..).step_by(TEXTS * threads) {
        if task.cancel.load(Ordering::Relaxed) {
            return Err(ExecError::Interrupted.into());
        }
        let groups: Vec<u64> = (first..).step_by(TEXTS).take(threads).collect();
        let drafts = pool.install(|| {
            let groups = groups.into_par_iter().with_max_len(1);
            groups.map(|first| author.write(first)).collect::<Result<Vec<_>, _>>()
        });
        let before = bytes;
        for draft in drafts.map_err(|found| not_numbers(&model.name, &found))?.into_iter().flatten() {
            if bytes >= task.bytes {
                model.check_intact()?;
                return Ok(written);
            }
            written.tokens += draft.ids.len() + usize::from(draft.ended);
            let Some(text) = text(&tokenizer, &draft.ids)? else {
                written.left_out += 1;
                continue;
            };
            written.cut += usize::from(!draft.ended);
            task.progress.advance(text.len().min(task.bytes - bytes) as u64);
            bytes += text.len();
            written.documents.push(text);
        }
        empty = if bytes == before { empty + 1 } else { 0 };
        if empty == PATIENCE {
            let what = format!("wrote {} documents one after another with no text in them", written.left_out);
            return Err(Problem::error(&model.name, what).hint("is the tokenizer the model's?").into());
        }
    }
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

/// The text of tokens; `None` if there is nothing to read in it.
fn text(tokenizer: &Tokenizer, ids: &[u32]) -> Result<Option<String>, Problems> {
    let text = tokenizer.text(ids)?;
    let trimmed = text.trim();
    Ok((!trimmed.is_empty() && !trimmed.contains(char::REPLACEMENT_CHARACTER)).then(|| trimmed.to_owned()))
}

fn not_numbers(model: &str, author::NotNumbers { position }: &author::NotNumbers) -> Error {
    let what = format!("what it predicts for token {position} of a text is NaN or infinite");
    Problem::error(model, what)
        .hint("config.json may be of another model, or the weights of one that did not converge")
        .into()
}
