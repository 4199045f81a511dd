//! DELLA: drop elements of each difference at random, small ones sooner than large ones, rescale the
//! rest, and merge what agrees with the elected sign.

use super::deltas::{self, Combine, Drop};
use super::param::{DELLA_EPSILON, DENSITY, INT8_MASK, LAMBDA, NORMALIZE, RESCALE, WEIGHT};
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "della",
    summary: "differences thinned at random, the smaller the likelier, merged by elected sign",
    paper: "Deep et al. 2024, DELLA-Merging, arXiv 2406.11617",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&WEIGHT, &DENSITY, &DELLA_EPSILON, &NORMALIZE, &RESCALE, &LAMBDA, &INT8_MASK],
    prepare,
};

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    deltas::prepare(setup, Drop::Ranked, Combine::Elect, &NORMALIZE, &RESCALE)
}
