//! What another plan makes, as an input.

use super::Leaf;
use crate::checkpoint::TensorInfo;
use crate::plan::{Job, Plan};

/// The result of a plan that is never written as a whole: its tensors are made block by block when they are read.
#[derive(Debug)]
pub struct Stage {
    /// As recipes name it.
    pub name: String,
    /// How it is made.
    pub plan: Plan,
    /// How many stored tensors one of its tensors is made of at most, each counted as often as it is read.
    pub(super) breadth: u64,
    /// One for each job; file and range are without meaning.
    pub(super) tensors: Vec<TensorInfo>,
}

impl Stage {
    /// What `plan` makes, under a name.
    pub fn new(name: &str, plan: Plan) -> Self {
        let info = |job: &Job| TensorInfo {
            name: job.name.clone(),
            dtype: job.dtype,
            shape: job.shape.clone(),
            file: 0,
            range: 0..0,
        };
        let breadth =
            |job: &Job| job.sources().fold(0u64, |sum, s| sum.saturating_add(plan.inputs[s.input].breadth()));
        let breadth = plan.jobs.iter().map(breadth).max().unwrap_or(0);
        Self { name: name.into(), breadth, tensors: plan.jobs.iter().map(info).collect(), plan }
    }

    /// Stored tensors that one of its tensors is made of, at most, each counted as often as it is read: stages that
    /// name an earlier one twice double it each time.
    pub fn breadth(&self) -> u64 {
        self.breadth
    }

    /// The stored tensors behind one of its tensors: those of the job's sources.
    pub(super) fn leaves(&self, tensor: usize) -> Vec<Leaf<'_>> {
        let Some(job) = self.plan.jobs.get(tensor) else { return Vec::new() };
        job.leaves(&self.plan.inputs)
    }
}
