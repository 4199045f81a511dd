//! What a merge will do, decided before the first weight is read.
//!
//! [`Plan::build`] turns a recipe and opened inputs into jobs, one for each output tensor, with every
//! name looked up, every shape compared, every parameter resolved and every byte of the output placed.
//! What can fail by the user's fault fails here, all of it at once.

mod assign;
mod away;
mod beside;
mod build;
mod builder;
mod companions;
mod config;
mod depth;
mod digest;
mod input;
mod job;
mod kinds;
mod layers;
mod layout;
mod left_out;
mod library;
mod lookup;
mod names;
mod params;
mod print;
mod segment;
mod stages;
mod tensors;
mod vocabulary;
mod weights;

pub use away::ToFetch;
pub use companions::{Companion, Contents, beside};
pub(crate) use digest::hex;
pub use input::{Adapted, BesideFile, Change, Dropped, Holds, Input, Leaf, Order, Origin, Stage};
pub use job::{Beside, Job, Source, Work};
pub use layout::{Layout, Place, Shard};
pub use library::{Library, Repositories};
pub use lookup::{Lookup, Provenance, SetBy};
pub use weights::CoefficientFile;

use crate::checkpoint::{DType, SafetensorsFile};
use crate::method::Method;
use crate::problem::Problems;
use crate::recipe::{NonFinite, Reading, Recipe};
use crate::vocabulary::Summary;

/// Choices that are not in the recipe.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Seed of all random draws.
    pub seed: u64,
    /// Element type of the output, over the recipe's own.
    pub dtype: Option<DType>,
    /// Largest shard in bytes; a larger tensor gets a shard of its own.
    pub shard_size: u64,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { seed: 0, dtype: None, shard_size: 5_000_000_000 }
    }
}

/// A tensor of an input that no output tensor is made from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// The model as the recipe names it.
    pub model: String,
    /// The tensor.
    pub tensor: String,
    /// Why.
    pub why: String,
}

/// A merge, fully resolved. Only [`Plan::build`] makes one, and it does not change afterwards.
#[derive(Debug)]
pub struct Plan {
    /// The method.
    pub method: &'static Method,
    /// Every model that is read, in the order of the recipe; then what is read beside them.
    pub inputs: Vec<Input>,
    /// Position in `inputs` of the base, if the recipe names one.
    pub base: Option<usize>,
    /// Position in `inputs` of the model that config and tokenizer are taken from.
    pub donor: usize,
    /// One for each output tensor, sorted by name.
    pub jobs: Vec<Job>,
    /// Where each job's bytes go.
    pub layout: Layout,
    /// Input tensors that are not used.
    pub left_out: Vec<LeftOut>,
    /// Files that weights come from.
    pub coefficient_files: Vec<CoefficientFile>,
    /// `config.json` of the output, if the donor has one.
    pub config: Option<serde_json::Value>,
    /// Files that are carried over from the donor: tokenizer, generation config, code named by `auto_map`.
    pub companions: Vec<Companion>,
    /// The output's vocabulary, where it is not simply that of every input.
    pub vocabulary: Option<Summary>,
    /// Files of the tokenizer that do not fit the output's vocabulary.
    pub unfit: Vec<String>,
    /// What the user should know.
    pub warnings: Problems,
    /// What to do about NaN and infinity.
    pub non_finite: NonFinite,
    /// Seed of all random draws.
    pub seed: u64,
    /// What the recipe calls the merged model.
    pub name: Option<String>,
    /// The recipe's file name and text.
    pub recipe: (String, String),
    /// SHA-256 of everything but the weights that decides the output, in hex.
    pub digest: String,
    /// SHA-256 of the inputs' times of change, in hex.
    pub stamp: String,
}

impl Plan {
    /// From a recipe as it was read: [`Plan::build`] if it is one, a plan over [stages](Stage) if it has several
    /// documents, else with its names checked too.
    ///
    /// # Errors
    /// All problems, of the recipe's words and of what they name.
    pub fn from_reading(reading: Reading, options: &PlanOptions) -> Result<Self, Problems> {
        Self::from_reading_with(reading, options, &mut Library::new())
    }

    /// As [`Plan::from_reading`], with checkpoints that may be open already.
    ///
    /// # Errors
    /// As [`Plan::from_reading`].
    pub fn from_reading_with(
        mut reading: Reading,
        options: &PlanOptions,
        library: &mut Library,
    ) -> Result<Self, Problems> {
        let mut problems = reading.problems.clone();
        match reading.book.take() {
            Some(book) => stages::build(book, problems, options, library),
            None => {
                build::check_names(&reading, library, &mut problems);
                Err(problems)
            }
        }
    }

    /// Opens the inputs that a recipe names and resolves everything.
    ///
    /// # Errors
    /// Every problem of the recipe and of its inputs that can be found without reading weights.
    pub fn build(recipe: &Recipe, options: &PlanOptions) -> Result<Self, Problems> {
        Self::build_from(recipe, options, &mut Library::new())
    }

    /// As [`Plan::build`], with checkpoints that may be open already.
    ///
    /// # Errors
    /// As [`Plan::build`].
    pub fn build_from(
        recipe: &Recipe,
        options: &PlanOptions,
        library: &mut Library,
    ) -> Result<Self, Problems> {
        build::build(recipe, options, library)
    }

    /// The models that are read, in the order of the recipe.
    pub fn models(&self) -> impl Iterator<Item = &Input> {
        self.inputs.iter().filter(|input| input.is_model())
    }

    /// The stages that it is made from, each behind those that it is made from itself.
    pub fn stages(&self) -> Vec<&Stage> {
        let mut found = Vec::new();
        self.add_stages(&mut found);
        found
    }

    fn add_stages<'a>(&'a self, found: &mut Vec<&'a Stage>) {
        for stage in self.inputs.iter().filter_map(Input::stage) {
            if found.iter().all(|s| s.name != stage.name) {
                stage.plan.add_stages(found);
                found.push(stage);
            }
        }
    }

    /// Every weight file that is read, those of stages too.
    pub fn files(&self) -> impl Iterator<Item = &SafetensorsFile> {
        let plans = self.stages().into_iter().map(|stage| &stage.plan).chain([self]);
        plans.flat_map(|plan| &plan.inputs).flat_map(Input::files)
    }

    /// Bytes of all output tensors.
    pub fn output_bytes(&self) -> u64 {
        self.jobs.iter().map(Job::bytes).sum()
    }

    /// Parameters of the merged model.
    pub fn parameters(&self) -> u64 {
        self.jobs.iter().map(|j| j.elements() as u64).sum()
    }
}
