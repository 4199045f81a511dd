//! The words of a recipe: mergekit's YAML, read strictly and with every place remembered.
//!
//! [`Recipe::parse`] knows nothing of methods or checkpoints; it makes sure that every value is of the
//! right kind and that nothing is ignored in silence. What the words mean is decided by the plan.

mod book;
mod emit;
mod file;
mod grid;
mod grow;
mod keys;
mod model;
mod module;
mod node;
mod parameters;
mod read;
mod reader;
mod reference;
mod retune;
mod setting;
mod vocabulary;
mod weighting;

use std::ops::Range;

pub use book::{Book, Reading};
pub use file::Contents;
pub use grid::{Grid, MAX_MEMBERS, Member};
pub use grow::{Amount, Grow, HeadForm, NoiseWords};
pub use keys::{KEYS, Key, Level, PARAMETERS, Status};
pub use reference::{AdapterRef, ModelRef, Named};
pub use retune::with_coefficients;
pub use setting::{Profile, Rule, Setting, Settings, Value};
pub use vocabulary::{Reach, RowSource, TokenRule, VocabularySource, VocabularyWords};
pub use weighting::{By, Weighting};

use crate::problem::{Problem, Problems, Spot};

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
    /// `models`, `slices` or `modules`.
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
    pub name: Option<Located<String>>,
    /// `tokenizer` or `tokenizer_source`.
    pub vocabulary: Option<VocabularyWords>,
    /// `chat_template`.
    pub chat_template: Option<Located<String>>,
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
    /// `modules:`; none of them has modules of its own.
    Modules(Vec<ModuleEntry>),
}

impl Assembly {
    /// Whether every module has a part of this model; without modules every model has one.
    pub(crate) fn every_part_has(&self, model: &ModelRef) -> bool {
        let has = |module: &ModuleEntry| {
            let mut found = false;
            module.assembly.visit(&mut |m| found |= m.value == *model);
            found
        };
        match self {
            Self::Models(_) | Self::Slices(_) => true,
            Self::Modules(modules) => modules.iter().all(has),
        }
    }

    /// Calls `visit` with every model, entries and sources before the bases of slices.
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Located<ModelRef>)) {
        match self {
            Self::Models(entries) => entries.iter().for_each(|e| visit(&e.model)),
            Self::Slices(slices) => {
                slices.iter().flat_map(|s| &s.sources).for_each(|s| visit(&s.model));
                slices.iter().filter_map(|s| s.base_model.as_ref()).for_each(visit);
            }
            Self::Modules(modules) => modules.iter().for_each(|m| m.assembly.visit(visit)),
        }
    }
}

/// One of `modules:`.
#[derive(Clone, Debug)]
pub struct ModuleEntry {
    /// Its name, which must be one that the architecture has.
    pub name: Located<String>,
    /// `models` or `slices`.
    pub assembly: Assembly,
    /// Parameters for this module.
    pub parameters: Settings,
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

impl Recipe {
    /// Reads a recipe's text; `file` is used in messages only.
    ///
    /// # Errors
    /// Every problem of the text, with warnings among them; several documents, which [`Reading::parse`] takes.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let Reading { book, problems, .. } = Reading::parse(file, text);
        let Some(Book { stages }) = book else { return Err(problems) };
        match <[Self; 1]>::try_from(stages) {
            Ok([mut recipe]) => {
                recipe.warnings = problems;
                Ok(recipe)
            }
            Err(_) => Err(Problem::error(file, "must be a single document").into()),
        }
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
        self.assembly.visit(&mut add);
        self.base_model.iter().for_each(add);
        found
    }
}
