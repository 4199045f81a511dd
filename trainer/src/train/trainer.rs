//! One step: sequences in, weights changed.

use growmerge::decoder::{Accumulator, Batch, Weighed};
use growmerge::problem::{ExecError, Problems};

use super::config::Optimizer;
use super::model::Model;
use super::optimizer::{AdamW, norm};

/// Tokens of a micro-batch if a run does not say how many sequences it has: enough for the products, few enough
/// for the cache.
const MICRO_BATCH_TOKENS: usize = 512;

/// Sequences of a micro-batch, if a run does not say, for sequences of which so many tokens are predicted.
pub(super) fn micro_batch(sequence: usize) -> usize {
    (MICRO_BATCH_TOKENS / sequence.max(1)).max(1)
}

/// A model that is being trained.
///
/// A batch is cut into micro-batches of a fixed number of sequences; each thread takes one, and when all are done
/// their gradients are added in order. So nothing depends on the number of threads, to the bit.
#[derive(Debug)]
pub struct Trainer {
    model: Model,
    optimizer: AdamW,
    pool: rayon::ThreadPool,
    gradients: Accumulator,
    micro_batch: Option<usize>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Mean loss of the batch before the step, in nats per token.
    pub loss: f64,
    /// Norm of all gradients before clipping.
    pub gradient_norm: f64,
}

impl Trainer {
    /// Training of a model with `threads` threads, at least 1, in micro-batches of so many sequences.
    ///
    /// # Errors
    /// If the system starts no threads.
    pub fn new(
        model: Model,
        settings: &Optimizer,
        micro_batch: Option<usize>,
        threads: usize,
    ) -> Result<Self, ExecError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| ExecError::Memory { what: format!("cannot start threads: {e}") })?;
        let gradients = Accumulator::new(&model, threads);
        let optimizer = AdamW::new(settings, model.layout());
        Ok(Self { model, optimizer, pool, gradients, micro_batch })
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Moments as they are now.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Both, to be set back to what they were.
    pub(super) fn parts_mut(&mut self) -> (&mut Model, &mut AdamW) {
        (&mut self.model, &mut self.optimizer)
    }

    /// One step on sequences of one length, each a token longer than what is predicted of it. Token ids must be
    /// below the vocabulary's size. Weights stay as they are if loss or gradient are no numbers.
    ///
    /// # Errors
    /// None for a model that was opened; a decoder checks again.
    pub fn step(&mut self, sequences: &[Vec<u32>], lr: f64) -> Result<Step, Problems> {
        let step = self.look(sequences)?;
        self.update(step, lr);
        Ok(step)
    }

    /// The first half of a step: how far the model as it is now is from a batch.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub(super) fn look(&mut self, sequences: &[Vec<u32>]) -> Result<Step, Problems> {
        let loss = self.gradients(sequences)?;
        let gradient_norm = if loss.is_finite() {
            self.pool.install(|| norm(self.gradients.total().values()))
        } else {
            f64::NAN
        };
        Ok(Step { loss, gradient_norm })
    }

    /// The second half: a step along the gradients of the last look.
    pub(super) fn update(&mut self, seen: Step, lr: f64) {
        let Self { model, optimizer, pool, gradients, .. } = self;
        let gradients = gradients.total().values();
        pool.install(|| optimizer.step(model.values_mut(), gradients, seen.gradient_norm, lr));
    }

    /// The mean loss of a batch; its gradients are then those that were summed last.
    fn gradients(&mut self, sequences: &[Vec<u32>]) -> Result<f64, Problems> {
        let length = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let tokens: usize = sequences.iter().map(|s| s.len().saturating_sub(1)).sum();
        let size = self.micro_batch.unwrap_or_else(|| micro_batch(length.saturating_sub(1)));
        let scale = (1.0 / tokens.max(1) as f64) as f32;
        let decoder = self.model.decoder(length)?;
        let part = |part: &[Vec<u32>]| {
            let mut batch = Batch::default();
            part.iter().for_each(|ids| batch.push(ids, 1..ids.len()));
            Weighed { batch, scale }
        };
        let parts: Vec<Weighed> = sequences.chunks(size.max(1)).map(part).collect();
        let gradients = &mut self.gradients;
        let losses = self.pool.install(|| gradients.gradients(&decoder, &parts));
        Ok(losses.iter().map(|losses| losses.sum).sum::<f64>() / tokens.max(1) as f64)
    }
}
