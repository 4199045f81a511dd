//! Which document is next, and which are done: what threads have in common.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Written;
use super::author::Draft;
use crate::eval::Tokenizer;
use crate::execute::Observer;
use crate::problem::{Error, ExecError, Problem, Problems};

/// Documents one after another without a byte of text after which a model is believed to write none.
const PATIENCE: usize = 256;
/// Bytes of a document, about, as long as none is known: sentences are shorter, and texts longer.
pub(super) const DOCUMENT: usize = 256;

/// What became of a document.
pub(super) enum Finished {
    /// It was written.
    Draft(Draft),
    /// What was predicted for this token, counted from 0, is NaN or infinite.
    NotNumbers(usize),
}

/// Hands out documents by number and takes them in order, so that what came of more threads decides neither what is
/// written nor what is said.
pub(super) struct Board<'a> {
    model: &'a str,
    tokenizer: &'a Tokenizer,
    /// Bytes that are wanted.
    bytes: usize,
    cancel: &'a AtomicBool,
    progress: &'a dyn Observer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number that is handed out next.
    next: u64,
    /// Documents that are done, those before the first that is not excepted.
    waiting: BTreeMap<u64, Finished>,
    /// The number of that first one.
    first: u64,
    written: Written,
    /// Documents without text since the last with some.
    nothing: usize,
    /// Set when no more is wanted.
    end: Option<Result<(), Error>>,
}

impl<'a> Board<'a> {
    pub(super) fn new(
        model: &'a str,
        tokenizer: &'a Tokenizer,
        bytes: usize,
        cancel: &'a AtomicBool,
        progress: &'a dyn Observer,
    ) -> Self {
        Self { model, tokenizer, bytes, cancel, progress, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A document that is to be written now; `None` if those that are being written seem to be enough.
    pub(super) fn next(&self) -> Option<u64> {
        let mut state = self.state();
        let taken = state.written.documents.len() + state.written.left_out;
        let mean = state.written.bytes.checked_div(taken).map_or(DOCUMENT, |mean| mean.max(1));
        let begun = state.next - state.first;
        let missing = self.bytes.saturating_sub(state.written.bytes).div_ceil(mean);
        if state.end.is_some() || begun >= missing as u64 {
            return None;
        }
        state.next += 1;
        Some(state.next - 1)
    }

    /// Whether nobody needs to go on.
    pub(super) fn is_done(&self) -> bool {
        let mut state = self.state();
        if self.cancel.load(Ordering::Relaxed) && state.end.is_none() {
            state.end = Some(Err(ExecError::Interrupted.into()));
        }
        state.end.is_some()
    }

    /// Takes a document, and with it those that waited for it.
    pub(super) fn finish(&self, number: u64, finished: Finished) {
        let mut state = self.state();
        state.waiting.insert(number, finished);
        while state.end.is_none() {
            let first = state.first;
            let Some(finished) = state.waiting.remove(&first) else { break };
            state.first += 1;
            state.end = self.take(&mut state, finished).transpose();
        }
    }

    /// Adds a document; something if it is the last.
    fn take(&self, state: &mut State, finished: Finished) -> Result<Option<()>, Error> {
        let draft = match finished {
            Finished::Draft(draft) => draft,
            Finished::NotNumbers(position) => return Err(self.not_numbers(position).into()),
        };
        let before = state.written.bytes;
        state.nothing = if state.written.add(&draft, self.tokenizer)? { 0 } else { state.nothing + 1 };
        if state.nothing == PATIENCE {
            let what = format!("wrote {PATIENCE} documents one after another with no text in them");
            return Err(Problem::error(self.model, what).hint("is the tokenizer the model's?").into());
        }
        let bytes = state.written.bytes.min(self.bytes);
        self.progress.advance((bytes - before) as u64);
        Ok((bytes == self.bytes).then_some(()))
    }

    fn not_numbers(&self, position: usize) -> Problem {
        let what = format!("what it predicts for token {position} of a text is NaN or infinite");
        let hint = "config.json may be of another model, or the weights of one that did not converge";
        Problem::error(self.model, what).hint(hint)
    }

    /// What was written, when all threads are done.
    pub(super) fn written(self) -> Result<Written, Error> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.end.unwrap_or(Ok(())).map(|()| state.written)
    }
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
