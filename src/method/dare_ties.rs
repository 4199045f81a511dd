//! DARE with TIES' vote: drop at random, rescale, merge what agrees with the elected sign.

use super::deltas::{self, Combine, Drop};
use super::param::{DENSITY, INT8_MASK, LAMBDA, NORMALIZE_OFF, RESCALE, WEIGHT};
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "dare_ties",
    summary: "differences thinned at random and rescaled, then merged by elected sign",
    paper: "Yu et al. 2024, arXiv 2311.03099, with the vote of Yadav et al. 2023",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&WEIGHT, &DENSITY, &NORMALIZE_OFF, &RESCALE, &LAMBDA, &INT8_MASK],
    prepare,
};

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    deltas::prepare(setup, Drop::Random, Combine::Elect, &NORMALIZE_OFF, &RESCALE)
}
