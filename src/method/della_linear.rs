//! DELLA with a sum: drop elements of each difference at random, small ones sooner, rescale, add up.

use super::deltas::{self, Combine, Drop};
use super::param::{DELLA_EPSILON, DENSITY, INT8_MASK, LAMBDA, NORMALIZE_OFF, RESCALE, WEIGHT};
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "della_linear",
    summary: "differences thinned at random, the smaller the likelier, then summed",
    paper: "Deep et al. 2024, DELLA-Merging, arXiv 2406.11617, without the vote",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&WEIGHT, &DENSITY, &DELLA_EPSILON, &NORMALIZE_OFF, &RESCALE, &LAMBDA, &INT8_MASK],
    prepare,
};

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    deltas::prepare(setup, Drop::Ranked, Combine::Sum, &NORMALIZE_OFF, &RESCALE)
}
