//! Which differences from the English model are added up, and the recipes that say so.

use serde::Serialize;

use super::rows::sum;
use crate::languages::bench::Bench;
use crate::languages::words::Words;

/// Of the differences that are trimmed first.
const DENSITY: f64 = 0.5;

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Differences {
    /// Each difference.
    Whole,
    /// The same of models whose heads are tensors of their own.
    Untied,
    /// The larger elements of each.
    Trimmed,
    /// Those of [`Differences::Untied`] twice, with coefficients of their own each time: two outer products of rows and columns
    /// are a matrix of coefficients of rank two.
    Twice,
}

/// What recipes call a language's difference that is made by a stage.
const STAGES: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

impl Differences {
    /// A recipe that adds them up with these weights: those of the experts' own differences, in order.
    pub(super) fn recipe(self, bench: &Bench<'_>, weight: &dyn Fn(usize) -> String) -> String {
        let of = |method, i: usize| Words::new(method, bench.experts.get(i).cloned());
        let words = match self {
            Self::Whole => sum(bench),
            Self::Untied => sum(bench).untied(),
            Self::Trimmed => {
                let trimmed = |i| {
                    let words = of("ties", i).on_base(&bench.base).with("weight", 1);
                    words.with("density", DENSITY).with("normalize", false)
                };
                let words = Words::new("task_arithmetic", []).on_base(&bench.base).with("normalize", false);
                (0..bench.experts.len()).fold(words, |words, i| words.and(STAGES[i], &trimmed(i)))
            }
            Self::Twice => {
                let again = |i| of("linear", i).untied().with("weight", 1);
                (0..bench.experts.len()).fold(sum(bench).untied(), |words, i| words.and(STAGES[i], &again(i)))
            }
        };
        words.each("weight", weight).text()
    }

    /// What the coefficients of each of them are called.
    pub(super) fn entries(self, bench: &Bench<'_>) -> Vec<String> {
        let folders = bench.experts.iter().map(|expert| {
            expert.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        });
        let stages = STAGES.iter().take(bench.experts.len()).map(|name| (*name).to_owned());
        match self {
            Self::Whole | Self::Untied => folders.collect(),
            Self::Trimmed => stages.collect(),
            Self::Twice => folders.chain(stages).collect(),
        }
    }
}
