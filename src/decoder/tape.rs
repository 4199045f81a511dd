//! What a backward pass needs of a forward pass.

/// A value on the way through a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// The residual stream at the layer's beginning; after the last layer, at the end. `[tokens, hidden]`.
    Stream,
    /// Queries as projected, before norm and rotation. `[tokens, heads · head_dim]`.
    Queries,
    /// Keys as projected. `[tokens, kv_heads · head_dim]`.
    Keys,
    /// Values. `[tokens, kv_heads · head_dim]`.
    Values,
    /// What attention gathered, before the output projection. `[tokens, heads · head_dim]`.
    Attended,
    /// The output projection, before the norm after it, where there is one. `[tokens, hidden]`.
    AttentionBranch,
    /// The residual stream before the MLP. `[tokens, hidden]`.
    MlpStream,
    /// The gate before its activation. `[tokens, intermediate]`.
    Gate,
    /// What the gate multiplies. `[tokens, intermediate]`.
    Up,
    /// The MLP's output, before the norm after it, where there is one. `[tokens, hidden]`.
    MlpBranch,
}

/// Is shown each value when it is there; evaluation keeps none of them.
pub trait Tape {
    /// `values` are of layer `layer`, counted from 0.
    fn keep(&mut self, layer: usize, what: Kept, values: &[f32]);
}

impl Tape for () {
    fn keep(&mut self, _layer: usize, _what: Kept, _values: &[f32]) {}
}
