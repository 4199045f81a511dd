//! What is measured: a checkpoint, or what a recipe makes, merged in memory.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use serde_json::Value;

use super::Home;
use crate::checkpoint::{Checkpoint, Place, SafetensorsFile};
use crate::decoder::{Tensor, Tensors};
use crate::device::cpu::Cpu;
use crate::device::{Chunk, Finiteness, UNIT};
use crate::execute::{self, Observer, Options, Piece, Sealed, Sink};
use crate::plan::{Contents, Plan, PlanOptions, beside};
use crate::problem::{Error, ExecError, Problem, Problems};
use crate::recipe::Reading;
use crate::write::sha256_hex;

/// A model that was found: all that is known of it before a weight is read.
#[derive(Debug)]
pub struct ModelSource {
    /// As the user named it.
    pub name: String,
    /// `config.json`.
    pub config: Value,
    /// Its tokenizer.
    pub tokenizer: Home,
    /// What the user should know of the recipe.
    pub warnings: Problems,
    found: Found,
}

#[derive(Debug)]
enum Found {
    Stored(Arc<Checkpoint>),
    Planned(Box<Plan>),
}

impl ModelSource {
    /// Opens a checkpoint's headers; a name that ends in `.yaml` or `.yml` is a recipe, which is planned.
    ///
    /// # Errors
    /// What is wrong with checkpoint, recipe or its inputs; no `config.json`.
    pub fn open(name: &str, options: &PlanOptions) -> Result<Self, Error> {
        if is_recipe(name) {
            let plan = Plan::from_reading(Reading::from_file(Path::new(name))?, options)?;
            return Ok(Self::planned(name, plan)?);
        }
        Ok(Self::stored(name, Arc::new(Checkpoint::open(name)?))?)
    }

    /// A checkpoint that was opened.
    ///
    /// # Errors
    /// If it has no `config.json`.
    pub fn stored(name: &str, checkpoint: Arc<Checkpoint>) -> Result<Self, Problems> {
        let config = checkpoint.config().cloned();
        let tokenizer = Home::Folder(checkpoint.folder().path().to_owned());
        Self::new(name, config, tokenizer, Problems::new(), Found::Stored(checkpoint))
    }

    /// Files that have to be brought here before it can be measured.
    pub fn away(&self) -> Vec<Place> {
        let places: Vec<Place> = match &self.found {
            Found::Planned(plan) => return plan.away().into_iter().cloned().collect(),
            Found::Stored(checkpoint) => {
                let beside =
                    beside(&self.name, checkpoint.folder(), Some(&self.config), &mut Problems::new());
                checkpoint.files().iter().map(|file| file.place().clone()).chain(beside).collect()
            }
        };
        places.into_iter().filter(Place::is_away).collect()
    }

    /// Takes up the weight files that were away and have arrived.
    ///
    /// # Errors
    /// As [`Plan::attach`].
    pub fn attach(&self) -> Result<(), ExecError> {
        match &self.found {
            Found::Planned(plan) => plan.attach(),
            Found::Stored(checkpoint) => checkpoint.files().iter().try_for_each(SafetensorsFile::attach),
        }
    }

    /// What a plan will make.
    ///
    /// # Errors
    /// If it makes no `config.json`.
    pub fn planned(name: &str, plan: Plan) -> Result<Self, Problems> {
        let tokenizer = Self::tokenizer_of(name, &plan);
        let (config, warnings) = (plan.config.clone(), plan.warnings.clone());
        Self::new(name, config, tokenizer, warnings, Found::Planned(Box::new(plan)))
    }

    /// The tokenizer that a merge would write: a model's, or one that is made of several.
    pub fn tokenizer_of(name: &str, plan: &Plan) -> Home {
        let files = plan.companions.iter().filter(|c| c.name.starts_with("tokenizer"));
        let made = files.clone().any(|c| matches!(c.contents, Contents::Bytes(_)));
        let stored = files.clone().find_map(|c| match &c.contents {
            Contents::Of(place) if c.name == "tokenizer.json" => Some(place.folder.path().to_owned()),
            _ => None,
        });
        match stored.filter(|_| !made) {
            Some(folder) => Home::Folder(folder),
            None if !made => Home::Folder(plan.inputs[plan.donor].folder().path().to_owned()),
            None => {
                let read = files.filter_map(|c| Some((c.name.clone(), c.contents.read().ok()?.into_owned())));
                Home::Planned { name: name.into(), files: read.collect() }
            }
        }
    }

    fn new(
        name: &str,
        config: Option<Value>,
        tokenizer: Home,
        warnings: Problems,
        found: Found,
    ) -> Result<Self, Problems> {
        let Some(config) = config else {
            let what = "there is no config.json, so nothing says how the model computes";
            return Err(Problem::error(name, what).into());
        };
        Ok(Self { name: name.into(), config, tokenizer, warnings, found })
    }

    /// Its tensors; those of a plan have no bytes yet.
    pub fn tensors(&self) -> &dyn Tensors {
        match &self.found {
            Found::Stored(checkpoint) => checkpoint.as_ref(),
            Found::Planned(plan) => plan.as_ref(),
        }
    }

    /// Reads every weight once, or merges the plan in memory.
    ///
    /// # Errors
    /// NaN or infinity in a weight; what the machine does to a merge.
    pub fn load(self, threads: usize, observer: &dyn Observer) -> Result<Model, Error> {
        let weights = match self.found {
            Found::Stored(checkpoint) => Weights::Stored(checkpoint),
            Found::Planned(plan) => Weights::Merged(Merged::run(&plan, threads, observer)?),
        };
        let Self { name, config, tokenizer, .. } = self;
        let mut model = Model { name, config, tokenizer, digest: String::new(), weights };
        model.digest = digest(model.tensors(), &model.name)?;
        model.check_intact()?;
        Ok(model)
    }
}

/// Names, types and shapes of the output.
impl Tensors for Plan {
    fn names(&self) -> Vec<&str> {
        self.jobs.iter().map(|j| j.name.as_str()).collect()
    }

    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let at = self.jobs.binary_search_by(|j| j.name.as_str().cmp(name)).ok()?;
        let job = &self.jobs[at];
        Some(Tensor { dtype: job.dtype, shape: &job.shape, bytes: &[] })
    }
}

/// A model whose weights were read: all of them are numbers.
#[derive(Debug)]
pub struct Model {
    /// As the user named it.
    pub name: String,
    /// `config.json`.
    pub config: Value,
    /// Its tokenizer.
    pub tokenizer: Home,
    /// SHA-256 over names, types, shapes and bytes of all tensors: the same for a recipe and for the
    /// checkpoint that it would write.
    pub digest: String,
    weights: Weights,
}

#[derive(Debug)]
enum Weights {
    Stored(Arc<Checkpoint>),
    Merged(Merged),
}

impl Model {
    /// Its weights.
    pub fn tensors(&self) -> &dyn Tensors {
        match &self.weights {
            Weights::Stored(checkpoint) => checkpoint.as_ref(),
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
        let options = Options { threads, cancel: &AtomicBool::new(false) };
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
