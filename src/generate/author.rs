//! Some documents at a time, which grow together.

use super::draw::{Draw, Sampling};
use crate::decoder::{Cache, Decoder, Scratch};

/// Documents that grow together: enough for products with matrices to be worth it.
pub(super) const TEXTS: usize = 64;

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
}

/// A document in tokens, without start and end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) ids: Vec<u32>,
    /// The model ended it.
    pub(super) ended: bool,
}

/// There is nothing to choose from.
#[derive(Debug)]
pub(super) struct NotNumbers {
    /// The token that was to be drawn, from 0.
    pub(super) position: usize,
}

impl Author<'_> {
    /// Writes the documents `first..first + TEXTS`.
    pub(super) fn write(&self, first: u64) -> Result<Vec<Draft>, NotNumbers> {
        let Self { decoder, sampling, .. } = self;
        let vocab = decoder.config().vocab;
        let mut scratch = Scratch::default();
        let mut cache = Cache::new(decoder.config(), TEXTS, sampling.length);
        let mut drafts = vec![Draft::default(); TEXTS];
        let mut draws: Vec<Draw> = (0..TEXTS).map(|text| Draw::new(sampling, first + text as u64)).collect();
        // Those that are not at their end, and the last token of each.
        let mut texts: Vec<usize> = (0..TEXTS).collect();
        let mut ids = vec![self.start; TEXTS];
        for position in 0..sampling.length {
            let logits = decoder.next(&mut cache, &texts, &ids, &mut scratch);
            ids.clear();
            for (text, logits) in texts.iter().zip(logits.chunks_exact(vocab)) {
                let drawn = draws[*text].next(&logits[..self.vocab]);
                ids.push(drawn.ok_or(NotNumbers { position })?);
            }
            let mut ended = ids.iter().map(|id| Some(*id) == self.end);
            for (text, id) in texts.iter().zip(&ids) {
                match Some(*id) == self.end {
                    true => drafts[*text].ended = true,
                    false => drafts[*text].ids.push(*id),
                }
            }
            texts.retain(|_| !ended.next().unwrap_or(false));
            ids.retain(|id| Some(*id) != self.end);
            if texts.is_empty() {
                break;
            }
        }
        Ok(drafts)
    }
}
