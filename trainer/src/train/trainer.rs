//! One step: sequences in, weights changed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use growmerge::decoder::{Batch, Gradients, Memory, Scratch};
use growmerge::problem::{ExecError, Problems};

use super::config::Optimizer;
use super::model::Model;
use super::optimizer::AdamW;

/// Tokens of a micro-batch if a run does not say how many sequences it has: enough for the products, few enough
/// for the cache.
const MICRO_BATCH_TOKENS: usize = 512;

/// A model that is being trained.
///
/// A batch is cut into micro-batches of a fixed number of sequences; threads take one after another, and their
/// gradients are added in order. So nothing depends on the number of threads, to the bit.
#[derive(Debug)]
pub struct Trainer {
    model: Model,
    optimizer: AdamW,
    pool: rayon::ThreadPool,
    workers: Vec<Mutex<Worker>>,
    total: Gradients,
    micro_batch: Option<usize>,
}

#[derive(Debug)]
struct Worker {
    scratch: Scratch,
    memory: Memory,
    gradients: Gradients,
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
        let total = Gradients::new(&model);
        let worker = || {
            let gradients = total.clone();
            Mutex::new(Worker { scratch: Scratch::default(), memory: Memory::default(), gradients })
        };
        let workers = (0..threads).map(|_| worker()).collect();
        let optimizer = AdamW::new(settings, model.layout());
        Ok(Self { model, optimizer, pool, workers, total, micro_batch })
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
    /// below the vocabulary's size.
    ///
    /// # Errors
    /// None for a model that was opened; a decoder checks again.
    pub fn step(&mut self, sequences: &[Vec<u32>], lr: f64) -> Result<Step, Problems> {
        let loss = self.gradients(sequences)?;
        let Self { model, optimizer, pool, total, .. } = self;
        if !loss.is_finite() {
            return Ok(Step { loss, gradient_norm: f64::NAN });
        }
        let norm = pool.install(|| optimizer.step(model.values_mut(), total.values(), lr));
        Ok(Step { loss, gradient_norm: norm })
    }

    /// The mean loss of a batch; its gradients are then in `total`.
    fn gradients(&mut self, sequences: &[Vec<u32>]) -> Result<f64, Problems> {
        let length = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let tokens: usize = sequences.iter().map(|s| s.len().saturating_sub(1)).sum();
        let size = self.micro_batch.unwrap_or(MICRO_BATCH_TOKENS / length.saturating_sub(1).max(1)).max(1);
        let parts: Vec<&[Vec<u32>]> = sequences.chunks(size).collect();
        let scale = (1.0 / tokens.max(1) as f64) as f32;
        let decoder = self.model.decoder(length)?;
        self.total.values_mut().fill(0.0);
        let next = AtomicUsize::new(0);
        let sum = Mutex::new((0, 0.0, &mut self.total));
        let turned = Condvar::new();
        self.pool.broadcast(|context| {
            let mut worker = self.workers[context.index()].lock().unwrap_or_else(PoisonError::into_inner);
            let Worker { scratch, memory, gradients } = &mut *worker;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(part) = parts.get(index) else { break };
                let mut batch = Batch::default();
                part.iter().for_each(|ids| batch.push(ids, 1..ids.len()));
                gradients.values_mut().fill(0.0);
                let loss = decoder.gradients(&batch, scale, scratch, memory, gradients);
                let turn = sum.lock().unwrap_or_else(PoisonError::into_inner);
                let turn = turned.wait_while(turn, |(turn, ..)| *turn != index);
                let mut turn = turn.unwrap_or_else(PoisonError::into_inner);
                let (turn, all, total) = &mut *turn;
                total.values_mut().iter_mut().zip(gradients.values()).for_each(|(t, g)| *t += g);
                *all += loss;
                *turn += 1;
                turned.notify_all();
            }
        });
        let (_, loss, _) = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(loss / tokens.max(1) as f64)
    }
}
