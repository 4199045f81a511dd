//! Adapters applied while a model is read: against PEFT, an oracle, and themselves in other pieces.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod models;
mod peft;
mod refusals;
#[path = "../support/mod.rs"]
mod support;
mod updates;

use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use support::toy::Toy;
use support::{Noise, Tensor, Tensors, refusal, save, stored, values};

fn passthrough(model: &str) -> String {
    format!("merge_method: passthrough\nmodels:\n  - model: {model}\n")
}

/// The farthest of two tensors' elements, as a part of the root mean square of the first.
fn farthest(want: &[f64], got: &[f64]) -> f64 {
    assert_eq!(want.len(), got.len());
    let size = (want.iter().map(|x| x * x).sum::<f64>() / want.len() as f64).sqrt();
    want.iter().zip(got).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max) / size
}

/// An adapter being made: tensors by the names that PEFT gives them.
struct Made {
    config: Value,
    tensors: Tensors,
    noise: Noise,
}

impl Made {
    fn new(config: Value) -> Self {
        let mut all = json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 6 });
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        Self { config: all, tensors: Tensors::new(), noise: Noise(77) }
    }

    fn add(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> &mut Self {
        let x: Vec<f32> = (0..shape.iter().product()).map(|_| 0.5 * self.noise.next() + 0.01).collect();
        self.tensors.insert(format!("base_model.model.{name}"), stored(dtype, shape, &x));
        self
    }

    /// A pair for a module of a shape `[out, in]`.
    fn pair(&mut self, module: &str, rank: usize, [out, into]: [usize; 2]) -> &mut Self {
        self.add(&format!("{module}.lora_A.weight"), Dtype::F32, &[rank, into]);
        self.add(&format!("{module}.lora_B.weight"), Dtype::F32, &[out, rank])
    }

    fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("adapter_config.json"), self.config.to_string()).unwrap();
        save(&folder.join("adapter_model.safetensors"), &self.tensors);
    }

    fn part(&self, module: &str, part: &str) -> &Tensor {
        &self.tensors[&format!("base_model.model.{module}.{part}")]
    }

    /// The update of a module by its definition, in f64: `W: [out, in]`.
    fn oracle(&self, module: &str, w: &[f64], scale: f64) -> Vec<f64> {
        let (a, b) = (self.part(module, "lora_A.weight"), self.part(module, "lora_B.weight"));
        let (rank, into) = (a.shape[0], a.shape[1]);
        let (a, b) = (values(a), values(b));
        let sum = |i: usize| (0..rank).map(|k| b[i / into * rank + k] * a[k * into + i % into]).sum::<f64>();
        let mut x: Vec<f64> = w.iter().enumerate().map(|(i, w)| w + scale * sum(i)).collect();
        let name = format!("base_model.model.{module}.lora_magnitude_vector");
        if let Some(m) = self.tensors.get(&name) {
            for (row, m) in x.chunks_mut(into).zip(values(m)) {
                let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                row.iter_mut().for_each(|x| *x *= m / length);
            }
        }
        x
    }
}

struct World {
    folder: tempfile::TempDir,
    base: Tensors,
}

impl World {
    fn new(toy: &Toy) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap(), base: toy.tensors() };
        toy.write(&world.path("base"));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn with(&self, adapter: &str) -> String {
        format!("{}+{}", self.path("base").display(), self.path(adapter).display())
    }

    /// Writes an adapter and says why it is refused.
    fn refusal(&self, made: &Made) -> String {
        made.write(&self.path("lora"));
        refusal(&passthrough(&self.with("lora")))
    }
}

const Q0: &str = "model.layers.0.self_attn.q_proj";
const Q1: &str = "model.layers.1.self_attn.q_proj";
const UP: &str = "model.layers.2.mlp.up_proj";
