//! What is measured: a checkpoint, or what a recipe makes, merged in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::decoder::{Tensor, Tensors};
use crate::device::cpu::Cpu;
use crate::device::{Chunk, Finiteness, UNIT};
use crate::execute::{self, Observer, Options, Piece, Sealed, Sink};
use crate::plan::{Plan, PlanOptions};
use crate::problem::{Error, ExecError, Problem, Problems};
use crate::recipe::Reading;
use crate::write::sha256_hex;

/// A model in reach: its weights, configuration, and where its tokenizer is.
#[derive(Debug)]
pub struct Model {
    /// As the user named it.
    pub name: String,
    /// `config.json`.
    pub config: Value,
    /// The folder with its tokenizer.
    pub tokenizer: PathBuf,
    /// SHA-256 over names, types, shapes and bytes of all tensors: the same for a recipe and for the
    /// checkpoint that it would write.
    pub digest: String,
    /// What the user should know of the recipe.
    pub warnings: Problems,
    weights: Weights,
}

#[derive(Debug)]
enum Weights {
    Stored(Checkpoint),
    Merged(Merged),
}

impl Model {
    /// Opens a checkpoint; a name that ends in `.yaml` or `.yml` is a recipe, and is merged in memory.
    ///
    /// # Errors
    /// What is wrong with checkpoint, recipe or its inputs; NaN or infinity in a weight; no `config.json`.
    pub fn open(
        name: &str,
        options: &PlanOptions,
        threads: usize,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        if is_recipe(name) {
            let plan = Plan::from_reading(Reading::from_file(Path::new(name))?, options)?;
            Self::merged(name, plan, threads, observer)
        } else {
            Self::stored(name)
        }
    }

    fn stored(name: &str) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(name)?;
        let config = checkpoint.config().cloned();
        let tokenizer = checkpoint.folder().to_owned();
        Self::new(name, config, tokenizer, Weights::Stored(checkpoint), Problems::new())
    }

    /// Merges a plan in memory.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn merged(name: &str, plan: Plan, threads: usize, observer: &dyn Observer) -> Result<Self, Error> {
        let merged = Merged::run(&plan, threads, observer)?;
        let tokenizer = plan.inputs[plan.donor].folder().to_owned();
        Self::new(name, plan.config, tokenizer, Weights::Merged(merged), plan.warnings)
    }

    fn new(
        name: &str,
        config: Option<Value>,
        tokenizer: PathBuf,
        weights: Weights,
        warnings: Problems,
    ) -> Result<Self, Error> {
        let Some(config) = config else {
            let problem =
                Problem::error(name, "there is no config.json, so nothing says how the model computes");
            return Err(problem.into());
        };
        let mut model =
            Self { name: name.into(), config, tokenizer, digest: String::new(), warnings, weights };
        model.digest = digest(model.tensors(), name)?;
        model.check_intact()?;
        Ok(model)
    }

    /// Its weights.
    pub fn tensors(&self) -> &dyn Tensors {
        match &self.weights {
            Weights::Stored(checkpoint) => checkpoint,
            Weights::Merged(merged) => merged,
        }
    }

    /// Whether the files still are what they were when they were opened.
    ///
    /// # Errors
    /// [`ExecError::InputShrank`].
    pub fn check_intact(&self) -> Result<(), ExecError> {
        match &self.weights {
            Weights::Stored(checkpoint) => checkpoint.files().iter().try_for_each(|f| f.check_intact()),
            Weights::Merged(_) => Ok(()),
        }
    }
}

/// Whether a name is that of a recipe.
pub fn is_recipe(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    matches!(extension, Some("yaml" | "yml"))
}

