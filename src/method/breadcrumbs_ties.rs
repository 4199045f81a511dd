//! Model Breadcrumbs with TIES' vote: neither the largest nor the smallest elements of each difference,
//! and of the rest what agrees with the elected sign.

use super::deltas::{self, Combine, Drop};
use super::param::{DENSITY, GAMMA, INT8_MASK, LAMBDA, NORMALIZE_OFF, RESCALE_OFF, WEIGHT};
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "breadcrumbs_ties",
    summary: "differences without their largest and smallest elements, merged by elected sign",
    paper: "Davari and Belilovsky 2024, arXiv 2312.06795, with the vote of Yadav et al. 2023",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&WEIGHT, &DENSITY, &GAMMA, &NORMALIZE_OFF, &RESCALE_OFF, &LAMBDA, &INT8_MASK],
    prepare,
};

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    deltas::prepare(setup, Drop::Outliers, Combine::Elect, &NORMALIZE_OFF, &RESCALE_OFF)
}
