//! Some documents at a time, which grow together.

use std::sync::atomic::{AtomicBool, Ordering};

use super::draw::{Draw, Sampling};
use crate::decoder::{Cache, Decoder, Scratch};

/// Documents that grow together: enough for products with matrices to be worth it.
const MOST: usize = 64;
/// Bytes of their keys and values, where that does not leave fewer than one.
const MEMORY: usize = 1 << 30;

/// Who writes.
#[derive(Clone, Copy)]
pub(super) struct Author<'a> {
    pub(super) decoder: &'a Decoder<'a>,
    /// The token before the first.
    pub(super) start: u32,
    /// The token that ends a document.
    pub(super) end: Option<u32>,
    /// Tokens that there are to choose from.
    pub(super) vocab: usize,
    pub(super) sampling: &'a Sampling,
    /// Set from outside to stop.
    pub(super) cancel: &'a AtomicBool,
}

/// A document in tokens, without start and end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) ids: Vec<u32>,
    /// The model ended it.
    pub(super) ended: bool,
}

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum Stopped {
    /// What is predicted for this token, counted from 0, is NaN or infinite.
    NotNumbers(usize),
    /// From outside.
    Interrupted,
}

impl Author<'_> {
    /// Documents that grow together.
    pub(super) fn together(&self) -> usize {
        (MEMORY / Cache::bytes(self.decoder.config(), self.sampling.length).max(1)).clamp(1, MOST)
    }

    /// Writes [`Author::together`] documents, from that of number `first` on.
    pub(super) fn write(&self, first: u64) -> Result<Vec<Draft>, Stopped> {
        let Self { decoder, sampling, .. } = self;
        let (count, vocab) = (self.together(), decoder.config().vocab);
        let mut scratch = Scratch::default();
        let mut cache = Cache::new(decoder.config(), count, sampling.length);
        let mut drafts = vec![Draft::default(); count];
        let mut draws: Vec<Draw> = (first..).take(count).map(|number| Draw::new(sampling, number)).collect();
        // Those that are not at their end, and the last token of each.
        let mut growing: Vec<usize> = (0..count).collect();
        let mut last = vec![self.start; count];
        for position in 0..sampling.length {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Stopped::Interrupted);
            }
            let logits = decoder.next(&mut cache, &growing, &last, &mut scratch);
            let all = std::mem::take(&mut growing);
            last.clear();
            for (text, logits) in all.into_iter().zip(logits.chunks_exact(vocab)) {
                let id = draws[text].next(&logits[..self.vocab]).ok_or(Stopped::NotNumbers(position))?;
                if Some(id) == self.end {
                    drafts[text].ended = true;
                } else {
                    drafts[text].ids.push(id);
                    growing.push(text);
                    last.push(id);
                }
            }
            if growing.is_empty() {
                break;
            }
        }
        Ok(drafts)
    }
}
