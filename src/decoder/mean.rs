//! Gradients of many batches: each worker takes one, and they are added in order.

use rayon::prelude::*;

use super::weights::Tensors;
use super::{Batch, Decoder, Gradients, Memory, Scratch};

/// Elements that are added at once.
const CHUNK: usize = 16 * 1024;

/// A batch, and what its losses count, beside the factors that its texts were pushed with.
#[derive(Clone, Debug)]
pub struct Weighed {
    /// Texts.
    pub batch: Batch,
    /// Factor on each loss.
    pub scale: f32,
}

/// What the tokens of a batch cost, in nats and unscaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses {
    /// All of them together.
    pub sum: f64,
    /// Each, in the order they were pushed.
    pub each: Vec<f64>,
}

/// Sums of gradients. Batches are shared out between threads, and when each thread has done one, their gradients
/// are added in the order of the batches: no bit depends on the number of threads.
#[derive(Debug)]
pub struct Accumulator {
    workers: Vec<Worker>,
    total: Gradients,
}

#[derive(Debug)]
struct Worker {
    scratch: Scratch,
    memory: Memory,
    gradients: Gradients,
}

impl Accumulator {
    /// For models of these tensors; as many batches are worked on at once as there are `threads`.
    pub fn new(tensors: &dyn Tensors, threads: usize) -> Self {
        let total = Gradients::new(tensors);
        let worker = || {
            let gradients = total.clone();
            Worker { scratch: Scratch::default(), memory: Memory::default(), gradients }
        };
        Self { workers: (0..threads.max(1)).map(|_| worker()).collect(), total }
    }

    /// What the last call summed.
    pub fn total(&self) -> &Gradients {
        &self.total
    }

    /// The gradient of the sum of all batches' scaled losses, which is then in [`Accumulator::total`]; returns each
    /// batch's losses. Runs on the rayon pool that it is called in.
    ///
    /// # Panics
    /// As [`Decoder::gradients`].
    pub fn gradients(&mut self, decoder: &Decoder<'_>, batches: &[Weighed]) -> Vec<Losses> {
        let Self { workers, total } = self;
        total.values_mut().par_chunks_mut(CHUNK).for_each(|total| total.fill(0.0));
        let mut losses = Vec::with_capacity(batches.len());
        for batches in batches.chunks(workers.len()) {
            let one_each = workers.par_iter_mut().zip(batches).with_max_len(1);
            let of_each = one_each.map(|(worker, Weighed { batch, scale })| {
                let Worker { scratch, memory, gradients } = worker;
                gradients.values_mut().fill(0.0);
                let sum = decoder.gradients(batch, *scale, scratch, memory, gradients);
                Losses { sum, each: memory.losses().to_vec() }
            });
            losses.extend(of_each.collect::<Vec<Losses>>());
            let done = &workers[..batches.len()];
            let chunks = total.values_mut().par_chunks_mut(CHUNK).enumerate();
            chunks.for_each(|(i, total)| {
                for worker in done {
                    let gradients = &worker.gradients.values()[i * CHUNK..];
                    total.iter_mut().zip(gradients).for_each(|(t, g)| *t += g);
                }
            });
        }
        losses
    }
}
