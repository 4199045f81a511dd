//! One thread's documents, which grow together.

use super::board::{Board, Finished};
use super::draw::{Draw, Sampling};
use crate::decoder::{Cache, Decoder, Scratch};

/// Documents that grow together, at most: enough for products with matrices to be worth it.
const MOST: usize = 128;
/// Bytes of their keys and values, where that does not leave fewer than one.
const MEMORY: usize = 1 << 30;

/// Who writes.
#[derive(Clone, Copy)]
pub(super) struct Author<'a> {
    pub(super) decoder: &'a Decoder<'a>,
    /// The token before the first.
    pub(super) start: u32,
    /// Tokens that end a document.
    pub(super) ends: &'a [u32],
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

/// A document that grows.
struct Growing {
    /// Its place in the cache.
    place: usize,
    number: u64,
    draw: Draw,
    last: u32,
    draft: Draft,
}

impl Author<'_> {
    /// Documents that a thread has room for.
    pub(super) fn room(&self) -> usize {
        (MEMORY / Cache::bytes(self.decoder.config(), self.sampling.length).max(1)).clamp(1, MOST)
    }

    /// Writes documents as long as the board has some to write, so many at once.
    pub(super) fn write(&self, board: &Board<'_>, at_once: usize) {
        let Self { decoder, sampling, .. } = self;
        let vocab = decoder.config().vocab;
        let mut scratch = Scratch::default();
        let mut cache = Cache::new(decoder.config(), at_once, sampling.length);
        let mut free: Vec<usize> = (0..at_once).collect();
        let mut growing: Vec<Growing> = Vec::new();
        let mut shares = Vec::new();
        while !board.is_done() {
            while let Some(place) = free.pop() {
                let Some(number) = board.next() else {
                    free.push(place);
                    break;
                };
                cache.clear(place);
                let (draw, last, draft) = (Draw::new(sampling, number), self.start, Draft::default());
                growing.push(Growing { place, number, draw, last, draft });
            }
            if growing.is_empty() {
                return;
            }
            let (places, last): (Vec<usize>, Vec<u32>) = growing.iter().map(|g| (g.place, g.last)).unzip();
            let logits = decoder.next(&mut cache, &places, &last, &mut scratch);
            let rows = logits.chunks_exact(vocab);
            let grow = |(mut document, logits): (Growing, &[f32])| {
                let position = document.draft.ids.len();
                match document.draw.next(&logits[..self.vocab], &mut shares) {
                    None => board.finish(document.number, Finished::NotNumbers(position)),
                    Some(id) => {
                        document.draft.ended = self.ends.contains(&id);
                        if !document.draft.ended {
                            document.draft.ids.push(id);
                            document.last = id;
                            if position + 1 < sampling.length {
                                return Some(document);
                            }
                        }
                        board.finish(document.number, Finished::Draft(document.draft));
                    }
                }
                free.push(document.place);
                None
            };
            growing = growing.into_iter().zip(rows).filter_map(grow).collect();
        }
    }
}
