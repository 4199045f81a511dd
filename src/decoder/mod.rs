//! One decoder for the Llama family: explicit arithmetic in f32, for measuring a checkpoint on text and
//! for training it.
//!
//! [`Config`] reads a model's switches from `config.json`, [`Weights`] finds its tensors and holds them
//! against the configuration, and [`Decoder`] runs batches of texts. Weights stay in their stored type
//! and are widened a part at a time; the loss goes through the vocabulary in parts. A [`Tape`] is
//! shown the values on the way, so that a backward pass can be built on this forward pass.
//!
//! Results do not depend on how texts are packed into batches or shared out between threads. They may
//! differ in the last bits between kinds of processors, because the matrix products use each one's own
//! fused instructions.

mod attention;
mod backward;
mod batch;
mod cache;
mod config;
mod family;
mod fields;
mod forward;
mod inputs;
mod layout;
mod loss;
pub(crate) mod matmul;
mod mean;
mod ops;
mod rope;
mod rows;
mod scratch;
mod tape;
mod weights;

use pulp::Arch;

pub use backward::Memory;
pub use batch::{Batch, Predictions};
pub use cache::Cache;
pub use config::{Activation, Biases, Config, LayerKind};
pub use family::{NormPlace, NormWeight, Projections, QueryKeyNorm};
pub use inputs::{Fed, Site};
pub use layout::{Gradients, Layout, Slot};
pub use matmul::{Linear, Matrix, Vector};
pub use mean::{Accumulator, Losses, Weighed};
pub(crate) use ops::wide;
pub use rope::{Rope, Scaling};
pub use scratch::Scratch;
pub use tape::{Kept, Tape};
pub use weights::{Layer, Tensor, Tensors, Weights, shapes};

use crate::problem::Problems;
use forward::{Pass, Tables};

/// A model that can be run.
#[derive(Debug)]
pub struct Decoder<'a> {
    config: Config,
    weights: Weights<'a>,
    tables: Tables,
    context: usize,
    arch: Arch,
}

impl<'a> Decoder<'a> {
    /// A decoder for texts of up to `context` tokens; `model` names it in messages.
    ///
    /// # Errors
    /// Where the tensors are not what the configuration says.
    pub fn new(
        config: Config,
        tensors: &'a dyn Tensors,
        model: &str,
        context: usize,
    ) -> Result<Self, Problems> {
        let weights = Weights::find(&config, tensors, model)?;
        let tables = Tables::new(&config, context);
        Ok(Self { config, weights, tables, context, arch: Arch::new() })
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its weights.
    pub fn weights(&self) -> &Weights<'a> {
        &self.weights
    }

    fn pass(&self) -> Pass<'_, 'a> {
        Pass { arch: self.arch, config: &self.config, weights: &self.weights, tables: &self.tables }
    }

    /// Of each scored token of a batch, in the order they were pushed, the negative log probability in
    /// nats. Token ids must be below the vocabulary's size.
    ///
    /// # Panics
    /// If a text is longer than the context.
    pub fn losses(&self, batch: &Batch, scratch: &mut Scratch, tape: &mut impl Tape) -> Vec<f64> {
        self.pass().layers(batch, scratch, tape);
        self.pass().losses(batch, scratch)
    }

    /// Of each scored token of a batch, in the order they were pushed, how likely every token of the vocabulary is in its
    /// place. All of it is in memory. Token ids must be below the vocabulary's size.
    ///
    /// # Panics
    /// If a text is longer than the context.
    pub fn predictions(&self, batch: &Batch, scratch: &mut Scratch) -> Predictions {
        self.pass().layers(batch, scratch, &mut ());
        self.pass().predictions(batch, scratch)
    }

    /// Adds to `gradients` those of `scale` times the sum of the batch's losses, each with the factor it was pushed with,
    /// for every weight; returns the sum of the losses in nats, unscaled ([`Memory::losses`] has each). `gradients` must be of the tensors that the decoder was made of; token ids
    /// must be below the vocabulary's size.
    ///
    /// # Panics
    /// If a text is longer than the context, `gradients` are another model's, or lessons of another vocabulary.
    pub fn gradients(
        &self,
        batch: &Batch,
        scale: f32,
        scratch: &mut Scratch,
        memory: &mut Memory,
        gradients: &mut Gradients,
    ) -> f64 {
        self.pass().gradients(batch, scale, scratch, memory, gradients)
    }

    /// Every projection with the names of its weights, those that see the same values together, in the order in which
    /// [`Decoder::inputs`] shows these values. A head that is tied to the embedding is none. `layout` must be of the
    /// tensors that the decoder was made of.
    pub fn fed(&self, layout: &Layout) -> Vec<Fed> {
        self.pass().fed(layout)
    }

    /// Shows what a batch brings to each projection, `[rows, width]`, by layer and site.
    ///
    /// # Panics
    /// If a text is longer than the context.
    pub fn inputs(&self, batch: &Batch, scratch: &mut Scratch, see: &mut dyn FnMut(usize, Site, &[f32])) {
        self.pass().inputs(batch, scratch, see);
    }

    /// Logits after each token of one text, `[tokens, vocab]`. For looking into a model: evaluation never
    /// holds the logits of a whole vocabulary.
    ///
    /// # Panics
    /// If the text is longer than the context.
    pub fn logits(&self, ids: &[u32], scratch: &mut Scratch) -> Vec<f32> {
        let batch = Batch::inputs(ids);
        self.pass().layers(&batch, scratch, &mut ());
        self.pass().logits(ids.len(), scratch)
    }

    /// Lets texts grow: each of `texts`, which are positions in the cache and none twice, by the token of the same place in
    /// `ids`. Returns logits of what comes then, `[texts, vocab]`. What a text gets does not depend on the others. Token ids
    /// must be below the vocabulary's size.
    ///
    /// # Panics
    /// If a text is as long as the cache allows or comes twice, or the cache's context is longer than the decoder's.
    pub fn next(&self, cache: &mut Cache, texts: &[usize], ids: &[u32], scratch: &mut Scratch) -> Vec<f32> {
        assert_eq!(texts.len(), ids.len(), "a token for each text");
        assert!(texts.iter().all(|text| cache.len(*text) < cache.context()), "a text is full");
        assert!(cache.context() <= self.context, "the cache is for longer texts than the decoder");
        let mut sorted = texts.to_vec();
        sorted.sort_unstable();
        assert!(sorted.is_sorted_by(|a, b| a < b), "a text twice");
        self.pass().layers(cache::Next { cache, texts, ids }, scratch, &mut ());
        cache.grow(texts);
        self.pass().logits(texts.len(), scratch)
    }
}
