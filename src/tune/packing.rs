//! A step's texts, packed: languages together, so that a step is few batches and each is large.
//!
//! A batch costs something whatever is in it: its gradients begin with zeros and are added to the others, and products with
//! few rows are slow. How many batches there are follows from the tokens alone, so no bit depends on the number of threads.

use std::ops::Range;
use std::sync::Arc;

use crate::decoder::{Batch, Losses, Predictions, Weighed};

/// Tokens below which a batch is not worth its cost.
const TOKENS: usize = 256;

/// A text of a step: what goes in, which of it is predicted, what that counts, and whose it is.
pub(super) struct Picked<'a> {
    /// Position of its language.
    pub(super) language: usize,
    /// Its tokens.
    pub(super) ids: &'a [u32],
    /// Those that are predicted.
    pub(super) scored: Range<usize>,
    /// Factor on each of their losses.
    pub(super) scale: f32,
    /// What its teacher predicts, and which rows of it are the text's.
    pub(super) lesson: Option<(Arc<Predictions>, Range<usize>)>,
}

/// The batches of a step.
#[derive(Debug)]
pub(super) struct Packed {
    /// Of about one size; their losses, scaled, sum to the objective.
    pub(super) batches: Vec<Weighed>,
    /// Of each batch the language of each token that is predicted.
    languages: Vec<Vec<usize>>,
}

impl Packed {
    /// Shares texts out: the longest first, each to the batch that has least.
    pub(super) fn new(texts: Vec<Picked<'_>>, teaching: f32) -> Self {
        let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
        let count = batches(tokens).min(texts.len()).max(1);
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(texts[*at].ids.len()));
        let (mut sizes, mut batch_of) = (vec![0; count], vec![0; texts.len()]);
        for at in order {
            let least = (0..count).min_by_key(|batch| sizes[*batch]).unwrap_or(0);
            sizes[least] += texts[at].ids.len();
            batch_of[at] = least;
        }
        let mut packed = Self {
            batches: vec![Weighed { batch: Batch::default(), scale: 1.0 }; count],
            languages: vec![Vec::new(); count],
        };
        for (text, at) in texts.into_iter().zip(batch_of) {
            let batch = &mut packed.batches[at].batch;
            batch.push_scaled(text.ids, text.scored, text.scale);
            if let Some((predictions, rows)) = text.lesson {
                batch.teach(teaching, &predictions, rows);
            }
            packed.languages[at].resize(batch.scored(), text.language);
        }
        packed
    }

    /// Of each of so many languages the nats of its tokens, and how many there were.
    pub(super) fn seen(&self, losses: &[Losses], languages: usize) -> Vec<(f64, usize)> {
        let mut seen = vec![(0.0, 0); languages];
        for (losses, languages) in losses.iter().zip(&self.languages) {
            for (loss, language) in losses.each.iter().zip(languages) {
                let (nats, tokens) = &mut seen[*language];
                (*nats, *tokens) = (*nats + loss, *tokens + 1);
            }
        }
        seen
    }
}

/// How many batches so many tokens make: a power of two, which threads share out evenly, and two at least.
fn batches(tokens: usize) -> usize {
    let most = (tokens / TOKENS).max(2);
    1 << most.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(lengths: &[usize]) -> Packed {
        let ids: Vec<u32> = (0..1000).collect();
        let text = |(language, len): (usize, &usize)| Picked {
            language,
            ids: &ids[..*len],
            scored: 1..*len,
            scale: 0.5,
            lesson: None,
        };
        Packed::new(lengths.iter().enumerate().map(text).collect(), 1.0)
    }

    fn sizes(packed: &Packed) -> Vec<usize> {
        packed.batches.iter().map(|b| b.batch.tokens()).collect()
    }

    #[test]
    fn batches_are_few_and_even() {
        assert_eq!(sizes(&packed(&[91, 31, 71, 41])), [120, 110], "the last token of a text is no input");
        assert_eq!(sizes(&packed(&[151; 16])), [300; 8]);
        assert_eq!(sizes(&packed(&[11])), [10]);
        let counts = [0, 511, 512, 1023, 1024, 2047, 2048, 10_000].map(batches);
        assert_eq!(counts, [2, 2, 2, 2, 4, 4, 8, 32]);
    }

    #[test]
    fn losses_find_their_language_again() {
        let packed = packed(&[4, 3, 5, 2]);
        // 5 and 2 go together, so do 4 and 3; within a batch texts keep their order.
        assert_eq!(packed.languages, [vec![2, 2, 2, 2, 3], vec![0, 0, 0, 1, 1]]);
        let losses = |each: &[f64]| Losses { sum: each.iter().sum(), each: each.to_vec() };
        let losses = [losses(&[1.0, 2.0, 3.0, 4.0, 5.0]), losses(&[6.0, 7.0, 8.0, 9.0, 10.0])];
        assert_eq!(packed.seen(&losses, 4), [(21.0, 3), (19.0, 2), (10.0, 4), (5.0, 1)]);
    }
}
