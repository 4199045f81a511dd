//! Memory that a worker reuses from batch to batch.

use super::matmul::Widener;

/// Buffers of one worker. They grow to what the largest batch needs and stay.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The residual stream, `[tokens, hidden]`.
    pub(super) stream: Vec<f32>,
    /// Its normalised copy, `[tokens, hidden]`.
    pub(super) normed: Vec<f32>,
    /// What attention or MLP add, `[tokens, hidden]`.
    pub(super) branch: Vec<f32>,
    /// `[tokens, heads · head_dim]`.
    pub(super) queries: Vec<f32>,
    /// `[tokens, kv_heads · head_dim]`.
    pub(super) keys: Vec<f32>,
    /// `[tokens, kv_heads · head_dim]`.
    pub(super) values: Vec<f32>,
    /// `[tokens, heads · head_dim]`.
    pub(super) attended: Vec<f32>,
    /// `[tokens, intermediate]`.
    pub(super) gate: Vec<f32>,
    /// `[tokens, intermediate]`.
    pub(super) up: Vec<f32>,
    /// Attention scores of a block of queries, `[block, keys]`.
    pub(super) scores: Vec<f32>,
    /// Weights in f32, where they are stored in another type.
    pub(super) weights: Widener,
    /// Logits of a part of the vocabulary, `[rows, part]`.
    pub(super) logits: Vec<f32>,
}

/// A buffer that is as long as it must be.
pub(super) trait Grow {
    /// The first `len` elements; what is in them is left over from before.
    fn grow(&mut self, len: usize) -> &mut [f32];
}

impl Grow for Vec<f32> {
    fn grow(&mut self, len: usize) -> &mut [f32] {
        if self.len() < len {
            self.resize(len, 0.0);
        }
        &mut self[..len]
    }
}
