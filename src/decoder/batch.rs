//! Texts packed one after another, without padding.

use std::ops::Range;
use std::sync::Arc;

/// One text of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its rows in the batch.
    pub(super) rows: Range<usize>,
    /// Its tokens; one more than rows if the last is only predicted.
    pub(super) len: usize,
}

/// A token to be predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Target {
    /// The row that predicts it.
    pub(super) row: usize,
    /// The token.
    pub(super) id: u32,
    /// Factor on its loss where gradients are asked for.
    pub(super) scale: f32,
    /// What takes a share of its place there.
    pub(super) lesson: Option<Lesson>,
}

/// A distribution over the vocabulary that gradients are taken towards, beside a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lesson {
    /// Position among the batch's predictions, and the row there.
    pub(super) at: (usize, usize),
    /// How much of the token's place it takes, up to 1.
    pub(super) share: f32,
}

/// What a model predicts of a batch's tokens.
#[derive(Debug)]
pub struct Predictions {
    /// `[scored, vocab]`; each row sums to one.
    rows: Vec<f32>,
    vocab: usize,
}

impl Predictions {
    /// Distributions over a vocabulary, one after another.
    ///
    /// # Panics
    /// If the last of them is not whole.
    pub fn new(rows: Vec<f32>, vocab: usize) -> Self {
        assert!(vocab > 0 && rows.len().is_multiple_of(vocab), "whole distributions");
        Self { rows, vocab }
    }

    /// Tokens that something is predicted in the place of.
    pub fn len(&self) -> usize {
        self.rows.len() / self.vocab
    }

    /// No tokens.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How likely each token of the vocabulary is in the place of a scored token.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.rows[at * self.vocab..(at + 1) * self.vocab]
    }
}

/// Texts that go through the decoder together. Each sees only itself, from position 0.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) ids: Vec<u32>,
    pub(super) segments: Vec<Segment>,
    pub(super) targets: Vec<Target>,
    /// What lessons are rows of.
    pub(super) predictions: Vec<Arc<Predictions>>,
}

impl Batch {
    /// Adds a text of which the tokens at `scored` are predicted, each from those before it. Position 0
    /// has none before it and cannot be scored.
    pub fn push(&mut self, ids: &[u32], scored: Range<usize>) {
        self.push_scaled(ids, scored, 1.0);
    }

    /// The same, with a factor on each of the text's losses in [`Decoder::gradients`](super::Decoder::gradients), so that
    /// texts that count differently go through the decoder together. Losses themselves are without it.
    pub fn push_scaled(&mut self, ids: &[u32], scored: Range<usize>, scale: f32) {
        let scored = scored.start.max(1)..scored.end.min(ids.len());
        // What comes after the last scored token has no influence on it, and that token is no input.
        let Some(rows) = scored.end.checked_sub(1).filter(|_| !scored.is_empty()) else { return };
        let first = self.ids.len();
        self.ids.extend(&ids[..rows]);
        self.segments.push(Segment { rows: first..first + rows, len: ids.len() });
        let target = |at: usize| Target { row: first + at - 1, id: ids[at], scale, lesson: None };
        self.targets.extend(scored.map(target));
    }

    /// Lets what another model predicts take a share of the place of tokens in
    /// [`Decoder::gradients`](super::Decoder::gradients): `rows` of `predictions` are for the last `rows.len()` tokens that are predicted, in order. With a share of 1 the tokens
    /// themselves have no part in gradients; losses stay theirs.
    ///
    /// # Panics
    /// If there are more rows than tokens or than predictions, or the share is not from 0 to 1.
    pub fn teach(&mut self, share: f32, predictions: &Arc<Predictions>, rows: Range<usize>) {
        assert!(rows.len() <= self.targets.len(), "more predictions than tokens");
        assert!(rows.end <= predictions.len(), "more rows than predictions");
        assert!((0.0..=1.0).contains(&share), "a share from 0 to 1");
        let first = self.targets.len() - rows.len();
        for (row, target) in rows.zip(&mut self.targets[first..]) {
            target.lesson = Some(Lesson { at: (self.predictions.len(), row), share });
        }
        self.predictions.push(predictions.clone());
    }

    /// What a target is taken towards beside its token.
    pub(super) fn lesson(&self, target: &Target) -> Option<(f32, &[f32])> {
        let Lesson { at: (predictions, row), share } = target.lesson?;
        Some((share, self.predictions[predictions].row(row)))
    }

    /// One text of which every token is an input, and none is scored.
    pub(super) fn inputs(ids: &[u32]) -> Self {
        let whole = Segment { rows: 0..ids.len(), len: ids.len() };
        Self { ids: ids.to_vec(), segments: vec![whole], ..Self::default() }
    }

    /// Inputs of all texts.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Tokens that are predicted.
    pub fn scored(&self) -> usize {
        self.targets.len()
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_token_is_a_target_only_and_the_first_an_input_only() {
        let mut batch = Batch::default();
        batch.push(&[5, 6, 7], 0..3);
        batch.push(&[8, 9, 10, 11], 2..4);
        assert_eq!(batch.ids, [5, 6, 8, 9, 10]);
        let targets: Vec<_> = batch.targets.iter().map(|t| (t.row, t.id)).collect();
        assert_eq!(targets, [(0, 6), (1, 7), (3, 10), (4, 11)]);
        batch.push(&[1], 0..1);
        assert_eq!(batch.segments.len(), 2, "nothing to predict in one token");
    }
}
