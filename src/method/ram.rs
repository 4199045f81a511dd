//! Reinforced Agent Merging: what several models change is averaged over those that change it, what one
//! model changes alone is kept whole.
//!
//! RAM+ (`ramplus_tl`) enlarges what a model changes alone, by as much as the model shares changes with
//! others: `1 + r · min(shared / alone, α)`, counted in each tensor.

use super::param::RAM_EPSILON;
use super::{AnyOperator, Base, Block, Invalid, Measured, Method, Operator, Setup, Stat, vectors};
use crate::device::{Device, Overlap};
use crate::problem::ExecError;

pub(super) static METHOD: Method = Method {
    name: "ram",
    summary: "base plus what one model changes alone, and the mean of what several change",
    paper: "Reinforced Agent Merging 2026, arXiv 2601.13572",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&RAM_EPSILON],
    prepare,
};

/// How changes of a single model are enlarged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reinforcement {
    pub(super) r: f32,
    pub(super) alpha: f32,
}

#[derive(Debug)]
struct Ram {
    epsilon: f32,
    models: usize,
    reinforcement: Option<Reinforcement>,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    operator(setup, None)
}

/// The operator of RAM, and with a reinforcement of RAM+.
pub(super) fn operator(
    setup: &Setup<'_>,
    reinforcement: Option<Reinforcement>,
) -> Result<Box<dyn AnyOperator>, Invalid> {
    let epsilon = setup.global.number(&RAM_EPSILON)? as f32;
    Ok(Box::new(Ram { epsilon, models: setup.models.len(), reinforcement }))
}

impl Reinforcement {
    fn factor(self, Overlap { shared, alone }: Overlap) -> f32 {
        // Without changes of its own a model has nothing to enlarge.
        let share = shared as f32 / alone.max(1) as f32;
        1.0 + self.r * share.min(self.alpha)
    }
}

impl Operator for Ram {
    fn needs(&self) -> Vec<Stat> {
        self.reinforcement.map(|_| Stat::Overlap { epsilon: self.epsilon }).into_iter().collect()
    }

    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let factors = match (self.reinforcement, x.stats.first()) {
            (Some(r), Some(Measured::Overlap(overlaps))) => overlaps.iter().map(|o| r.factor(*o)).collect(),
            _ => vec![1.0; self.models],
        };
        let base = d.load(x.base())?;
        let mut merged = d.pool(&vectors(d, x.models, Some(&base))?, self.epsilon, &factors)?;
        d.add(&mut merged, &base)?;
        Ok(merged)
    }
}
