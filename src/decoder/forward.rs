//! The forward pass, in reading order.

use pulp::Arch;

use super::attention::Heads;
use super::batch::Batch;
use super::config::{Config, LayerKind};
use super::matmul::{Old, Vector};
use super::ops;
use super::rope::RopeTable;
pub(super) use super::rope::Turn;
use super::rows::Rows;
use super::scratch::{Grow, Scratch};
use super::tape::{Kept, Tape};
use super::weights::{Layer, Weights};

/// What a batch goes through: configuration, weights, and angles of positions.
pub(super) struct Pass<'p, 'a> {
    pub(super) arch: Arch,
    pub(super) config: &'p Config,
    pub(super) weights: &'p Weights<'a>,
    pub(super) tables: &'p Tables,
}

/// Cosines and sines of each of the configuration's ropes.
#[derive(Debug)]
pub(super) struct Tables(Vec<PerLength>);

/// One rope's tables.
#[derive(Debug)]
struct PerLength {
    short: RopeTable,
    /// The longest text that `short` serves, and the table for longer ones (LongRoPE only).
    long: Option<(usize, RopeTable)>,
}

impl Tables {
    /// For texts of up to `len` tokens.
    pub(super) fn new(config: &Config, len: usize) -> Self {
        let table = |rope: &super::Rope| match rope.short_texts().filter(|short| *short < len) {
            Some(short) => {
                let long = RopeTable::new(&rope.frequencies(len), rope, len);
                PerLength {
                    short: RopeTable::new(&rope.frequencies(short), rope, short),
                    long: Some((short, long)),
                }
            }
            None => PerLength { short: RopeTable::new(&rope.frequencies(len), rope, len), long: None },
        };
        Self(config.ropes.iter().map(table).collect())
    }

    /// The table of a layer for a text of `len` tokens.
    pub(super) fn of(&self, kind: LayerKind, len: usize) -> Option<&RopeTable> {
        let per_length = self.0.get(kind.rope?)?;
        match &per_length.long {
            Some((short, long)) if len > *short => Some(long),
            _ => Some(&per_length.short),
        }
    }
}

impl Pass<'_, '_> {
    /// Runs all layers: `scratch.stream` is then `[tokens, hidden]`, before the last norm.
    pub(super) fn layers(&self, mut rows: impl Rows, scratch: &mut Scratch, tape: &mut impl Tape) {
        let tokens = rows.ids().len();
        self.embed(rows.ids(), scratch);
        for (index, (layer, kind)) in self.weights.layers.iter().zip(&self.config.layers).enumerate() {
            self.attention(index, layer, *kind, &mut rows, scratch, tape);
            self.mlp(index, layer, tokens, scratch, tape);
        }
        tape.keep(self.config.layers.len(), Kept::Stream, &scratch.stream[..tokens * self.config.hidden]);
    }

    fn embed(&self, ids: &[u32], scratch: &mut Scratch) {
        let width = self.config.hidden;
        let stream = scratch.stream.grow(ids.len() * width);
        for (row, id) in stream.chunks_exact_mut(width).zip(ids) {
            scratch.weights.row(&self.weights.embedding, *id as usize, row);
        }
        if self.config.embedding_scale != 1.0 {
            stream.iter_mut().for_each(|x| *x *= self.config.embedding_scale);
        }
    }

