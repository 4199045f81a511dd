//! Weighted average: `Σ wᵢ·xᵢ`, divided by `Σ wᵢ` unless told otherwise.

use super::param::{NORMALIZE, WEIGHT};
use super::weights::{RowLengths, Weights};
use super::{AnyOperator, Base, Block, Invalid, Method, Operator, Setup};
use crate::device::{Device, LINE};
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
    weights: Weights,
    /// Whether the sum is divided by that of the weights; dividing rounds differently from scaled weights, and mergekit
    /// divides.
    normalize: bool,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let weights = Weights::of(setup)?;
    let normalize = setup.global.is_on(&NORMALIZE)?;
    match &weights {
        Weights::Numbers(numbers) if normalize => {
            check_sum(&numbers.iter().copied().map(f64::from).collect::<Vec<_>>(), "normalize")?;
        }
        Weights::Rows(rows) if rows.needs_differences() => {
            return Err(Invalid::new(
                "weights by norms need differences from a base, and `linear` takes none",
            )
            .hint("use task_arithmetic or one of its kin"));
        }
        Weights::Rows(rows) if normalize => {
            if let Some(zero) = rows.zero_sum(setup.elements() as usize / setup.row()) {
                return Err(Invalid::new(format!("{zero}, and `normalize` divides by their sum"))
                    .hint("set `normalize: false` under `parameters:`"));
            }
        }
        _ => {}
    }
    Ok(Box::new(Linear { weights, normalize }))
}

/// Whether a sum of numbers, whose magnitudes add up to `size`, is more than what rounding leaves of nothing.
pub(super) fn is_divisor(sum: f64, size: f64) -> bool {
    sum.abs() > 1e-6 * size
}

/// Refuses weights that cannot be divided by their sum, as a switch of this name asks for.
pub(super) fn check_sum(weights: &[f64], switch: &str) -> Result<(), Invalid> {
    let sum: f64 = weights.iter().sum();
    let size: f64 = weights.iter().map(|w| w.abs()).sum();
    if is_divisor(sum, size) {
        return Ok(());
    }
    Err(Invalid::new(format!("the weights sum to zero, and `{switch}` divides by their sum"))
        .hint(format!("change the weights, or set `{switch}: false` under `parameters:`")))
}

impl Operator for Linear {
    fn grain(&self) -> usize {
        match &self.weights {
            Weights::Numbers(_) => LINE,
            Weights::Rows(rows) => rows.width(),
        }
    }

    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let mut sum = d.zeros(x.len())?;
        match &self.weights {
            Weights::Numbers(weights) => {
                for (w, model) in weights.iter().zip(x.models) {
                    d.add_scaled(&mut sum, *w, *model)?;
                }
                if self.normalize {
                    d.divide(&mut sum, weights.iter().sum())?;
                }
            }
            Weights::Rows(weights) => {
                let (first, rows) = (x.first as usize / weights.width(), x.len() / weights.width());
                let in_block = weights.in_block(first, rows, &RowLengths::default());
                for (weight, model) in in_block.iter().zip(x.models) {
                    let mut weighted = d.load(*model)?;
                    weights.weigh(d, &mut weighted, weight)?;
                    d.add(&mut sum, &weighted)?;
                }
                if self.normalize {
                    d.divide_each(&mut sum, &weights.total(d, rows, &in_block)?, 0.0)?;
                }
            }
        }
        Ok(sum)
    }
}
