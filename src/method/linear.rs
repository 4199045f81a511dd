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
        check_sum(&weights.iter().copied().map(f64::from).collect::<Vec<_>>(), "normalize")?;
        divisor = Some(weights.iter().sum());
    }
    Ok(Box::new(Linear { weights, divisor }))
}

/// Refuses weights that cannot be divided by their sum, as a switch of this name asks for.
pub(super) fn check_sum(weights: &[f64], switch: &str) -> Result<(), Invalid> {
    let sum: f64 = weights.iter().sum();
    let size: f64 = weights.iter().map(|w| w.abs()).sum();
    if sum.abs() > 1e-6 * size {
        return Ok(());
    }
    Err(Invalid::new(format!("the weights sum to zero, and `{switch}` divides by their sum"))
        .hint(format!("change the weights, or set `{switch}: false` under `parameters:`")))
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
