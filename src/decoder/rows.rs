//! What goes through the layers together: texts as a whole, or the next token of texts that grow.

use super::attention::{Heads, attend};
use super::batch::Batch;
use super::config::LayerKind;
use super::forward::{Pass, Turn};

/// Tokens that go through the layers together, a row each. Only attention knows that there is more than one.
pub(super) trait Rows {
    /// The tokens.
    fn ids(&self) -> &[u32];

    /// Attention of a layer, of which there is the index and the kind: turns queries and keys by the positions of their
    /// tokens and writes what each row gathers from those that it sees, `[rows, heads · head_dim]`.
    fn attend(
        &mut self,
        pass: &Pass<'_, '_>,
        layer: (usize, LayerKind),
        heads: Heads<&mut [f32], &[f32]>,
        out: &mut [f32],
        scores: &mut Vec<f32>,
    );
}

/// Each text sees itself.
impl Rows for &Batch {
    fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn attend(
        &mut self,
        pass: &Pass<'_, '_>,
        (_, kind): (usize, LayerKind),
        heads: Heads<&mut [f32], &[f32]>,
        out: &mut [f32],
        scores: &mut Vec<f32>,
    ) {
        pass.rotate(kind, self, heads.queries, Turn::Forth);
        pass.rotate(kind, self, heads.keys, Turn::Forth);
        let heads = Heads { queries: &*heads.queries, keys: &*heads.keys, values: heads.values };
        for segment in &self.segments {
            attend(pass.arch, pass.config, kind, segment, &heads, out, scores);
        }
    }
}
