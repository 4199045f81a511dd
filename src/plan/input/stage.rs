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
        Self { name: name.into(), tensors: plan.jobs.iter().map(info).collect(), plan }
    }

    /// The stored tensors behind one of its tensors: those of the job's sources, which have its shape.
    pub(super) fn leaves(&self, tensor: usize) -> Vec<Leaf<'_>> {
        let Some(job) = self.plan.jobs.get(tensor) else { return Vec::new() };
        job.sources().flat_map(|s| s.leaves(&self.plan.inputs)).collect()
    }
}
