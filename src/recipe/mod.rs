//! The words of a recipe: mergekit's YAML, read strictly and with every place remembered.
//!
//! [`Recipe::parse`] knows nothing of methods or checkpoints; it makes sure that every value is of the
//! right kind and that nothing is ignored in silence. What the words mean is decided by the plan.

mod grow;
mod keys;
mod model;
mod node;
mod parameters;
mod read;
mod reader;
mod setting;

use std::fmt;
use std::ops::Range;
use std::path::Path;

pub use grow::{Amount, Grow, HeadForm, NoiseWords};
pub use keys::{KEYS, Key, Level, PARAMETERS, Status};
pub use setting::{Profile, Rule, Setting, Settings, Value};

use crate::problem::{Error, ExecError, Problem, Problems, Spot};

/// Recipes are small; a larger file is something else.
const MAX_BYTES: u64 = 1 << 20;

/// A recipe as written.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The file as the user named it.
    pub file: String,
    /// Its text.
    pub text: String,
    /// `merge_method`.
    pub method: Located<String>,
    /// `base_model`.
    pub base_model: Option<Located<ModelRef>>,
    /// `models` or `slices`.
    pub assembly: Assembly,
    /// Parameters for all models and layers.
    pub parameters: Settings,
    /// `dtype`.
    pub dtype: Option<Located<DTypeName>>,
    /// `out_dtype`.
    pub out_dtype: Option<Located<DTypeName>>,
    /// `non_finite`, a key of our own.
    pub non_finite: NonFinite,
    /// `name`.
    pub name: Option<String>,
    /// What mergekit would ignore in silence.
    pub warnings: Problems,
}

/// Whole models over each other, or layers put together.
#[derive(Clone, Debug)]
pub enum Assembly {
    /// `models:`.
    Models(Vec<ModelEntry>),
    /// `slices:`.
    Slices(Vec<OutputSlice>),
}

/// One of `models:`.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// The model.
    pub model: Located<ModelRef>,
    /// Its parameters.
    pub parameters: Settings,
}

/// One of `slices:`: a run of output layers.
#[derive(Clone, Debug)]
pub struct OutputSlice {
    /// What is merged into these layers; all span the same number of layers.
    pub sources: Vec<InputSlice>,
    /// A base for this slice only.
    pub base_model: Option<Located<ModelRef>>,
    /// Parameters for this slice.
    pub parameters: Settings,
    /// Where it stands.
    pub place: Place,
}

/// One source of a slice.
#[derive(Clone, Debug)]
pub struct InputSlice {
    /// The model.
    pub model: Located<ModelRef>,
    /// Its layers, the end not included.
    pub layers: Range<usize>,
    /// Its parameters.
    pub parameters: Settings,
    /// Where it stands.
    pub place: Place,
}

/// A model as a recipe names it: a local path, and what is done to the model while it is read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelRef {
    /// As written.
    pub path: String,
    /// How it is widened, if it is.
    pub grow: Option<Grow>,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// mergekit's names of element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DTypeName {
    /// bfloat16
    Bfloat16,
    /// float16
    Float16,
    /// float32
    Float32,
    /// int64
    Int64,
}

/// What to do about NaN and infinity in inputs or the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFinite {
    /// Stop and name the tensor and row.
    Refuse,
    /// Carry on.
    Allow,
}

/// Where something stands in a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As in `models[1].parameters.density`.
    pub path: String,
    /// The line.
    pub spot: Option<Spot>,
}

impl Place {
    /// An error here.
    pub fn problem(&self, what: impl Into<String>) -> Problem {
        Problem::error(&self.path, what).spot(self.spot.clone())
    }

    /// A warning here.
    pub fn warning(&self, what: impl Into<String>) -> Problem {
        Problem::warning(&self.path, what).spot(self.spot.clone())
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Place,
}

/// What could be read of a recipe, be it right or wrong: names can be checked even where the rest of the
/// recipe makes no sense, so that one run lists all problems.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The recipe, if nothing is wrong with its words.
    pub recipe: Option<Recipe>,
    /// `merge_method`, if it is text.
    pub method: Option<Located<String>>,
    /// Every model that is named anywhere.
    pub models: Vec<Located<ModelRef>>,
    /// Errors and warnings.
    pub problems: Problems,
}

impl Reading {
    /// Reads a recipe file; what is wrong with its contents is in the result.
    ///
    /// # Errors
    /// [`Error::Input`] if it is no text file, [`Error::Exec`] if it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let refuse = |what: &str| Err(Error::from(Problem::error(&name, what)));
        let about = match std::fs::metadata(path) {
            Ok(about) => about,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return refuse("no such recipe file"),
            Err(e) => return Err(ExecError::io("read", path)(e).into()),
        };
        if about.is_dir() {
            return Err(Problem::error(&name, "is a folder, not a recipe").hint("give the YAML file").into());
        }
        if about.len() > MAX_BYTES {
            return refuse("is larger than 1 MiB, too large for a recipe");
        }
        let bytes = std::fs::read(path).map_err(ExecError::io("read", path))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(read::recipe(&name, &text)),
            Err(_) => refuse("is not UTF-8 text"),
        }
    }
}

impl Recipe {
    /// Reads a recipe's text; `file` is used in messages only.
    ///
    /// # Errors
    /// Every problem of the text, with warnings among them.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let Reading { recipe, problems, .. } = read::recipe(file, text);
        let Some(mut recipe) = recipe else { return Err(problems) };
        recipe.warnings = problems;
        Ok(recipe)
    }

    /// Every distinct model in order of first appearance: entries or sources, then bases.
    pub fn models(&self) -> Vec<&Located<ModelRef>> {
        let mut found: Vec<&Located<ModelRef>> = Vec::new();
        let mut add = |model| {
            let model: &Located<ModelRef> = model;
            if found.iter().all(|m| m.value != model.value) {
                found.push(model);
            }
        };
        match &self.assembly {
            Assembly::Models(entries) => entries.iter().for_each(|e| add(&e.model)),
            Assembly::Slices(slices) => {
                slices.iter().flat_map(|s| &s.sources).for_each(|s| add(&s.model));
                slices.iter().filter_map(|s| s.base_model.as_ref()).for_each(&mut add);
            }
        }
        self.base_model.iter().for_each(add);
        found
    }
}
