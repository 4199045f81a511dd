//! Causal attention over packed texts, a block of queries at a time.

use pulp::Arch;

use super::batch::Segment;
use super::config::{Config, LayerKind};
use super::matmul::{Old, Right, View, product};
use super::ops;
use super::scratch::Grow;

/// Queries that are scored together: a block's scores stay small for any length of text.
const BLOCK: usize = 128;

/// `[tokens, heads · head_dim]` of queries, and as many keys and values of `kv_heads`.
pub(super) struct Heads<'a> {
    pub(super) queries: &'a [f32],
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
}

/// Attention of one text: of each token to itself and those before it, or to the window of `kind`.
/// Writes the text's rows of `out`, `[tokens, heads · head_dim]`.
pub(super) fn attend(
    arch: Arch,
    config: &Config,
    kind: LayerKind,
    segment: &Segment,
    x: &Heads<'_>,
    out: &mut [f32],
    scores: &mut Vec<f32>,
) {
    let (dim, group) = (config.head_dim, config.heads / config.kv_heads);
    let (wide, narrow) = (config.heads * dim, config.kv_heads * dim);
    let (first, tokens) = (segment.rows.start, segment.rows.len());
    for start in (0..tokens).step_by(BLOCK) {
        let end = (start + BLOCK).min(tokens);
        let oldest = |token: usize| kind.window.map_or(0, |w| (token + 1).saturating_sub(w));
        // Keys that any query of the block sees.
        let from = oldest(start);
        let keys = end - from;
        let scores = scores.grow((end - start) * keys);
        for head in 0..config.heads {
            let kv = (first + from) * narrow + head / group * dim;
            let q = (first + start) * wide + head * dim;
            let view = |data, rows, stride| View { data, rows, cols: dim, stride };
            let queries = view(&x.queries[q..], end - start, wide);
            let seen = view(&x.keys[kv..], keys, narrow);
            product(scores, keys, Old::Replace, config.attention_scale, queries, seen, Right::Transposed);
            if let Some(cap) = config.attention_cap {
                ops::soft_cap(arch, scores, cap);
            }
            ops::masked_softmax(arch, scores, keys, |i| oldest(start + i) - from..start + i + 1 - from);
            let weights = View::dense(scores, end - start, keys);
            let values = view(&x.values[kv..], keys, narrow);
            product(&mut out[q..], wide, Old::Replace, 1.0, weights, values, Right::Plain);
        }
    }
}
