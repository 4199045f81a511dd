//! Barycentric interpolation on a sphere: the direction is that of the weighted mean of directions, the
//! length is the weighted mean of lengths.
//!
//! The method's own description projects every direction onto the tangent plane at the normalised mean,
//! takes the weighted mean there and maps it back. With the weights that made the mean that weighted mean
//! is zero, `Σ wᵢ·(uᵢ - (uᵢ·m)·m) = |Σ wᵢ·uᵢ|·m - |Σ wᵢ·uᵢ|·m`, so the mean itself is the result; what
//! mergekit adds to it is rounding.
//!
//! Where the directions cancel out there is no mean direction. mergekit then sums the vectors of two
//! models by weight and gives up with three or more; here the weighted sum is taken for any number, so a
//! tensor that no model changed (all differences zero) is the base's.

use super::gram::{Combination, Extent, Gram, Weigh};
use super::param::{MULTISLERP_EPS, NORMALIZE_WEIGHTS, NUMBER_WEIGHT};
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "multislerp",
    summary: "mean of directions on a sphere, of models or of their differences from a base",
    paper: "Goddard 2025, goddard.blog/posts/multislerp-wow-what-a-cool-idea",
    base: Base::Optional,
    inputs: 1..=usize::MAX,
    params: &[&NUMBER_WEIGHT, &NORMALIZE_WEIGHTS, &MULTISLERP_EPS],
    prepare,
};

#[derive(Debug)]
struct Multislerp {
    weights: Vec<f64>,
    eps: f64,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let mut weights = super::deltas::weights(setup)?.into_iter().map(f64::from).collect::<Vec<_>>();
    if setup.global.is_on(&NORMALIZE_WEIGHTS)? {
        super::linear::check_sum(&weights, "normalize_weights")?;
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= total);
    }
    let eps = setup.global.number(&MULTISLERP_EPS)?;
    Ok(Combination::boxed(setup.of, Extent::Tensor, Multislerp { weights, eps }))
}

impl Weigh for Multislerp {
    fn weigh(&self, gram: &Gram) -> Vec<f64> {
        if gram.len() < 2 {
            return vec![1.0]; // a single model is left as it is, whatever its weight
        }
        let lengths = gram.lengths();
        let mean: Vec<f64> = self.weights.iter().zip(&lengths).map(|(w, n)| w / (n + self.eps)).collect();
        let norm = gram.length_of(&mean);
        if norm < self.eps.max(f64::MIN_POSITIVE) {
            return self.weights.clone();
        }
        let length: f64 = self.weights.iter().zip(&lengths).map(|(w, n)| w * n).sum();
        mean.into_iter().map(|a| a * length / norm).collect()
    }
}
