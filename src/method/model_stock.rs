//! Model Stock: the average of the models, drawn towards the base the more, the less their differences
//! from it point in one direction.
//!
//! With `c` the mean cosine between the differences of all pairs of `N` models the result is
//! `base + t · mean of differences`, `t = N·c / (1 + (N-1)·c)` (the paper's eq. 4 for any N). Where the
//! denominator is zero the base is kept.

use super::gram::{Combination, Extent, Gram, Weigh};
use super::param::FILTER_WISE;
use super::{AnyOperator, Base, Invalid, Method, Setup, Vectors};

pub(super) static METHOD: Method = Method {
    name: "model_stock",
    summary: "average drawn towards the base by the angles between the differences",
    paper: "Jang et al. 2024, Model Stock, arXiv 2403.19522",
    base: Base::Reference,
    inputs: 2..=usize::MAX,
    params: &[&FILTER_WISE],
    prepare,
};

/// A smaller product of two lengths counts as this.
const SHORTEST: f64 = 1e-6;
/// A smaller denominator counts as zero.
const SINGULAR: f64 = 1e-6;

#[derive(Debug)]
struct ModelStock;

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    if setup.models.len() < 2 {
        return Err(Invalid::new("model_stock compares models, and only one has this tensor").hint(
            "mergekit leaves such a tensor out; merge it with another method, or add a model that has it",
        ));
    }
    let extent = match setup.global.is_on(&FILTER_WISE)? {
        true => Extent::Rows(setup.row()),
        false => Extent::Tensor,
    };
    Ok(Combination::boxed(Vectors::Deltas, extent, ModelStock))
}

impl Weigh for ModelStock {
    fn weigh(&self, gram: &Gram) -> Vec<f64> {
        let n = gram.len();
        let lengths = gram.lengths();
        let (mut sum, mut pairs) = (0.0, 0.0);
        for i in 0..n {
            for j in i + 1..n {
                let product = (lengths[i] * lengths[j]).max(SHORTEST);
                sum += (gram.dot(i, j) / product).clamp(-1.0, 1.0);
                pairs += 1.0;
            }
        }
        let (cosine, n) = (sum / pairs, n as f64);
        let denominator = 1.0 + (n - 1.0) * cosine;
        let t = if denominator.abs() < SINGULAR { 0.0 } else { n * cosine / denominator };
        vec![t / n; gram.len()]
    }
}
