//! Weighted average: `Σ wᵢ·xᵢ`, divided by `Σ wᵢ` unless told otherwise.

use super::param::{NORMALIZE, WEIGHT};
use super::{AnyOperator, Base, Block, Invalid, Method, Operator, Setup};
use crate::device::Device;
use crate::problem::ExecError;

pub(super) static METHOD: Method = Method {
    name: "linear",
    summary: "weighted average of the models",
    paper: "Wortsman et al. 2022, Model soups, arXiv 2203.05482",
    base: Base::Joins,
    inputs: 1..=usize::MAX,
    params: &[&WEIGHT, &NORMALIZE],
    prepare,
};

#[derive(Debug)]
struct Linear {
    weights: Vec<f32>,
    /// What the sum is divided by; dividing rounds differently from scaled weights, and mergekit divides.
    divisor: Option<f32>,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let weights = super::deltas::weights(setup)?;
    let mut divisor = None;
    if setup.global.is_on(&NORMALIZE)? {
        let sum: f32 = weights.iter().sum();
        let size: f32 = weights.iter().map(|w| w.abs()).sum();
        if sum.abs() <= 1e-6 * size {
            return Err(Invalid::new("the weights sum to zero, and `normalize` divides by their sum")
                .hint("change the weights, or set `normalize: false` under `parameters:`"));
        }
        divisor = Some(sum);
    }
    Ok(Box::new(Linear { weights, divisor }))
}

impl Operator for Linear {
    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let mut sum = d.zeros(x.len())?;
        for (w, model) in self.weights.iter().zip(x.models) {
            d.add_scaled(&mut sum, *w, *model)?;
        }
        if let Some(divisor) = self.divisor {
            d.divide(&mut sum, divisor)?;
        }
        Ok(sum)
    }
}
