//! `fisher` and `regmean`, and the files beside the models that they read.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../cuda/host.rs"]
mod host;
#[path = "../oracle/mod.rs"]
mod oracle;
#[path = "../support/mod.rs"]
mod support;

mod arithmetic;
mod bytes;
mod quickstart;
mod refusals;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use growmerge::checkpoint::{DType, Saved, save};
use support::{Noise, Tensors, f32s, write};

const EMBED: &str = "model.embed_tokens.weight";
const UP: &str = "model.layers.0.mlp.up_proj.weight";
const GATE: &str = "model.layers.0.mlp.gate_proj.weight";
const NORM: &str = "model.norm.weight";

/// Values by the name of their tensor.
type Values = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A base and fine-tunes of it, and room for files.
struct World {
    folder: tempfile::TempDir,
    models: usize,
}

impl World {
    fn new(seed: u64, shapes: &[(&str, Vec<usize>)], models: usize) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap(), models };
        let mut noise = Noise(seed);
        let base: Vec<Vec<f32>> =
            shapes.iter().map(|(_, s)| (0..s.iter().product()).map(|_| noise.next()).collect()).collect();
        let named = |all: Vec<Vec<f32>>| -> Tensors {
            shapes.iter().zip(all).map(|((name, shape), x)| ((*name).to_owned(), f32s(shape, x))).collect()
        };
        write(&world.path("base"), &named(base.clone()));
        for i in 0..models {
            let tuned = base.iter().map(|x| x.iter().map(|x| x + 0.3 * noise.next()).collect()).collect();
            write(&world.path(&format!("m{i}")), &named(tuned));
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A tensor of a model.
    fn values(&self, model: &str, tensor: &str) -> Vec<f64> {
        support::values(&support::read(&self.path(model))[tensor])
    }

    /// A recipe in which model `i` has the file `<parameter><i>.safetensors`.
    fn recipe(&self, method: &str, parameter: &str, weights: &[f64], more: &str) -> String {
        let mut text = format!("merge_method: {method}\nmodels:\n");
        for i in 0..self.models {
            let file = self.at(&format!("{parameter}{i}.safetensors"));
            let weight = weights.get(i).map_or(String::new(), |w| format!(", weight: {w}"));
            text += &format!(
                "  - model: {}\n    parameters: {{{parameter}: {file}{weight}}}\n",
                self.at(&format!("m{i}"))
            );
        }
        text + &format!("dtype: float32\n{more}\n")
    }
}

/// Writes a file beside the models.
fn write_file(path: &Path, format: &str, metadata: &[(&str, String)], tensors: &Values) {
    let mut about = vec![("format", format.to_owned())];
    about.extend(metadata.iter().cloned());
    let saved = tensors.iter().map(|(name, (shape, x))| Saved::f32s(name.as_str(), shape, x));
    save(path, &about, &saved.collect::<Vec<_>>()).unwrap();
}

/// Importance of these tensors, from far below to far above its mean.
fn write_importance(path: &Path, noise: &mut Noise, shapes: &[(&str, Vec<usize>)], mean: f64) -> Values {
    let value = |noise: &mut Noise| (mean as f32) * (noise.next() * 9.0).exp();
    let mut all = Values::new();
    for (name, shape) in shapes {
        let x = (0..shape.iter().product()).map(|_| value(noise)).collect();
        all.insert((*name).to_owned(), (shape.clone(), x));
    }
    write_file(path, "growmerge fisher 1", &[("mean", mean.to_string())], &all);
    all
}

/// A random Gram matrix, of more rows than columns.
fn gram(noise: &mut Noise, width: usize) -> Vec<f32> {
    let rows: Vec<Vec<f32>> =
        (0..width + 5).map(|_| (0..width).map(|c| noise.next() * (1.0 + c as f32)).collect()).collect();
    let entry = |i: usize, j: usize| rows.iter().map(|x| f64::from(x[i]) * f64::from(x[j])).sum::<f64>();
    (0..width * width).map(|at| (entry(at / width, at % width) / rows.len() as f64) as f32).collect()
}

fn write_grams(path: &Path, shared: &[(&str, &str)], grams: &[(&str, usize, &[f32])]) {
    let shared: serde_json::Map<String, serde_json::Value> =
        shared.iter().map(|(a, b)| ((*a).to_owned(), (*b).into())).collect();
    let all: Values =
        grams.iter().map(|(name, width, x)| ((*name).to_owned(), (vec![*width; 2], x.to_vec()))).collect();
    write_file(path, "growmerge gram 1", &[("shared", serde_json::Value::from(shared).to_string())], &all);
}

/// The same tensors in another type.
fn bf16(name: &str, shape: &[usize], values: &[f32]) -> Saved<'static> {
    let bytes = values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
    Saved { name: name.into(), dtype: DType::BF16, shape: shape.to_vec(), bytes: Cow::Owned(bytes) }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// The farthest of two tensors' elements, as a part of the second's largest.
fn farthest(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
}
