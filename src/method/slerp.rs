//! Spherical interpolation of two tensors, each taken as one long vector.
//!
//! With `θ` the angle between them the result is `sin((1-t)θ)/sin θ · a + sin(tθ)/sin θ · b` of the
//! vectors as they are; nearly parallel vectors are interpolated in a straight line, as in mergekit.

use super::param::T;
use super::{AnyOperator, Base, Block, Invalid, Measured, Method, Operator, Setup, Stat};
use crate::device::Device;
use crate::problem::ExecError;

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
    Ok(Box::new(Slerp { t: setup.global.number(&T)? }))
}

impl Slerp {
    fn coefficients(&self, gram: &[f64]) -> (f32, f32) {
        let [aa, ab, _, bb] = *gram else { return (1.0, 0.0) };
        let length = |square: f64| if square.sqrt() > SHORTEST { square.sqrt() } else { 1.0 };
        let cosine = ab / (length(aa) * length(bb));
        if cosine.abs() > PARALLEL {
            return ((1.0 - self.t) as f32, self.t as f32);
        }
        let angle = cosine.acos();
        let part = |share: f64| ((share * angle).sin() / angle.sin()) as f32;
        (part(1.0 - self.t), part(self.t))
    }
}

impl Operator for Slerp {
    fn needs(&self) -> Vec<Stat> {
        vec![Stat::Gram]
    }

    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let (a, b) = match x.stats.first() {
            Some(Measured::Gram(gram)) => self.coefficients(gram),
            _ => (1.0, 0.0),
        };
        let mut sum = d.zeros(x.len())?;
        for (factor, model) in [a, b].into_iter().zip(x.models) {
            d.add_scaled(&mut sum, factor, *model)?;
        }
        Ok(sum)
    }
}
