//! Model Breadcrumbs: of each difference neither the largest elements nor the smallest, then a sum.

use super::deltas::{self, Combine, Drop};
use super::param::{DENSITY, GAMMA, INT8_MASK, LAMBDA, NORMALIZE_OFF, RESCALE_OFF, WEIGHT};
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "breadcrumbs",
    summary: "differences without their largest and smallest elements, summed",
    paper: "Davari and Belilovsky 2024, Model Breadcrumbs, arXiv 2312.06795",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&WEIGHT, &DENSITY, &GAMMA, &NORMALIZE_OFF, &RESCALE_OFF, &LAMBDA, &INT8_MASK],
    prepare,
};

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    deltas::prepare(setup, Drop::Outliers, Combine::Sum, &NORMALIZE_OFF, &RESCALE_OFF)
}
