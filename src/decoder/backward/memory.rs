//! What a backward pass keeps of the forward pass, and its own buffers.

use crate::decoder::tape::{Kept, Tape};

/// Memory of one worker for [`Decoder::gradients`](crate::decoder::Decoder::gradients). It grows to what the
/// largest batch needs and stays. Gradients of values have the names of the values.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) tape: Record,
    /// `[tokens, hidden]`.
    pub(super) stream: Vec<f32>,
    /// `[tokens, hidden]`.
    pub(super) normed: Vec<f32>,
    /// `[tokens, hidden]`.
    pub(super) branch: Vec<f32>,
    /// `[tokens, heads · head_dim]`.
    pub(super) attended: Vec<f32>,
    /// `[tokens, heads · head_dim]`.
    pub(super) queries: Vec<f32>,
    /// `[tokens, kv_heads · head_dim]`.
    pub(super) keys: Vec<f32>,
    /// `[tokens, kv_heads · head_dim]`.
    pub(super) values: Vec<f32>,
    /// `[tokens, intermediate]`, of what goes into the last projection of an MLP.
    pub(super) inner: Vec<f32>,
    /// `[tokens, intermediate]`.
    pub(super) gate: Vec<f32>,
    /// `[tokens, intermediate]`.
    pub(super) up: Vec<f32>,
    /// Of attention weights, a block of queries at a time, `[block, keys]`.
    pub(super) scores: Vec<f32>,
    /// Of logits, a block of rows at a time, `[block, vocab]`.
    pub(super) logits: Vec<f32>,
    /// Of each target, in nats, unscaled.
    pub(super) losses: Vec<f64>,
}

impl Memory {
    /// What each token of the last batch cost, in nats and in the order they were pushed, whatever it counted.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }
}

/// All values of a forward pass.
#[derive(Debug, Default)]
pub(super) struct Record(Vec<Vec<f32>>);

/// Kinds of values that a layer shows.
const KINDS: usize = Kept::MlpBranch as usize + 1;

impl Record {
    pub(super) fn get(&self, layer: usize, what: Kept) -> &[f32] {
        &self.0[layer * KINDS + what as usize]
    }
}

impl Tape for Record {
    fn keep(&mut self, layer: usize, what: Kept, values: &[f32]) {
        let at = layer * KINDS + what as usize;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Vec::new);
        }
        self.0[at].clear();
        self.0[at].extend_from_slice(values);
    }
}
