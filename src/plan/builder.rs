//! The state of a plan being built: jobs so far, and the problems that are reported together.

use std::collections::{BTreeMap, BTreeSet};

use super::layers::Anatomy;
use super::params::Missing;
use super::weights::{Weighed, Weigher};
use super::{Input, Job, Library, Source};
use crate::checkpoint::DType;
use crate::method::{Invalid, Method};
use crate::problem::{Problem, Problems};
use crate::recipe::Recipe;

/// Problems of one kind that are listed one by one; what is beyond is counted.
const LISTED: usize = 20;

/// Turns tensors into jobs: `tensors.rs` decides which there are, `assign.rs` what is done with one.
pub(super) struct Builder<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) method: &'static Method,
    /// Models, then what stands beside them.
    pub(super) inputs: &'a [Input],
    /// Positions in `inputs` of what stands beside the models, by the recipe's words.
    pub(super) files: BTreeMap<String, usize>,
    /// For files that weights come from.
    pub(super) library: &'a mut Library,
    /// Position in `inputs` of the model after which tensors are named.
    pub(super) donor: usize,
    pub(super) anatomy: &'a Anatomy,
    pub(super) dtype: Option<DType>,
    pub(super) seed: u64,
    pub(super) jobs: Vec<Job>,
    pub(super) used: BTreeSet<Source>,
    pub(super) missing: Missing,
    /// By message: the first tensor, and how many.
    pub(super) invalid: BTreeMap<Invalid, (String, usize)>,
    pub(super) listed: Listed,
    pub(super) weigher: Weigher,
}

impl Builder<'_> {
    /// Reports what was found; the jobs, sorted by name, and what their weights come from.
    pub(super) fn finish(self, problems: &mut Problems) -> (Vec<Job>, Weighed) {
        self.listed.report(problems);
        self.missing.report(self.recipe, problems);
        for (Invalid { what, hint }, (tensor, count)) in self.invalid {
            let more = match count {
                1 => String::new(),
                2 => " (and 1 more tensor)".to_owned(),
                n => format!(" (and {} more tensors)", n - 1),
            };
            let mut problem = self.recipe.method.place.problem(format!("{what}: {tensor}{more}"));
            problem.hint = hint;
            problems.push(problem);
        }
        let names: Vec<&str> = self.jobs.iter().map(|job| job.name.as_str()).collect();
        let weighed = self.weigher.finish(&names, problems);
        if self.jobs.is_empty() && !problems.has_errors() {
            problems.push(Problem::error("models", "the inputs hold no tensors"));
        }
        let mut jobs = self.jobs;
        jobs.sort_by(|a, b| a.name.cmp(&b.name));
        (jobs, weighed)
    }
}

/// Problems that may be many.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) shapes: Vec<Problem>,
    pub(super) absent: Vec<Problem>,
    pub(super) types: Vec<Problem>,
}

impl Listed {
    fn report(self, problems: &mut Problems) {
        for (kind, list) in [
            ("shapes differ", self.shapes),
            ("tensors are missing", self.absent),
            ("types do not fit", self.types),
        ] {
            let beyond = list.len().saturating_sub(LISTED);
            list.into_iter().take(LISTED).for_each(|p| problems.push(p));
            if beyond > 0 {
                problems.push(Problem::error("models", format!("… and {beyond} more tensors whose {kind}")));
            }
        }
    }
}
