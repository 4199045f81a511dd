//! Attention, a block of queries at a time, as in the forward pass; its weights are computed again.

use pulp::Arch;

use super::ops;
use crate::decoder::attention::{BLOCK, Heads, weights};
use crate::decoder::batch::Segment;
use crate::decoder::config::{Config, LayerKind};
use crate::decoder::matmul::{Old, View, product};
use crate::decoder::scratch::Grow;

/// Of one text: from `d_out`, `[tokens, heads · head_dim]`, to the gradients of queries, keys and values, of
/// which the text's rows are overwritten. `work` are buffers for a block's weights and their gradients.
#[allow(clippy::too_many_arguments, reason = "what attention takes, and its gradients")]
pub(super) fn attend(
    arch: Arch,
    config: &Config,
    kind: LayerKind,
    segment: &Segment,
    x: &Heads<&[f32]>,
    d_out: &[f32],
    d: &mut Heads<&mut [f32]>,
    work: (&mut Vec<f32>, &mut Vec<f32>),
) {
    let (dim, group) = (config.head_dim, config.heads / config.kv_heads);
    let (wide, narrow) = (config.heads * dim, config.kv_heads * dim);
    let (first, tokens) = (segment.rows.start, segment.rows.len());
    // Blocks of queries and the heads of a group add to the same keys and values.
    d.keys[first * narrow..(first + tokens) * narrow].fill(0.0);
    d.values[first * narrow..(first + tokens) * narrow].fill(0.0);
    for start in (0..tokens).step_by(BLOCK) {
        let rows = BLOCK.min(tokens - start);
        for head in 0..config.heads {
            let (from, keys) = weights(arch, config, kind, segment, x, (start, head), work.0);
            let kv = (first + from) * narrow + head / group * dim;
            let q = (first + start) * wide + head * dim;
            let (weights, capped) = work.0.split_at(rows * keys);
            let d_out = View::strided(&d_out[q..], rows, dim, wide);
            let values = View::strided(&x.values[kv..], keys, dim, narrow);
            let d_scores = work.1.grow(rows * keys);
            product(d_scores, keys, Old::Replace, 1.0, d_out, values.t());
            ops::softmax(arch, weights, d_scores, keys);
            if let Some(cap) = config.attention_cap {
                ops::soft_cap(arch, &capped[..rows * keys], cap, d_scores);
            }
            let weights = View::dense(weights, rows, keys);
            product(&mut d.values[kv..], narrow, Old::Add, 1.0, weights.t(), d_out);
            let d_scores = View::dense(d_scores, rows, keys);
            let scale = config.attention_scale;
            let seen = View::strided(&x.keys[kv..], keys, dim, narrow);
            product(&mut d.queries[q..], wide, Old::Replace, scale, d_scores, seen);
            let queries = View::strided(&x.queries[q..], rows, dim, wide);
            product(&mut d.keys[kv..], narrow, Old::Add, scale, d_scores.t(), queries);
        }
    }
}
