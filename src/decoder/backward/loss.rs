//! Cross entropy, the head and the last norm, a block of rows at a time.

use super::memory::Memory;
use super::ops;
use crate::decoder::batch::Batch;
use crate::decoder::forward::Pass;
use crate::decoder::layout::Gradients;
use crate::decoder::matmul::{Old, View, product, project};
use crate::decoder::ops as forward_ops;
use crate::decoder::scratch::{Grow, Scratch};

/// Logits that are in memory at once: 32 MiB, in blocks of rows with the whole vocabulary each.
const LOGITS: usize = 1 << 23;

/// Rows of a block at least, whatever the vocabulary: each block goes through the whole head.
const ROWS: usize = 128;

impl Pass<'_, '_> {
    /// The batch's losses, summed, in nats, and each in `memory.losses`; the gradient of `scale` times the sum of what each
    /// counts into `memory.stream`, `[tokens, hidden]`, and into those of head and last norm. Reads `scratch.stream` as [`Pass::layers`] leaves it.
    pub(super) fn losses_backward(
        &self,
        batch: &Batch,
        scale: f32,
        scratch: &mut Scratch,
        memory: &mut Memory,
        gradients: &mut Gradients,
    ) -> f64 {
        let (arch, hidden, vocab) = (self.arch, self.config.hidden, self.config.vocab);
        let targets = &batch.targets;
        self.gather(batch, scratch);
        let d_normed = memory.normed.grow(targets.len() * hidden);
        let block = (LOGITS / vocab).max(ROWS).min(targets.len());
        let mut loss = 0.0;
        memory.losses.clear();
        for (first, targets) in (0..).step_by(block.max(1)).zip(targets.chunks(block.max(1))) {
            let rows = targets.len();
            let within = first * hidden..(first + rows) * hidden;
            let x = View::dense(&scratch.normed[within.clone()], rows, hidden);
            let logits = memory.logits.grow(rows * vocab);
            for (part, weight) in self.weights.head.parts() {
                let weight = View::dense(scratch.weights.all(&weight), weight.rows, hidden);
                project(&mut logits[part..], vocab, Old::Replace, self.config.logit_scale, x, weight);
            }
            let capped = self.config.logit_cap.map(|cap| {
                forward_ops::soft_cap(arch, logits, cap);
                let copy = scratch.logits.grow(logits.len());
                copy.copy_from_slice(logits);
                (cap, &*copy)
            });
            let counted = targets.iter().map(|t| (t.id, scale * t.scale));
            loss += ops::cross_entropy(arch, logits, counted, &mut memory.losses);
            for (target, d) in targets.iter().zip(logits.chunks_exact_mut(vocab)) {
                if let Some((share, lesson)) = batch.lesson(target) {
                    assert_eq!(lesson.len(), vocab, "predictions of another vocabulary");
                    ops::towards(arch, scale * target.scale * share, target.id, lesson, d);
                }
            }
            if let Some((cap, capped)) = capped {
                ops::soft_cap(arch, capped, cap, logits);
            }
            let d_x = &mut d_normed[within];
            for (part, weight) in self.weights.head.parts() {
                let d_part = View::strided(&logits[part..], rows, weight.rows, vocab);
                let d_weight = gradients.at(weight.place, weight.rows * hidden);
                product(d_weight, hidden, Old::Add, self.config.logit_scale, d_part.t(), x);
                let values = View::dense(scratch.weights.all(&weight), weight.rows, hidden);
                let old = if part == 0 { Old::Replace } else { Old::Add };
                product(d_x, hidden, old, self.config.logit_scale, d_part, values);
            }
        }
        self.ungather(batch, scratch, memory, gradients);
        loss
    }

    /// From the gradients of normed targets' rows to those of the stream.
    fn ungather(&self, batch: &Batch, scratch: &mut Scratch, memory: &mut Memory, gradients: &mut Gradients) {
        let (hidden, norm) = (self.config.hidden, &self.weights.norm);
        let len = batch.targets.len() * hidden;
        let (d_normed, d_rows) = (&memory.normed[..len], memory.branch.grow(len));
        d_rows.fill(0.0);
        let d_weight = gradients.at(norm.place, hidden);
        let rows = &scratch.branch[..len];
        ops::rms_norm(self.arch, rows, &norm.values, self.config.norm_eps, d_normed, d_rows, d_weight);
        let d_stream = memory.stream.grow(batch.tokens() * hidden);
        d_stream.fill(0.0);
        for (d_row, target) in d_rows.chunks_exact(hidden).zip(&batch.targets) {
            d_stream[target.row * hidden..(target.row + 1) * hidden].copy_from_slice(d_row);
        }
    }
}
