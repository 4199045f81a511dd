//! Task arithmetic: the base plus `λ · Σ wᵢ·(xᵢ - base)`.

use super::deltas::{self, Combine, Drop};
use super::param::{INT8_MASK, LAMBDA, NORMALIZE_OFF, RESCALE_OFF, UNUSED_DENSITY, UNUSED_RESCALE, WEIGHT};
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "task_arithmetic",
    summary: "base plus the weighted sum of the models' differences from it",
    paper: "Ilharco et al. 2023, Editing models with task arithmetic, arXiv 2212.04089",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&WEIGHT, &UNUSED_DENSITY, &NORMALIZE_OFF, &UNUSED_RESCALE, &LAMBDA, &INT8_MASK],
    prepare,
};

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    deltas::prepare(setup, Drop::Nothing, Combine::Sum, &NORMALIZE_OFF, &RESCALE_OFF)
}
