//! The backward pass: for each step of [`super::forward`], in reverse, what it does to a gradient.
//!
//! Written out by hand, without a graph: the forward pass shows its values to a [`Tape`], and each function
//! here is the derivative of the one of the same name there. `tests/gradients.rs` holds all of it against
//! central differences.

mod attention;
mod linear;
mod loss;
mod memory;
mod ops;

pub use memory::Memory;

use super::batch::Batch;
use super::config::LayerKind;
use super::forward::{Pass, Turn};
use super::layout::Gradients;
use super::matmul::{Old, Vector};
use super::scratch::{Grow, Scratch};
use super::tape::Kept;
use super::weights::Layer;
use super::{attention::Heads, ops as forward_ops};
use attention::attend;
use memory::Record;

impl Pass<'_, '_> {
    /// Adds to `gradients` those of `scale` times the sum of what the batch's losses count; returns the sum of the losses
    /// in nats, unscaled.
    pub(super) fn gradients(
        &self,
        batch: &Batch,
        scale: f32,
        scratch: &mut Scratch,
        memory: &mut Memory,
        gradients: &mut Gradients,
    ) -> f64 {
        self.layers(batch, scratch, &mut memory.tape);
        let loss = self.losses_backward(batch, scale, scratch, memory, gradients);
        let layers = self.weights.layers.iter().zip(&self.config.layers).enumerate();
        for (index, (layer, kind)) in layers.rev() {
            self.mlp_backward(index, layer, batch, scratch, memory, gradients);
            self.attention_backward(index, layer, *kind, batch, scratch, memory, gradients);
        }
        self.embed_backward(batch, memory, gradients);
        loss
    }

    fn mlp_backward(
        &self,
        index: usize,
        layer: &Layer<'_>,
        batch: &Batch,
        scratch: &mut Scratch,
        memory: &mut Memory,
        gradients: &mut Gradients,
    ) {
        let (config, arch, tokens) = (self.config, self.arch, batch.tokens());
        let d_stream = memory.stream.grow(tokens * config.hidden);
        let kept = (&memory.tape, index, Kept::MlpBranch);
        let d_branch =
            self.post_norm_backward(&layer.mlp_post_norm, kept, d_stream, &mut memory.branch, gradients);
        let (gate, up) = (memory.tape.get(index, Kept::Gate), memory.tape.get(index, Kept::Up));
        let inner = scratch.gate.grow(gate.len());
        inner.copy_from_slice(gate);
        forward_ops::gated(arch, config.activation, inner, up);
        let d_inner = memory.inner.grow(gate.len());
        linear::backward(
            &layer.down,
            inner,
            d_branch,
            d_inner,
            Old::Replace,
            &mut scratch.weights,
            gradients,
        );
        let (d_gate, d_up) = (memory.gate.grow(gate.len()), memory.up.grow(gate.len()));
        ops::gated(arch, config.activation, gate, up, d_inner, d_gate, d_up);
        let stream = memory.tape.get(index, Kept::MlpStream);
        let x = self.normed(&layer.mlp_norm, stream, &mut scratch.normed);
        let d_x = memory.normed.grow(stream.len());
        linear::backward(&layer.gate, x, d_gate, d_x, Old::Replace, &mut scratch.weights, gradients);
        linear::backward(&layer.up, x, d_up, d_x, Old::Add, &mut scratch.weights, gradients);
        self.normed_backward(&layer.mlp_norm, stream, d_x, d_stream, gradients);
    }

