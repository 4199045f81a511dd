//! A training run as the user describes it: one YAML file, every default of which is printed at the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use growmerge::checkpoint::DType;
use growmerge::problem::{Error, Problem, Problems};
use serde::{Deserialize, Serialize};

use super::trainer::micro_batch;
use crate::data;

/// Tokens of a whole run at most: an f64 counts that far.
const MOST_TOKENS: u64 = 1 << 53;
/// Tokens of a step at most; all of them are in memory.
const MOST_TOKENS_OF_STEP: usize = 1 << 28;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// What training begins with.
    pub start: Start,
    /// A folder with `tokenizer.json`; that of the checkpoint if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Of the first weights and of the order of the data.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Tokens of a sequence that are predicted.
    pub sequence: usize,
    /// Sequences of a step.
    pub batch: usize,
    /// Sequences that go through the model together; about 512 tokens' worth if it is left out. Changes memory and
    /// speed, and the result in its last bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Steps in all.
    pub steps: u64,
    /// AdamW.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The learning rate over time.
    #[serde(default)]
    pub schedule: Schedule,
    /// What is read.
    pub data: data::Mixture,
    /// Texts that are measured on the way, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// What is kept on the way.
    #[serde(default)]
    pub checkpoints: Checkpoints,
}

impl Run {
    /// Reads a description; relative paths are relative to where the command runs.
    ///
    /// # Errors
    /// What is wrong with it, with its line.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|e| Problem::error(&name, format!("cannot read: {e}")))?;
        let run: Self = serde_yaml::from_str(&text).map_err(|e| Problem::error(&name, e.to_string()))?;
        run.check()?;
        Ok(run)
    }

    /// The same run with every default filled in: it gives the same bits, and reads back as itself.
    pub fn resolved(&self) -> Self {
        let mut run = self.clone();
        let (warmup, decay) = self.schedule.resolve(self.steps);
        (run.schedule.warmup, run.schedule.decay) = (Some(warmup), Some(decay));
        run.micro_batch = Some(self.micro_batch.unwrap_or_else(|| micro_batch(self.sequence)));
        if let (None, Start::Checkpoint(folder)) = (&self.tokenizer, &self.start) {
            run.tokenizer = Some(folder.clone());
        }
        run
    }

    /// Tokens that are predicted in so many steps.
    pub(super) fn tokens(&self, steps: u64) -> u64 {
        steps * (self.batch * self.sequence) as u64
    }

    /// All numbers that make no sense.
    ///
    /// # Errors
    /// One for each.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Problems::new();
        let mut must = |holds: bool, at: &str, what: String| {
            if !holds {
                problems.push(Problem::error(at, what));
            }
        };
        let Optimizer { lr, betas, eps, weight_decay, clip, .. } = &self.optimizer;
        must(
            (1..=1 << 22).contains(&self.sequence),
            "sequence",
            format!("{} is not 1 to 2^22 tokens", self.sequence),
        );
        must(
            (1..=1 << 24).contains(&self.batch),
            "batch",
            format!("{} is not 1 to 2^24 sequences", self.batch),
        );
        must(self.micro_batch != Some(0), "micro_batch", "must be at least 1".into());
        must((1..=1 << 40).contains(&self.steps), "steps", format!("{} is not 1 to 2^40", self.steps));
        let of_step = self.batch.checked_mul(self.sequence);
        let few = of_step.is_some_and(|tokens| tokens <= MOST_TOKENS_OF_STEP);
        let sizes = format!("{} sequences of {} tokens", self.batch, self.sequence);
        must(few, "batch", format!("{sizes} are more than 2^28 tokens in a step"));
        let of_run = of_step.and_then(|tokens| self.steps.checked_mul(tokens as u64));
        let few = !few || of_run.is_some_and(|tokens| tokens <= MOST_TOKENS);
        must(few, "steps", format!("{} steps of {sizes} are more than 2^53 tokens", self.steps));
        must(*lr > 0.0 && lr.is_finite(), "optimizer.lr", format!("{lr} is not a positive number"));
        must(
            betas.iter().all(|b| (0.0..1.0).contains(b)),
            "optimizer.betas",
            format!("{betas:?} are not in [0, 1)"),
        );
        must(*eps > 0.0 && eps.is_finite(), "optimizer.eps", format!("{eps} is not a positive number"));
        let decays = *weight_decay >= 0.0 && lr * weight_decay < 1.0;
        must(
            decays,
            "optimizer.weight_decay",
            format!("{weight_decay} times the learning rate is not in [0, 1)"),
        );
        let clips = clip.is_none_or(|c| c > 0.0 && c.is_finite());
        must(clips, "optimizer.clip", "is not a positive number; leave it empty for no clipping".into());
        must((0.0..=1.0).contains(&self.schedule.floor), "schedule.floor", "is not in [0, 1]".into());
        // As given, and as filled in: a description that is printed with every default can be read again.
        let given = (self.schedule.warmup.unwrap_or(0), self.schedule.decay.unwrap_or(0));
        for (warmup, decay) in [self.schedule.resolve(self.steps), given] {
            let fits = warmup.checked_add(decay).is_some_and(|both| both <= self.steps);
            let what = format!("warm-up and decay are {warmup} and {decay} steps of {}", self.steps);
            must(fits, "schedule", what);
            if !fits {
                break;
            }
        }
        let every = self.validation.as_ref().is_none_or(|v| v.every > 0 && !v.texts.is_empty());
        must(every, "validation", "needs a text, and at least one step between measurements".into());
        must(self.checkpoints.every > 0, "checkpoints.every", "must be at least 1".into());
        let late = self.checkpoints.keep.iter().find(|k| **k == 0 || **k > self.steps);
        must(late.is_none(), "checkpoints.keep", format!("there is no step {}", late.unwrap_or(&0)));
        if problems.has_errors() { Err(problems) } else { Ok(()) }
    }
}

