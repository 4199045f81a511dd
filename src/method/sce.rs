//! SCE: select the elements on which the models differ most, calculate each model's weight from the size
//! of what is left of its difference, erase what disagrees with the elected sign.
//!
//! The vote counts differences as they are, the mean of those that agree is weighted by the sum of
//! squares of each. Where the differences are so small that their mean squares sum to less than 10⁻⁶, all
//! weights are equal, as in mergekit.

use super::param::{INT8_MASK, SELECT_TOPK};
use super::{
    AnyOperator, Base, Block, Invalid, Keep, Measured, Method, Operator, Quantity, Setup, Stat, Then, vectors,
};
use crate::device::{Cut, Device, Divisor, Vote};
use crate::problem::ExecError;

pub(super) static METHOD: Method = Method {
    name: "sce",
    summary: "differences where they vary most, weighted by their size, merged by elected sign",
    paper: "Wan et al. 2024, FuseChat, arXiv 2408.07990",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&SELECT_TOPK, &INT8_MASK],
    prepare,
};

/// Mean squares that sum to less tell nothing about weights; weights that sum to less divide as if this.
const NOTHING: f64 = 1e-6;

#[derive(Debug)]
struct Sce {
    select: f64,
    elements: f64,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let select = setup.global.number(&SELECT_TOPK)?;
    Ok(Box::new(Sce { select, elements: setup.elements() as f64 }))
}

impl Sce {
    fn weights(&self, squares: &[f64]) -> Vec<f32> {
        let means: Vec<f64> = squares.iter().map(|square| square / self.elements).collect();
        let total: f64 = means.iter().sum();
        let uniform = 1.0 / means.len() as f64;
        means.into_iter().map(|m| if total < NOTHING { uniform } else { m / total } as f32).collect()
    }
}

impl Operator for Sce {
    fn needs(&self) -> Vec<Stat> {
        let keep = Keep::OfNonZero(self.select);
        vec![Stat::Cuts { of: Quantity::Variance, keep, then: Then::Squares }]
    }

    fn settle(&self, measured: Vec<Measured>) -> Vec<Measured> {
        let settle = |measured| match measured {
            Measured::CutSquares(cut, squares) => {
                vec![Measured::Cuts(vec![cut]), Measured::Factors(vec![self.weights(&squares)])]
            }
            other => vec![other],
        };
        measured.into_iter().flat_map(settle).collect()
    }

    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let base = d.load(x.base())?;
        let [Measured::Cuts(cuts), Measured::Factors(factors)] = x.stats else { return Ok(base) };
        let (Some(cut), Some(weights)) = (cuts.first(), factors.first()) else { return Ok(base) };
        let mut deltas = vectors(d, x.models, Some(&base))?;
        if *cut != Cut::NONE {
            let mut variance = d.variance(&deltas)?;
            d.keep_largest(&mut variance, *cut, x.first)?;
            deltas.iter_mut().try_for_each(|delta| d.keep_where(delta, &variance))?;
        }
        let divisor = Divisor::AgreeingWeightsFrom(NOTHING as f32);
        let mut merged = d.elect(&deltas, weights, Vote::Plain, divisor)?;
        d.add(&mut merged, &base)?;
        Ok(merged)
    }
}