    #[allow(clippy::too_many_arguments, reason = "what the forward step takes, and where the gradients go")]
    fn attention_backward(
        &self,
        index: usize,
        layer: &Layer<'_>,
        kind: LayerKind,
        batch: &Batch,
        scratch: &mut Scratch,
        memory: &mut Memory,
        gradients: &mut Gradients,
    ) {
        let (config, arch, tokens) = (self.config, self.arch, batch.tokens());
        let (wide, narrow) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let d_stream = memory.stream.grow(tokens * config.hidden);
        let kept = (&memory.tape, index, Kept::AttentionBranch);
        let d_branch = self.post_norm_backward(
            &layer.attention_post_norm,
            kept,
            d_stream,
            &mut memory.branch,
            gradients,
        );
        let attended = memory.tape.get(index, Kept::Attended);
        let d_attended = memory.attended.grow(tokens * wide);
        let widener = &mut scratch.weights;
        linear::backward(&layer.output, attended, d_branch, d_attended, Old::Replace, widener, gradients);

        // Queries and keys as attention saw them, from those as projected.
        let queries = scratch.queries.grow(tokens * wide);
        let keys = scratch.keys.grow(tokens * narrow);
        let values = memory.tape.get(index, Kept::Values);
        for (heads, kept, norm) in
            [(&mut *queries, Kept::Queries, &layer.query_norm), (&mut *keys, Kept::Keys, &layer.key_norm)]
        {
            heads.copy_from_slice(memory.tape.get(index, kept));
            if let Some(weight) = norm {
                forward_ops::rms_norm_inside(arch, heads, &weight.values, config.norm_eps);
            }
            self.rotate(kind, batch, heads, Turn::Forth);
        }
        let heads = Heads { queries: &*queries, keys: &*keys, values };
        let d_queries = memory.queries.grow(tokens * wide);
        let d_keys = memory.keys.grow(tokens * narrow);
        let d_values = memory.values.grow(tokens * narrow);
        let mut slopes = Heads { queries: &mut *d_queries, keys: &mut *d_keys, values: &mut *d_values };
        for segment in &batch.segments {
            let work = (&mut scratch.scores, &mut memory.scores);
            attend(arch, config, kind, segment, &heads, d_attended, &mut slopes, work);
        }
        for (d_heads, kept, norm) in
            [(&mut *d_queries, Kept::Queries, &layer.query_norm), (&mut *d_keys, Kept::Keys, &layer.key_norm)]
        {
            self.rotate(kind, batch, d_heads, Turn::Back);
            if let Some(weight) = norm {
                let d_weight = gradients.at(weight.place, weight.values.len());
                let heads = memory.tape.get(index, kept);
                ops::rms_norm_inside(arch, heads, &weight.values, config.norm_eps, d_heads, d_weight);
            }
        }

        let stream = memory.tape.get(index, Kept::Stream);
        let x = self.normed(&layer.attention_norm, stream, &mut scratch.normed);
        let d_x = memory.normed.grow(stream.len());
        linear::backward(&layer.query, x, d_queries, d_x, Old::Replace, &mut scratch.weights, gradients);
        linear::backward(&layer.key, x, d_keys, d_x, Old::Add, &mut scratch.weights, gradients);
        linear::backward(&layer.value, x, d_values, d_x, Old::Add, &mut scratch.weights, gradients);
        self.normed_backward(&layer.attention_norm, stream, d_x, d_stream, gradients);
    }

    /// From the gradient of what a branch adds to the stream to that of the branch, before the norm after it, where
    /// there is one; what the norm saw is on the tape.
    fn post_norm_backward<'s>(
        &self,
        norm: &Option<Vector>,
        (tape, layer, branch): (&Record, usize, Kept),
        d_stream: &'s [f32],
        room: &'s mut Vec<f32>,
        gradients: &mut Gradients,
    ) -> &'s [f32] {
        let Some(norm) = norm else { return d_stream };
        let d_branch = room.grow(d_stream.len());
        d_branch.copy_from_slice(d_stream);
        let (values, d_weight) = (&norm.values, gradients.at(norm.place, norm.values.len()));
        let branch = tape.get(layer, branch);
        ops::rms_norm_inside(self.arch, branch, values, self.config.norm_eps, d_branch, d_weight);
        d_branch
    }

    /// Of [`Pass::normed`]: adds to the stream's gradient what comes back through a branch, and to the norm's.
    fn normed_backward(
        &self,
        norm: &Option<Vector>,
        stream: &[f32],
        d_x: &[f32],
        d_stream: &mut [f32],
        gradients: &mut Gradients,
    ) {
        let Some(norm) = norm else { return forward_ops::add(self.arch, d_stream, d_x) };
        let d_weight = gradients.at(norm.place, norm.values.len());
        ops::rms_norm(self.arch, stream, &norm.values, self.config.norm_eps, d_x, d_stream, d_weight);
    }

    fn embed_backward(&self, batch: &Batch, memory: &mut Memory, gradients: &mut Gradients) {
        let width = self.config.hidden;
        let d_stream = memory.stream.grow(batch.tokens() * width);
        for (row, id) in d_stream.chunks_exact(width).zip(&batch.ids) {
            let d_row = gradients.at(self.weights.embedding.place.after(*id as usize * width), width);
            d_row.iter_mut().zip(row).for_each(|(d, x)| *d += x * self.config.embedding_scale);
        }
    }
}
