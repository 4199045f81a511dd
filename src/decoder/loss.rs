//! Cross entropy, a part of the vocabulary at a time.

use super::batch::{Batch, Predictions};
use super::forward::Pass;
use super::matmul::{Old, View, project};
use super::ops::{self, LogSum};
use super::scratch::{Grow, Scratch};

/// Tokens of the vocabulary whose logits are in memory at once. Fixed, so that sums do not depend on the batch.
const PART: usize = 1024;

impl Pass<'_, '_> {
    /// Of each of the batch's targets the negative log probability, in nats. Reads `scratch.stream` as
    /// [`Pass::layers`] leaves it.
    pub(super) fn losses(&self, batch: &Batch, scratch: &mut Scratch) -> Vec<f64> {
        let rows = batch.targets.len();
        let mut sums = vec![LogSum::EMPTY; rows];
        let mut own = vec![0f32; rows];
        self.gather(batch, scratch);
        self.vocabulary(rows, scratch, |first, width, logits| {
            ops::add_logits(self.arch, logits, width, &mut sums);
            for ((target, own), row) in batch.targets.iter().zip(&mut own).zip(logits.chunks_exact(width)) {
                if let Some(logit) = (target.id as usize).checked_sub(first).and_then(|i| row.get(i)) {
                    *own = *logit;
                }
            }
        });
        sums.iter().zip(own).map(|(sum, own)| sum.value() - f64::from(own)).collect()
    }

    /// Of each of the batch's targets the probabilities of all tokens.
    pub(super) fn predictions(&self, batch: &Batch, scratch: &mut Scratch) -> Predictions {
        self.gather(batch, scratch);
        let vocab = self.config.vocab;
        let mut rows = self.of_normed(batch.targets.len(), scratch);
        ops::masked_softmax(self.arch, &mut rows, vocab, |_| 0..vocab);
        Predictions::new(rows, vocab)
    }

    /// All logits of the first `rows` rows, `[rows, vocab]`.
    pub(super) fn logits(&self, rows: usize, scratch: &mut Scratch) -> Vec<f32> {
        let stream = &scratch.stream[..rows * self.config.hidden];
        let normed = scratch.normed.grow(stream.len());
        ops::rms_norm(self.arch, stream, &self.weights.norm.values, self.config.norm_eps, normed);
        self.of_normed(rows, scratch)
    }

    /// All logits of rows that went through the last norm.
    fn of_normed(&self, rows: usize, scratch: &mut Scratch) -> Vec<f32> {
        let (hidden, vocab) = (self.config.hidden, self.config.vocab);
        let mut all = vec![0.0; rows * vocab];
        let x = View::dense(&scratch.normed[..rows * hidden], rows, hidden);
        for (part, weight) in self.weights.head.parts() {
            let weight = View::dense(scratch.weights.all(&weight), weight.rows, hidden);
            project(&mut all[part..], vocab, Old::Replace, self.config.logit_scale, x, weight);
        }
        if let Some(cap) = self.config.logit_cap {
            ops::soft_cap(self.arch, &mut all, cap);
        }
        all
    }

    /// The rows that predict targets, through the last norm, into `scratch.normed`; before it they are in
    /// `scratch.branch`.
    pub(super) fn gather(&self, batch: &Batch, scratch: &mut Scratch) {
        let width = self.config.hidden;
        let branch = scratch.branch.grow(batch.targets.len() * width);
        for (row, target) in branch.chunks_exact_mut(width).zip(&batch.targets) {
            row.copy_from_slice(&scratch.stream[target.row * width..(target.row + 1) * width]);
        }
        let normed = scratch.normed.grow(branch.len());
        ops::rms_norm(self.arch, branch, &self.weights.norm.values, self.config.norm_eps, normed);
    }

    /// Goes through the vocabulary in parts and shows each part's logits: the first token, how many, and
    /// `[rows, how many]`.
    fn vocabulary(&self, rows: usize, scratch: &mut Scratch, mut each: impl FnMut(usize, usize, &[f32])) {
        let (hidden, vocab) = (self.config.hidden, self.config.vocab);
        if rows == 0 {
            return;
        }
        let x = View::dense(&scratch.normed[..rows * hidden], rows, hidden);
        // Parts of about one size: none is left with a token or two.
        let part = vocab.div_ceil(vocab.div_ceil(PART));
        for first in (0..vocab).step_by(part) {
            let width = part.min(vocab - first);
            let weight = self.weights.head.weight.part(first, width);
            let weight = View::dense(scratch.weights.all(&weight), width, hidden);
            let logits = scratch.logits.grow(rows * width);
            project(logits, width, Old::Replace, self.config.logit_scale, x, weight);
            if let Some(cap) = self.config.logit_cap {
                ops::soft_cap(self.arch, logits, cap);
            }
            each(first, width, logits);
        }
    }
}
