//! What goes into a model's projections, for statistics of them.

use super::batch::Batch;
use super::forward::Pass;
use super::layout::Layout;
use super::matmul::Matrix;
use super::ops;
use super::scratch::{Grow, Scratch};
use super::tape::{Kept, Tape};

/// Projections that see the same values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Queries, keys and values of a layer.
    Attention,
    /// Attention's output projection.
    Output,
    /// Gate and first projection of an MLP.
    Mlp,
    /// Last projection of an MLP.
    Down,
    /// The head; its layer is the number of layers. Only rows that predict something go into it.
    Head,
}

/// Some projections, and how many values a token brings to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Counted from 0.
    pub layer: usize,
    /// Which of the layer's.
    pub site: Site,
    /// Names of their weights, each once.
    pub weights: Vec<String>,
    /// Columns of the weights.
    pub width: usize,
}

impl Pass<'_, '_> {
    /// Every projection of the model, in the order of the forward pass. A head that is tied to the embedding is none.
    pub(super) fn fed(&self, layout: &Layout) -> Vec<Fed> {
        let fed = |layer: usize, site: Site, of: &[Matrix<'_>]| {
            let mut weights: Vec<String> =
                of.iter().filter_map(|w| Some(layout.holding(w.place)?.name.clone())).collect();
            weights.dedup();
            Fed { layer, site, weights, width: of.first().map_or(0, |w| w.cols) }
        };
        let mut all = Vec::new();
        for (i, layer) in self.weights.layers.iter().enumerate() {
            all.push(fed(i, Site::Attention, &[layer.query.weight, layer.key.weight, layer.value.weight]));
            all.push(fed(i, Site::Output, &[layer.output.weight]));
            all.push(fed(i, Site::Mlp, &[layer.gate.weight, layer.up.weight]));
            all.push(fed(i, Site::Down, &[layer.down.weight]));
        }
        if !self.config.tied {
            all.push(fed(self.config.layers.len(), Site::Head, &[self.weights.head.weight]));
        }
        all
    }

    /// Shows what goes into each projection, `[rows, width]`, in the order of [`Pass::fed`].
    pub(super) fn inputs(
        &self,
        batch: &Batch,
        scratch: &mut Scratch,
        see: &mut dyn FnMut(usize, Site, &[f32]),
    ) {
        let mut seer = Seer { pass: self, see, room: Vec::new(), gate: Vec::new() };
        self.layers(batch, scratch, &mut seer);
        if !self.config.tied {
            self.gather(batch, scratch);
            let rows = batch.scored() * self.config.hidden;
            see(self.config.layers.len(), Site::Head, &scratch.normed[..rows]);
        }
    }
}

/// Makes of the values on the way those that the projections see, as the forward pass does.
struct Seer<'s, 'p, 'a> {
    pass: &'s Pass<'p, 'a>,
    see: &'s mut dyn FnMut(usize, Site, &[f32]),
    room: Vec<f32>,
    gate: Vec<f32>,
}

impl Tape for Seer<'_, '_, '_> {
    fn keep(&mut self, layer: usize, what: Kept, values: &[f32]) {
        let Some(weights) = self.pass.weights.layers.get(layer) else { return };
        match what {
            Kept::Stream => {
                let x = self.pass.normed(&weights.attention_norm, values, &mut self.room);
                (self.see)(layer, Site::Attention, x);
            }
            Kept::Attended => (self.see)(layer, Site::Output, values),
            Kept::MlpStream => {
                let x = self.pass.normed(&weights.mlp_norm, values, &mut self.room);
                (self.see)(layer, Site::Mlp, x);
            }
            Kept::Gate => self.gate.grow(values.len()).copy_from_slice(values),
            Kept::Up => {
                let gate = self.gate.grow(values.len());
                ops::gated(self.pass.arch, self.pass.config.activation, gate, values);
                (self.see)(layer, Site::Down, gate);
            }
            Kept::Queries | Kept::Keys | Kept::Values | Kept::AttentionBranch | Kept::MlpBranch => {}
        }
    }
}