/// What training begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Start {
    /// The weights of a checkpoint.
    Checkpoint(PathBuf),
    /// Random weights for this `config.json`.
    Scratch(serde_json::Map<String, serde_json::Value>),
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// The highest learning rate.
    pub lr: f64,
    /// Of the first and of the second moment.
    pub betas: [f64; 2],
    /// Beside the root of the second moment.
    pub eps: f64,
    /// Share of a weight that is taken away in a step, times the learning rate.
    pub weight_decay: f64,
    /// Which tensors decay.
    pub decay: Decay,
    /// The largest norm of all gradients together; larger ones are scaled down.
    pub clip: Option<f64>,
}

/// Which tensors decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// All.
    All,
    /// Matrices; neither norms nor biases.
    Matrices,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            lr: 3e-3,
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: 0.01,
            decay: Decay::All,
            clip: Some(1.0),
        }
    }
}

/// The learning rate over time: up from 0, then level, then down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Steps on which it rises in proportion; a fiftieth of all if left out.
    pub warmup: Option<u64>,
    /// Steps at the end on which it falls; a fifth of all if left out, all after the warm-up for `cosine`.
    pub decay: Option<u64>,
    /// How it falls.
    pub shape: Shape,
    /// Where it ends, as a share of the highest.
    pub floor: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { warmup: None, decay: None, shape: Shape::Linear, floor: 0.0 }
    }
}

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Not at all.
    Constant,
    /// In a straight line.
    Linear,
    /// Along half a wave.
    Cosine,
}

/// Texts that are measured on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// A text for each language.
    pub texts: BTreeMap<String, PathBuf>,
    /// Steps between two measurements; the end is always measured.
    pub every: u64,
}

/// What is kept on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoints {
    /// Steps between two states that `--resume` can continue from.
    pub every: u64,
    /// Steps after which a model is kept for good, in `step-<N>/`.
    pub keep: Vec<u64>,
    /// Element type of the models. The state for resuming is float32 in any case.
    pub dtype: ElementType,
}

/// Element types that a model can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// bfloat16
    Bfloat16,
    /// IEEE half precision
    Float16,
    /// single precision
    Float32,
}

impl ElementType {
    /// As a checkpoint has it.
    pub fn dtype(self) -> DType {
        match self {
            Self::Bfloat16 => DType::BF16,
            Self::Float16 => DType::F16,
            Self::Float32 => DType::F32,
        }
    }

    /// As `config.json` has it.
    pub fn name(self) -> &'static str {
        self.dtype().torch_name()
    }
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { every: 500, keep: Vec::new(), dtype: ElementType::Bfloat16 }
    }
}

fn default_seed() -> u64 {
    1
}
