//! Spherical interpolation of two models, or of their differences from a base: of whole tensors, of each
//! row or of each column.
//!
//! `t` is the second model's share of the two weights, and the formula is slerp's, but only vectors that
//! are parallel to the precision of f32 are interpolated in a straight line.
//!
//! mergekit's `nuslerp_row_wise: true` works on columns (it turns the tensor over first), and `false` on
//! rows, against the name. The name is mergekit's, and so is what it does: the same recipe gives the same
//! model here. Neither has an effect unless `nuslerp_flatten: false`.

use super::gram::{Combination, Extent, Gram, Weigh};
use super::param::{NUMBER_WEIGHT, NUSLERP_FLATTEN, NUSLERP_ROW_WISE};
use super::slerp::arc;
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "nuslerp",
    summary: "spherical interpolation of two models, or of their differences from a base",
    paper: "Shoemake 1985, with mergekit's weights and rows (Goddard et al. 2024, arXiv 2403.13257)",
    base: Base::Optional,
    inputs: 2..=2,
    params: &[&NUMBER_WEIGHT, &NUSLERP_FLATTEN, &NUSLERP_ROW_WISE],
    prepare,
};

/// Shorter vectors are not scaled up to length 1.
const SHORTEST: f64 = 1e-7;
/// Weights that cancel out count as equal.
const CANCEL: f64 = 1e-6;

#[derive(Debug)]
struct Nuslerp {
    t: f64,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let weights = setup.models.iter().map(|m| m.number(&NUMBER_WEIGHT)).collect::<Result<Vec<_>, _>>()?;
    let total: f64 = weights.iter().sum();
    let t = match weights[..] {
        [_, second] if total.abs() >= CANCEL => second / total,
        _ => 0.5,
    };
    let flatten = setup.global.is_on(&NUSLERP_FLATTEN)?;
    let extent = match (flatten, setup.global.is_on(&NUSLERP_ROW_WISE)?) {
        (true, _) => Extent::Tensor,
        (false, true) if setup.shape.len() > 1 => Extent::Columns(setup.columns()),
        (false, _) => Extent::Rows(setup.row()),
    };
    Ok(Combination::boxed(setup.of, extent, Nuslerp { t }))
}

impl Weigh for Nuslerp {
    fn weigh(&self, gram: &Gram) -> Vec<f64> {
        if gram.len() < 2 {
            return vec![1.0]; // the other model does not have this tensor
        }
        let length = |i| gram.length(i).max(SHORTEST);
        let cosine = (gram.dot(0, 1) / (length(0) * length(1))).clamp(-1.0, 1.0);
        if 1.0 - cosine * cosine <= f64::from(f32::EPSILON) {
            return vec![1.0 - self.t, self.t];
        }
        arc(cosine.acos(), self.t)
    }
}