/// The digest of all weights; reads each of them once, and refuses what is no number.
fn digest(tensors: &dyn Tensors, model: &str) -> Result<String, Problems> {
    let mut names = tensors.names();
    names.sort_unstable();
    let cpu = Cpu::new();
    let line = |name: &&str| {
        let Some(Tensor { dtype, shape, bytes }) = tensors.tensor(name) else { return Ok(String::new()) };
        if cpu.finite(Chunk { dtype, bytes }) == Finiteness::NonFinite {
            return Err(non_finite(&cpu, model, name, Tensor { dtype, shape, bytes }).into());
        }
        Ok(format!("{name}\0{}\0{shape:?}\0{}\n", dtype.name(), sha256_hex(bytes)))
    };
    let lines: Vec<Result<String, Problems>> = names.par_iter().map(line).collect();
    let mut problems = Problems::new();
    let mut all = String::new();
    for line in lines {
        match line {
            Ok(line) => all += &line,
            Err(found) => problems.extend(found),
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(sha256_hex(all.as_bytes())) }
}

fn non_finite(cpu: &Cpu, model: &str, name: &str, tensor: Tensor<'_>) -> Problem {
    let bytes = tensor.bytes.chunks(UNIT * tensor.dtype.size()).enumerate();
    let bad = |bytes: &[u8]| cpu.finite(Chunk { dtype: tensor.dtype, bytes }) == Finiteness::NonFinite;
    let size = tensor.dtype.size();
    let element = bytes.filter(|(_, unit)| bad(unit)).find_map(|(i, unit)| {
        let within = unit.chunks(size).position(bad)?;
        Some(i * UNIT + within)
    });
    let row = tensor.shape.iter().skip(1).product::<usize>().max(1);
    let at = element.map_or(String::new(), |e| format!(" in row {}", e / row));
    Problem::error(model, format!("tensor {name} has NaN or infinity{at}"))
        .hint("a model with such weights predicts nothing")
}

/// A merged model in memory, in the type that it would be stored in.
#[derive(Debug)]
struct Merged(Vec<MergedTensor>);

#[derive(Debug)]
struct MergedTensor {
    name: String,
    dtype: crate::checkpoint::DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Merged {
    fn run(plan: &Plan, threads: usize, observer: &dyn Observer) -> Result<Self, Error> {
        let sink =
            MemorySink(plan.jobs.iter().map(|job| Mutex::new(vec![0; job.bytes() as usize])).collect());
        let jobs: Vec<usize> = (0..plan.jobs.len()).collect();
        let options = Options { threads, non_finite: plan.non_finite, cancel: &AtomicBool::new(false) };
        execute::run(&Cpu::new(), plan, &jobs, &options, &sink, observer)?;
        let bytes = sink.0.into_iter().map(|m| m.into_inner().unwrap_or_else(PoisonError::into_inner));
        let tensor = |(job, bytes): (&crate::plan::Job, Vec<u8>)| MergedTensor {
            name: job.name.clone(),
            dtype: job.dtype,
            shape: job.shape.clone(),
            bytes,
        };
        Ok(Self(plan.jobs.iter().zip(bytes).map(tensor).collect()))
    }
}

impl Tensors for Merged {
    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|t| t.name.as_str()).collect()
    }

    /// Plans list tensors by name in ascending order.
    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let at = self.0.binary_search_by(|t| t.name.as_str().cmp(name)).ok()?;
        let MergedTensor { dtype, shape, bytes, .. } = &self.0[at];
        Some(Tensor { dtype: *dtype, shape, bytes })
    }
}

/// One buffer for each job.
struct MemorySink(Vec<Mutex<Vec<u8>>>);

impl Sink for MemorySink {
    fn write(&self, job: usize, at: u64, piece: Piece) -> Result<(), ExecError> {
        let mut bytes = self.0[job].lock().unwrap_or_else(PoisonError::into_inner);
        bytes[at as usize..at as usize + piece.bytes().len()].copy_from_slice(piece.bytes());
        Ok(())
    }

    fn seal(&self, _job: usize, _sealed: Sealed) -> Result<(), ExecError> {
        Ok(())
    }
}
