//! The weights that are trained: all tensors of a decoder, one after another, in f32.

use std::path::Path;

use growmerge::checkpoint::{Checkpoint, DType};
use growmerge::decoder::{Config, Decoder, Layout, Tensor, Tensors};
use growmerge::device::Chunk;
use growmerge::device::cpu::Cpu;
use growmerge::problem::{Error, Problem, Problems};
use growmerge::write::sha256_hex;
use serde_json::{Map, Value};

use super::initial;

/// A model in f32.
#[derive(Clone, Debug)]
pub struct Model {
    /// `config.json`.
    pub json: Map<String, Value>,
    config: Config,
    layout: Layout,
    values: Vec<f32>,
}

impl Model {
    /// The weights of a checkpoint; what a decoder has no use for is left behind.
    ///
    /// # Errors
    /// What is wrong with the checkpoint, or that there is no decoder for it.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let name = folder.display().to_string();
        let checkpoint = Checkpoint::open(&name)?;
        let Some(Value::Object(json)) = checkpoint.config().cloned() else {
            return Err(Problem::error(name, "there is no config.json to train by").into());
        };
        let config = Config::read(&Value::Object(json.clone()), &format!("{name}: config.json"))?;
        // Says all that is wrong with names and shapes.
        Decoder::new(config.clone(), &checkpoint, &name, 1)?;
        let used = |tensor: &str| {
            let tied = config.tied && tensor == "lm_head.weight";
            !tied && !tensor.ends_with("rotary_emb.inv_freq")
        };
        let shapes = checkpoint.tensors().iter().filter(|t| used(&t.name));
        let layout = Layout::new(shapes.map(|t| (t.name.clone(), t.shape.clone())));
        let mut values = vec![0.0; layout.len()];
        let cpu = Cpu::new();
        for slot in layout.slots() {
            if let Some(Tensor { dtype, bytes, .. }) = Tensors::tensor(&checkpoint, &slot.name) {
                cpu.widen(Chunk { dtype, bytes }, &mut values[slot.range.clone()]);
            }
        }
        for file in checkpoint.files() {
            file.check_intact()?;
        }
        let model = Self { json, config, layout, values };
        model.refuse_non_finite(&name)?;
        Ok(model)
    }

    /// Random weights for a `config.json`, normal as usual for a model that begins from nothing.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn scratch(json: Map<String, Value>, seed: u64) -> Result<Self, Problems> {
        let config = Config::read(&Value::Object(json.clone()), "start.scratch")?;
        let layout = initial::layout(&config)?;
        let values = initial::weights(&json, &config, &layout, seed);
        Ok(Self { json, config, layout, values })
    }

    fn refuse_non_finite(&self, name: &str) -> Result<(), Problems> {
        let bad =
            self.layout.slots().iter().find(|s| self.values[s.range.clone()].iter().any(|v| !v.is_finite()));
        match bad {
            Some(slot) => {
                Err(Problem::error(name, format!("tensor {} has NaN or infinity", slot.name)).into())
            }
            None => Ok(()),
        }
    }

    /// How it computes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Which element is whose.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All weights, in the layout's order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Something that can be run on texts of up to `context` tokens.
    ///
    /// # Errors
    /// None for a model that was opened; a decoder checks again.
    pub fn decoder(&self, context: usize) -> Result<Decoder<'_>, Problems> {
        Decoder::new(self.config.clone(), self, "the model in training", context)
    }

    /// Of configuration and weights.
    pub fn sha256(&self) -> String {
        let config = serde_json::to_string(&self.json).unwrap_or_default();
        let weights = sha256_hex(bytemuck::cast_slice(&self.values));
        sha256_hex(format!("{config}\0{weights}").as_bytes())
    }
}

impl Tensors for Model {
    fn names(&self) -> Vec<&str> {
        self.layout.slots().iter().map(|s| s.name.as_str()).collect()
    }

    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let slot = self.layout.slot(name)?;
        let bytes = bytemuck::cast_slice(&self.values[slot.range.clone()]);
        Some(Tensor { dtype: DType::F32, shape: &slot.shape, bytes })
    }
}