    /// The stream through the norm before a branch, where the family has one.
    pub(super) fn normed<'s>(
        &self,
        norm: &Option<Vector>,
        stream: &'s [f32],
        room: &'s mut Vec<f32>,
    ) -> &'s [f32] {
        let Some(norm) = norm else { return stream };
        let normed = room.grow(stream.len());
        ops::rms_norm(self.arch, stream, &norm.values, self.config.norm_eps, normed);
        normed
    }

    /// `stream += norm(attention(norm(stream)))`, with the norms that the family has.
    fn attention(
        &self,
        index: usize,
        layer: &Layer<'_>,
        kind: LayerKind,
        rows: &mut impl Rows,
        scratch: &mut Scratch,
        tape: &mut impl Tape,
    ) {
        let (config, arch, tokens) = (self.config, self.arch, rows.ids().len());
        let (wide, narrow) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let stream = scratch.stream.grow(tokens * config.hidden);
        tape.keep(index, Kept::Stream, stream);
        let x = self.normed(&layer.attention_norm, stream, &mut scratch.normed);
        let queries = scratch.queries.grow(tokens * wide);
        let keys = scratch.keys.grow(tokens * narrow);
        let values = scratch.values.grow(tokens * narrow);
        layer.query.apply(x, queries, Old::Replace, &mut scratch.weights);
        layer.key.apply(x, keys, Old::Replace, &mut scratch.weights);
        layer.value.apply(x, values, Old::Replace, &mut scratch.weights);
        tape.keep(index, Kept::Queries, queries);
        tape.keep(index, Kept::Keys, keys);
        tape.keep(index, Kept::Values, values);
        for (heads, norm) in [(&mut *queries, &layer.query_norm), (&mut *keys, &layer.key_norm)] {
            if let Some(weight) = norm {
                ops::rms_norm_inside(arch, heads, &weight.values, config.norm_eps);
            }
        }
        let attended = scratch.attended.grow(tokens * wide);
        let heads = Heads { queries: &mut *queries, keys: &mut *keys, values: &*values };
        rows.attend(self, (index, kind), heads, attended, &mut scratch.scores);
        tape.keep(index, Kept::Attended, attended);
        match &layer.attention_post_norm {
            None => layer.output.apply(attended, stream, Old::Add, &mut scratch.weights),
            Some(norm) => {
                let branch = scratch.branch.grow(tokens * config.hidden);
                layer.output.apply(attended, branch, Old::Replace, &mut scratch.weights);
                tape.keep(index, Kept::AttentionBranch, branch);
                ops::rms_norm_inside(arch, branch, &norm.values, config.norm_eps);
                ops::add(arch, stream, branch);
            }
        }
    }

    /// Turns every head of every token by the token's position in its text.
    pub(super) fn rotate(&self, kind: LayerKind, batch: &Batch, heads: &mut [f32], turn: Turn) {
        let width = heads.len() / batch.tokens().max(1);
        for segment in &batch.segments {
            let Some(table) = self.tables.of(kind, segment.len) else { return };
            let rows = &mut heads[segment.rows.start * width..segment.rows.end * width];
            ops::wide(
                self.arch,
                #[inline(always)]
                || {
                    for (position, row) in rows.chunks_exact_mut(width).enumerate() {
                        row.chunks_exact_mut(self.config.head_dim)
                            .for_each(|head| table.turn(head, position, turn));
                    }
                },
            );
        }
    }

    /// `stream += norm(mlp(norm(stream)))`, with the norms that the family has.
    fn mlp(
        &self,
        index: usize,
        layer: &Layer<'_>,
        tokens: usize,
        scratch: &mut Scratch,
        tape: &mut impl Tape,
    ) {
        let (config, arch) = (self.config, self.arch);
        let stream = scratch.stream.grow(tokens * config.hidden);
        tape.keep(index, Kept::MlpStream, stream);
        let x = self.normed(&layer.mlp_norm, stream, &mut scratch.normed);
        let gate = scratch.gate.grow(tokens * config.intermediate);
        let up = scratch.up.grow(tokens * config.intermediate);
        layer.gate.apply(x, gate, Old::Replace, &mut scratch.weights);
        layer.up.apply(x, up, Old::Replace, &mut scratch.weights);
        tape.keep(index, Kept::Gate, gate);
        tape.keep(index, Kept::Up, up);
        ops::gated(arch, config.activation, gate, up);
        match &layer.mlp_post_norm {
            None => layer.down.apply(gate, stream, Old::Add, &mut scratch.weights),
            Some(norm) => {
                let branch = scratch.branch.grow(tokens * config.hidden);
                layer.down.apply(gate, branch, Old::Replace, &mut scratch.weights);
                tape.keep(index, Kept::MlpBranch, branch);
                ops::rms_norm_inside(arch, branch, &norm.values, config.norm_eps);
                ops::add(arch, stream, branch);
            }
        }
    }
}
