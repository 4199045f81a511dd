//! Causal attention over packed texts, a block of queries at a time.

use pulp::Arch;

use super::batch::Segment;
use super::config::{Config, LayerKind};
use super::matmul::{Old, View, product};
use super::ops;
use super::scratch::Grow;

/// Queries that are scored together: a block's scores stay small for any length of text.
pub(super) const BLOCK: usize = 128;

/// `[tokens, heads · head_dim]` of queries, and as many keys and values of `kv_heads`; or their gradients.
pub(super) struct Heads<S, V = S> {
    pub(super) queries: S,
    pub(super) keys: S,
    pub(super) values: V,
}

/// Attention of one text: of each token to itself and those before it, or to the window of `kind`.
/// Writes the text's rows of `out`, `[tokens, heads · head_dim]`.
pub(super) fn attend(
    arch: Arch,
    config: &Config,
    kind: LayerKind,
    segment: &Segment,
    x: &Heads<&[f32]>,
    out: &mut [f32],
    scores: &mut Vec<f32>,
) {
    let (dim, group) = (config.head_dim, config.heads / config.kv_heads);
    let (wide, narrow) = (config.heads * dim, config.kv_heads * dim);
    let (first, tokens) = (segment.rows.start, segment.rows.len());
    for start in (0..tokens).step_by(BLOCK) {
        let rows = BLOCK.min(tokens - start);
        for head in 0..config.heads {
            let (from, keys) = weights(arch, config, kind, segment, x, (start, head), scores);
            let weights = View::dense(&scores[..rows * keys], rows, keys);
            let values = &x.values[(first + from) * narrow + head / group * dim..];
            let values = View::strided(values, keys, dim, narrow);
            let out = &mut out[(first + start) * wide + head * dim..];
            product(out, wide, Old::Replace, 1.0, weights, values);
        }
    }
}

/// How much each query of the block that begins at `start` takes of each key, for one head: `[block, keys]`, at the
/// beginning of `scores`, and behind it as many scores before the softmax if they are capped. Returns the first key
/// that the block sees, and how many.
pub(super) fn weights(
    arch: Arch,
    config: &Config,
    kind: LayerKind,
    segment: &Segment,
    x: &Heads<&[f32]>,
    (start, head): (usize, usize),
    scores: &mut Vec<f32>,
) -> (usize, usize) {
    let (dim, group) = (config.head_dim, config.heads / config.kv_heads);
    let (wide, narrow) = (config.heads * dim, config.kv_heads * dim);
    let (first, rows) = (segment.rows.start, BLOCK.min(segment.rows.len() - start));
    let oldest = |token: usize| kind.window.map_or(0, |w| (token + 1).saturating_sub(w));
    let from = oldest(start);
    let keys = start + rows - from;
    let kept = if config.attention_cap.is_some() { 2 } else { 1 };
    let (weights, capped) = scores.grow(kept * rows * keys).split_at_mut(rows * keys);
    let queries = &x.queries[(first + start) * wide + head * dim..];
    let queries = View::strided(queries, rows, dim, wide);
    let seen = &x.keys[(first + from) * narrow + head / group * dim..];
    let seen = View::strided(seen, keys, dim, narrow);
    product(weights, keys, Old::Replace, config.attention_scale, queries, seen.t());
    if let Some(cap) = config.attention_cap {
        ops::soft_cap(arch, weights, cap);
        capped.copy_from_slice(weights);
    }
    ops::masked_softmax(arch, weights, keys, |i| oldest(start + i) - from..start + i + 1 - from);
    (from, keys)
}
