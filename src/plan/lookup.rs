//! How a job came by its parameters: for people who ask, not for the arithmetic.

use std::collections::BTreeMap;

/// Who set a value. Lines are those of the recipe, counted from 1; 0 if the line is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SetBy {
    /// The model's own entry, in `models` or in a slice's `sources`.
    Model {
        /// Its line.
        line: usize,
    },
    /// The slice.
    Slice {
        /// Its line.
        line: usize,
    },
    /// The module.
    Module {
        /// Its line.
        line: usize,
    },
    /// The top of the recipe.
    Recipe {
        /// Its line.
        line: usize,
    },
    /// Nobody: the method's own default.
    Default,
}

/// For each parameter that has a value, who set it.
pub type Provenance = BTreeMap<&'static str, SetBy>;

/// Where in its slice a job stands, and who set its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lookup {
    /// Depth in the slice, from 0 to 1.
    pub t: f64,
    /// Position among `slices`, if the recipe has them.
    pub slice: Option<usize>,
    /// Of the global parameters.
    pub global: Provenance,
    /// Of each model's, in the order of [`super::Job::models`].
    pub models: Vec<Provenance>,
}
