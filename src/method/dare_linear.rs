//! DARE with a sum: drop elements of each difference at random, rescale the rest, add up.

use super::deltas::{self, Combine, Drop};
use super::param::{DENSITY, INT8_MASK, LAMBDA, NORMALIZE_OFF, RESCALE, WEIGHT};
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "dare_linear",
    summary: "differences thinned at random and rescaled, then summed",
    paper: "Yu et al. 2024, Language models are super Mario, arXiv 2311.03099",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&WEIGHT, &DENSITY, &NORMALIZE_OFF, &RESCALE, &LAMBDA, &INT8_MASK],
    prepare,
};

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    deltas::prepare(setup, Drop::Random, Combine::Sum, &NORMALIZE_OFF, &RESCALE)
}
