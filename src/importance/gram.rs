//! Gram matrices of what goes into the projections.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

use super::{About, Sequence, Task};
use crate::checkpoint::{Saved, save};
use crate::decoder::matmul::{Old, View, product};
use crate::decoder::{Batch, Decoder, Fed, Layout, Scratch, Site};
use crate::method::FileKind;
use crate::problem::{Error, ExecError, Problem};

/// For each projection the mean over tokens of `x · xᵀ`.
#[derive(Debug)]
pub struct Grams {
    grams: Vec<Gram>,
    /// What they were made of.
    pub about: About,
}

/// The matrix of all projections that see the same values.
#[derive(Debug)]
struct Gram {
    fed: Fed,
    /// Rows that were added.
    rows: usize,
    /// `[width, width]`.
    values: Vec<f32>,
}

/// Tokens that go through the decoder together. Fixed, so that sums do not depend on the threads.
const BATCH: usize = 1024;

/// What a batch brings to each projection.
#[derive(Default)]
struct Seen(BTreeMap<(usize, Site), Vec<f32>>);

impl Grams {
    /// Runs every sequence forwards.
    ///
    /// Each thread takes a batch; when all have one, each matrix takes up what the batches bring to it, in their
    /// order. Memory: four bytes for each number in a matrix, and for each thread the inputs of a batch.
    ///
    /// # Errors
    /// What is wrong with model, tokenizer or text; an input that is no number, with the weight that it goes into.
    pub fn measure(task: &Task<'_>) -> Result<Self, Error> {
        let config = task.config()?;
        let (sample, about) = task.sample(&config)?;
        let tensors = task.model.tensors();
        let decoder = Decoder::new(config, tensors, &task.model.name, sample.longest())?;
        let pool = task.pool()?;
        let gram = |fed: Fed| Gram { values: vec![0.0; fed.width * fed.width], rows: 0, fed };
        let mut grams: Vec<Gram> = decoder.fed(&Layout::of(tensors)).into_iter().map(gram).collect();
        let batches = batches(sample.sequences());
        let mut workers: Vec<(Scratch, Seen)> =
            (0..task.threads.clamp(1, batches.len().max(1))).map(|_| Default::default()).collect();
        task.progress.begin(about.tokens as u64);
        pool.install(|| {
            for round in batches.chunks(workers.len()) {
                let one_each = workers.par_iter_mut().zip(round).with_max_len(1);
                one_each.for_each(|((scratch, seen), batch)| {
                    decoder.inputs(batch, scratch, &mut |layer, site, values| {
                        let room = seen.0.entry((layer, site)).or_default();
                        room.clear();
                        room.extend_from_slice(values);
                    });
                    task.progress.advance(batch.scored() as u64);
                });
                let done = &workers[..round.len()];
                grams.par_iter_mut().with_max_len(1).for_each(|gram| {
                    let key = gram.fed.key();
                    done.iter().filter_map(|(_, seen)| seen.0.get(&key)).for_each(|x| gram.add(x));
                });
            }
            grams.par_iter_mut().for_each(Gram::finish);
        });
        task.model.check_intact()?;
        if let Some(bad) = grams.iter().find(|gram| gram.values.iter().any(|x| !x.is_finite())) {
            let name = bad.fed.weights.first().map_or("", String::as_str);
            let what = format!("what goes into {name} is NaN or infinite");
            let hint = "config.json may be of another model, or the weights of one that did not converge";
            return Err(Problem::error(&task.model.name, what).hint(hint).into());
        }
        Ok(Self { grams, about })
    }

    /// The matrix of a weight, `[width, width]`.
    pub fn of(&self, weight: &str) -> Option<&[f32]> {
        let gram = self.grams.iter().find(|gram| gram.fed.weights.iter().any(|w| w == weight))?;
        Some(&gram.values)
    }

    /// Weights that have a matrix.
    pub fn weights(&self) -> impl Iterator<Item = &str> {
        self.grams.iter().flat_map(|gram| &gram.fed.weights).map(String::as_str)
    }

    /// Writes the matrices in float32, each once, under the name of the first of its weights; `shared` in the header
    /// says which weight finds its matrix under another one's name.
    ///
    /// # Errors
    /// What the system has against it.
    pub fn save(&self, path: &Path) -> Result<(), ExecError> {
        let mut shared = serde_json::Map::new();
        let mut tensors = Vec::new();
        for gram in &self.grams {
            let mut weights = gram.fed.weights.clone();
            weights.sort_unstable();
            let Some((first, others)) = weights.split_first() else { continue };
            shared.extend(others.iter().map(|other| (other.clone(), json!(first))));
            let shape = vec![gram.fed.width; 2];
            tensors.push(Saved::f32s(first.clone(), &shape, &gram.values));
        }
        let mut about = self.about.metadata(FileKind::Grams.format());
        about.push(("shared", serde_json::Value::Object(shared).to_string()));
        save(path, &about, &tensors)
    }
}

impl Fed {
    fn key(&self) -> (usize, Site) {
        (self.layer, self.site)
    }
}

impl Gram {
    /// Adds the rows of a batch.
    fn add(&mut self, x: &[f32]) {
        let width = self.fed.width;
        let rows = x.len() / width.max(1);
        let x = View::dense(x, rows, width);
        product(&mut self.values, width, Old::Add, 1.0, x.t(), x);
        self.rows += rows;
    }

    /// From the sum to the mean; the half below the diagonal counts for both, so that the matrix is symmetric to the
    /// bit.
    fn finish(&mut self) {
        let (width, share) = (self.fed.width, 1.0 / self.rows.max(1) as f64);
        for row in 0..width {
            for column in 0..=row {
                let mean = (f64::from(self.values[row * width + column]) * share) as f32;
                self.values[row * width + column] = mean;
                self.values[column * width + row] = mean;
            }
        }
    }
}

/// Sequences in order, as many as make up a batch each.
fn batches(sequences: &[Sequence]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for sequence in sequences {
        match batches.last_mut().filter(|b| b.tokens() + sequence.ids.len() <= BATCH) {
            Some(batch) => sequence.push_to(batch),
            None => {
                let mut batch = Batch::default();
                sequence.push_to(&mut batch);
                batches.push(batch);
            }
        }
    }
    batches
}
