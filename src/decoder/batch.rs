//! Texts packed one after another, without padding.

use std::ops::Range;

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
}

/// Texts that go through the decoder together. Each sees only itself, from position 0.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) ids: Vec<u32>,
    pub(super) segments: Vec<Segment>,
    pub(super) targets: Vec<Target>,
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
        let target = |at: usize| Target { row: first + at - 1, id: ids[at], scale };
        self.targets.extend(scored.map(target));
    }

    /// One text of which every token is an input, and none is scored.
    pub(super) fn inputs(ids: &[u32]) -> Self {
        let whole = Segment { rows: 0..ids.len(), len: ids.len() };
        Self { ids: ids.to_vec(), segments: vec![whole], targets: Vec::new() }
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
