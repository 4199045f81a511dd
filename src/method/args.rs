//! Resolved parameters of one tensor, as a method's `prepare` gets them.

use std::collections::BTreeMap;

use super::{Factors, Fallback, NormShare, Param, Vectors};
use crate::device::philox;

/// A resolved value.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Arg {
    /// A number, or a switch as 1 or 0.
    Number(f64),
    /// A word of the parameter's list.
    Word(&'static str),
    /// Of a weight: one for each row or column.
    Factors(Factors),
    /// Of a weight: for each row its share of the models' differences.
    Norms {
        /// Which share.
        norms: NormShare,
    },
}

impl Arg {
    /// In a few words, numbers as `number` writes them.
    pub fn describe(&self, number: impl Fn(f64) -> String) -> String {
        match self {
            Self::Number(x) => number(*x),
            Self::Word(word) => (*word).to_owned(),
            Self::Factors(factors) => factors.describe(),
            Self::Norms { norms } => norms.describe(),
        }
    }
}

/// Values by parameter name; the plan has filled in defaults and checked ranges.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct Args(BTreeMap<&'static str, Arg>);

impl Args {
    /// Sets a value.
    pub fn set(&mut self, param: &'static Param, value: Arg) {
        self.0.insert(param.name, value);
    }

    /// Every value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Arg)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// Those that are factors of rows and columns, by name.
    pub fn factors(&self) -> impl Iterator<Item = (&'static str, &Factors)> {
        self.iter().filter_map(|(name, value)| match value {
            Arg::Factors(factors) => Some((name, factors)),
            _ => None,
        })
    }

    /// The others: what a few words say in full.
    pub fn without_factors(&self) -> Self {
        let others = self.0.iter().filter(|(_, value)| !matches!(value, Arg::Factors(_)));
        Self(others.map(|(name, value)| (*name, value.clone())).collect())
    }

    /// The value, if there is one.
    pub fn get(&self, param: &Param) -> Option<&Arg> {
        self.0.get(param.name)
    }

    /// A number; its default where nothing was set.
    ///
    /// # Errors
    /// If there is neither, which the plan reports as a missing parameter.
    pub fn number(&self, param: &Param) -> Result<f64, Invalid> {
        match (self.get(param), param.fallback) {
            (Some(Arg::Number(value)), _) => Ok(*value),
            (None, Fallback::Value(value)) => Ok(value),
            (Some(_), _) => Err(Invalid::new(format!("`{}` must be a number here", param.name))),
            _ => Err(Invalid::new(format!("`{}` is missing", param.name))),
        }
    }

    /// Whether a switch is on.
    ///
    /// # Errors
    /// As [`Args::number`].
    pub fn is_on(&self, param: &Param) -> Result<bool, Invalid> {
        Ok(self.number(param)? != 0.0)
    }

    /// A word; the one at the default's position in `words` where nothing was set.
    pub fn word(&self, param: &Param, words: &'static [&'static str]) -> &'static str {
        let fallback = match param.fallback {
            Fallback::Value(position) => words.get(position as usize),
            _ => None,
        };
        match self.get(param) {
            Some(Arg::Word(word)) => word,
            _ => fallback.copied().unwrap_or_default(),
        }
    }
}

/// Parameters that are fine one by one but not together, or not for this tensor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Invalid {
    /// What is wrong; the plan adds the tensor.
    pub what: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Invalid {
    /// Without a hint.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What is known of what stands beside the models of a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Beside {
    /// There is nothing.
    #[default]
    Nothing,
    /// Importance of each element, and for each model the mean over all of its weights.
    Importance(Vec<f64>),
    /// Gram matrices of the tensor's columns.
    Grams,
}

/// What a method knows of a tensor before it sees any weight.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Name of the output tensor.
    pub tensor: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    /// What is merged: the models, or where there is a base beside them, their differences from it.
    pub of: Vectors,
    /// Seed of the merge.
    pub seed: u64,
    /// Global parameters.
    pub global: &'a Args,
    /// Parameters of each input, in the order in which blocks present them.
    pub models: &'a [Args],
    /// What stands beside the models.
    pub beside: &'a Beside,
    /// Position of each input in the recipe, which decides its random numbers.
    pub positions: &'a [usize],
}

impl Setup<'_> {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64
    }

    /// Elements in a row: the last dimension. A vector is one row.
    pub fn row(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    /// Number of columns, for methods that go along the first dimension. A vector is one column.
    pub fn columns(&self) -> usize {
        self.shape.iter().skip(1).product::<usize>().max(1)
    }

    /// The key of a model's random draws in this tensor.
    pub fn draw_key(&self, model: usize) -> u64 {
        philox::key(self.seed, self.tensor, self.positions.get(model).copied().unwrap_or(model))
    }
}
