//! Spherical interpolation of two tensors, each taken as one long vector.
//!
//! With `θ` the angle between them the result is `sin((1-t)θ)/sin θ · a + sin(tθ)/sin θ · b` of the
//! vectors as they are; nearly parallel vectors are interpolated in a straight line, as in mergekit.

use super::gram::{Combination, Extent, Gram, Weigh};
use super::param::T;
use super::{AnyOperator, Base, Invalid, Method, Setup, Vectors};

pub(super) static METHOD: Method = Method {
    name: "slerp",
    summary: "spherical interpolation between the base and one other model",
    paper: "Shoemake 1985, Animating rotation with quaternion curves",
    base: Base::First,
    inputs: 2..=2,
    params: &[&T],
    prepare,
};

/// Above this cosine the angle is too small to divide by its sine.
const PARALLEL: f64 = 0.9995;
/// Shorter vectors count as not normalised at all.
const SHORTEST: f64 = 1e-8;

#[derive(Debug)]
struct Slerp {
    t: f64,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let slerp = Slerp { t: setup.global.number(&T)? };
    Ok(Combination::boxed(Vectors::Models, Extent::Tensor, slerp))
}

impl Weigh for Slerp {
    fn weigh(&self, gram: &Gram) -> Vec<f64> {
        let length = |i| match gram.length(i) {
            length if length > SHORTEST => length,
            _ => 1.0,
        };
        let cosine = gram.dot(0, 1) / (length(0) * length(1));
        if cosine.abs() > PARALLEL {
            return vec![1.0 - self.t, self.t];
        }
        arc(cosine.acos(), self.t)
    }
}

/// The coefficients at `t` of the way along an arc of this angle.
pub(super) fn arc(angle: f64, t: f64) -> Vec<f64> {
    vec![((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()]
}
