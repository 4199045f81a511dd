//! What stands beside the models, while it is read.

use super::run::{Context, Run};
use crate::device::{Chunk, Device, Finiteness};
use crate::method::AnyOperator;
use crate::plan::{Beside, Job, Leaf, Order, Work};
use crate::problem::{Error, Problem};

/// The stored tensors of which every block needs all. They are not read in the order of the tensor that is merged.
pub(super) fn whole<'a, D>(context: &Context<'a, D>, job: &Job) -> Vec<Leaf<'a>> {
    let inputs = &context.plan.inputs;
    let leaves = job.whole().iter().flat_map(|source| source.leaves(inputs));
    leaves.map(|leaf| Leaf { order: Order::Any, ..leaf }).collect()
}

/// What blocks of a job are merged with, where that is made of what is read whole.
pub(super) fn begin<D>(
    context: &Context<'_, D>,
    job: &Job,
    whole: &[Leaf<'_>],
) -> Result<Option<Box<dyn AnyOperator>>, Error> {
    let (Work::Merge(op), false) = (&job.work, whole.is_empty()) else { return Ok(None) };
    for leaf in whole {
        let found = context.host.finite(leaf.chunk()) == Finiteness::NonFinite;
        leaf.check_intact()?;
        if found {
            let what = format!("its matrix in {} has NaN or infinity", leaf.checkpoint.name());
            return Err(Problem::error(&job.name, what).hint(AGAIN).into());
        }
    }
    let chunks: Vec<Chunk<'_>> = whole.iter().map(Leaf::chunk).collect();
    op.begun(&chunks, &|| !context.is_cancelled()).map_err(|invalid| {
        let problem = Problem::error(&job.name, invalid.what);
        match invalid.hint {
            Some(hint) => problem.hint(hint).into(),
            None => problem.into(),
        }
    })
}

const AGAIN: &str = "the file is damaged: measure it again";

impl Run<'_> {
    /// Refuses importance that is no number, or less than nothing: whatever is allowed of weights, nothing could be
    /// weighted by it.
    pub(super) fn check_importance<D: Device>(
        &self,
        context: &Context<'_, D>,
        start: usize,
        along: &[Chunk<'_>],
    ) -> Result<(), Error> {
        let Beside::Along(sources) = &self.job.beside else { return Ok(()) };
        for (source, chunk) in sources.iter().zip(along) {
            let values = context.host.load(*chunk)?;
            let fine = |x: &f32| *x >= 0.0 && x.is_finite();
            if values.values().iter().all(fine) {
                continue;
            }
            self.check_intact()?;
            let at = values.values().iter().position(|x| !fine(x)).unwrap_or_default();
            let value = values.values().get(at).copied().unwrap_or(f32::NAN);
            let (flat, width) = (start + at, self.job.width());
            let place = match self.job.shape.len() {
                0 | 1 => format!("at element {flat}"),
                _ => format!("in row {}, column {}", flat / width, flat % width),
            };
            let file = context.plan.inputs[source.input].name();
            let what = match value {
                x if x.is_nan() => format!("its importance in {file} has NaN {place}"),
                x if x.is_infinite() => format!("its importance in {file} has infinity {place}"),
                x => format!("its importance in {file} is negative ({x:e}) {place}"),
            };
            return Err(Problem::error(&self.job.name, what).hint(AGAIN).into());
        }
        Ok(())
    }
}
