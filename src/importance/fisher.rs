//! The diagonal of the empirical Fisher information.

use std::borrow::Cow;
use std::path::Path;

use rayon::prelude::*;

use super::{About, Task};
use crate::checkpoint::{DType, Saved, save};
use crate::decoder::{Batch, Decoder, Gradients, Layout, Memory, Scratch};
use crate::device::cpu::Cpu;
use crate::device::{Chunk, Device};
use crate::method::FileKind;
use crate::problem::{Error, ExecError, Problem};

/// For each weight the sum over sequences of the squared gradient of the sequence's log-likelihood, divided by the
/// number of predicted tokens.
#[derive(Debug)]
pub struct Fisher {
    layout: Layout,
    values: Vec<f32>,
    /// Mean over all weights.
    pub mean: f64,
    /// Mean loss of the predicted tokens, in nats.
    pub nats: f64,
    /// What it was made of.
    pub about: About,
}

/// Elements that one thread adds in a row.
const CHUNK: usize = 1 << 16;

/// What a thread needs: as many numbers as the model has weights, and those of a pass.
struct Worker {
    scratch: Scratch,
    memory: Memory,
    gradients: Gradients,
}

impl Fisher {
    /// Runs every sequence forwards and backwards.
    ///
    /// Each thread takes one sequence; when all have one, their squares are added in the sequences' order, so that no
    /// bit depends on the number of threads. Memory: four bytes for each weight, and as many for each thread.
    ///
    /// # Errors
    /// What is wrong with model, tokenizer or text; a gradient that is no number, with its tensor; no gradient at all.
    pub fn measure(task: &Task<'_>) -> Result<Self, Error> {
        let config = task.config()?;
        let (sample, about) = task.sample(&config)?;
        let tied = config.tied;
        let tensors = task.model.tensors();
        let decoder = Decoder::new(config, tensors, &task.model.name, sample.longest())?;
        let pool = task.pool()?;
        let layout = Layout::of(tensors);
        let mut values = vec![0f32; layout.len()];
        let worker = || Worker {
            scratch: Scratch::default(),
            memory: Memory::default(),
            gradients: Gradients::new(tensors),
        };
        let mut workers: Vec<Worker> =
            (0..task.threads.clamp(1, sample.sequences().len())).map(|_| worker()).collect();
        task.progress.begin(about.tokens as u64);
        let mut nats = 0.0;
        pool.install(|| {
            for round in sample.sequences().chunks(workers.len()) {
                let one_each = workers.par_iter_mut().zip(round).with_max_len(1);
                let losses = one_each.map(|(worker, sequence)| {
                    let Worker { scratch, memory, gradients } = worker;
                    let mut batch = Batch::default();
                    sequence.push_to(&mut batch);
                    gradients.values_mut().fill(0.0);
                    let loss = decoder.gradients(&batch, 1.0, scratch, memory, gradients);
                    task.progress.advance(sequence.scored.len() as u64);
                    loss
                });
                losses.collect::<Vec<f64>>().iter().for_each(|loss| nats += loss);
                let done = &workers[..round.len()];
                values.par_chunks_mut(CHUNK).enumerate().for_each(|(i, sums)| {
                    for worker in done {
                        let gradients = &worker.gradients.values()[i * CHUNK..];
                        sums.iter_mut().zip(gradients).for_each(|(sum, g)| *sum += g * g);
                    }
                });
            }
        });
        task.model.check_intact()?;
        let share = 1.0 / about.tokens.max(1) as f64;
        values.iter_mut().for_each(|x| *x = (f64::from(*x) * share) as f32);
        let nats = nats * share;
        let mut fisher = Self { layout, values, mean: 0.0, nats, about };
        fisher.refuse_non_finite(&task.model.name)?;
        if tied {
            fisher.share_with_head();
        }
        fisher.mean = mean(&fisher.values);
        if fisher.mean == 0.0 {
            let what =
                format!("on {} no weight has a gradient: importance is zero", task.text.path.display());
            return Err(Problem::error(&task.model.name, what).into());
        }
        Ok(fisher)
    }

    fn refuse_non_finite(&self, model: &str) -> Result<(), Error> {
        let tensors = self.layout.slots().iter();
        let bad = tensors
            .filter(|slot| self.values[slot.range.clone()].iter().any(|x| !x.is_finite()))
            .map(|slot| slot.name.as_str());
        match bad.collect::<Vec<_>>()[..] {
            [] => Ok(()),
            [first, ref more @ ..] => {
                let more =
                    if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
                let what = format!("the squared gradient of tensor {first}{more} is NaN or infinite");
                let hint = "config.json may be of another model, or the weights of one that did not converge";
                Err(Problem::error(model, what).hint(hint).into())
            }
        }
    }

    /// A tied model may store its head too: a copy of the embedding, which has all gradients.
    fn share_with_head(&mut self) {
        let of = |name: &str| self.layout.slot(name).map(|slot| slot.range.clone());
        let embedding = of("model.embed_tokens.weight").or_else(|| of("embed_tokens.weight"));
        if let (Some(head), Some(embedding)) = (of("lm_head.weight"), embedding)
            && head.len() == embedding.len()
        {
            self.values.copy_within(embedding, head.start);
        }
    }

    /// Which element is whose.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// One tensor's.
    pub fn tensor(&self, name: &str) -> Option<&[f32]> {
        self.values.get(self.layout.slot(name)?.range.clone())
    }

    /// Writes a checkpoint with the model's names and shapes, in bfloat16, which has the range of float32: squares of
    /// gradients are often too small for float16.
    ///
    /// # Errors
    /// What the system has against it.
    pub fn save(&self, path: &Path) -> Result<(), ExecError> {
        let mut about = self.about.metadata(FileKind::Importance.format());
        about.push(("mean", self.mean.to_string()));
        let cpu = Cpu::new();
        let mut tensors = Vec::new();
        for slot in self.layout.slots() {
            let values = self.values.get(slot.range.clone()).unwrap_or_default();
            let mut bytes = vec![0; 2 * values.len()];
            let values = cpu.load(Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(values) })?;
            cpu.store(&values, DType::BF16, &mut bytes)?;
            let (name, shape) = (slot.name.clone(), slot.shape.clone());
            tensors.push(Saved { name, dtype: DType::BF16, shape, bytes: Cow::Owned(bytes) });
        }
        save(path, &about, &tensors)
    }
}

/// Sums of runs of a fixed length, then of these.
fn mean(values: &[f32]) -> f64 {
    let sums = values.par_chunks(CHUNK).map(|chunk| chunk.iter().map(|x| f64::from(*x)).sum::<f64>());
    sums.collect::<Vec<f64>>().iter().sum::<f64>() / values.len().max(1) as f64
}

impl About {
    /// For a file's header.
    pub(super) fn metadata(&self, format: &str) -> Vec<(&'static str, String)> {
        vec![
            ("format", format.to_owned()),
            ("language", self.language.clone()),
            ("model", self.model.clone()),
            ("sequences", self.sequences.to_string()),
            ("tokenizer", self.tokenizer.clone()),
            ("tokens", self.tokens.to_string()),
        ]
    }
}
