//! TIES: trim each difference to its largest elements, elect a sign per element, merge those that agree.

use super::deltas::{self, Combine, Drop};
use super::param::{DENSITY, INT8_MASK, LAMBDA, NORMALIZE, RESCALE_OFF, WEIGHT};
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "ties",
    summary: "differences trimmed by magnitude, merged where their signs agree with the elected one",
    paper: "Yadav et al. 2023, TIES-Merging, arXiv 2306.01708",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&WEIGHT, &DENSITY, &NORMALIZE, &RESCALE_OFF, &LAMBDA, &INT8_MASK],
    prepare,
};

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    deltas::prepare(setup, Drop::Smallest, Combine::Elect, &NORMALIZE, &RESCALE_OFF)
}
