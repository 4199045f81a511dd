//! Fisher merging: every element is the mean of the models', each weighted by how much it matters there.
//!
//! `Σ uᵢ·xᵢ / Σ uᵢ` with `uᵢ = wᵢ · max(Fᵢ / mᵢ, floor)^exponent`, `Fᵢ` the importance of the element in model `i` and
//! `mᵢ` its mean over that model: gradients of one model may be larger than another's throughout. With a base, `xᵢ` are
//! differences from it, and the mean times `lambda` is added to it.

use super::param::{DIVISOR_WORDS, EXPONENT, FLOOR, IMPORTANCE, IMPORTANCE_DIVISOR, LAMBDA, WEIGHT_OF_ONE};
use super::{AnyOperator, Base, Beside, Block, Invalid, Method, Operator, Setup, Vectors};
use crate::device::{Device, Importance, ModelImportance, Power};
use crate::problem::ExecError;

pub(super) static METHOD: Method = Method {
    name: "fisher",
    summary: "mean of the models, each element weighted by how much it matters in each model",
    paper: "Matena and Raffel 2022, Merging Models with Fisher-Weighted Averaging, arXiv 2111.09832",
    base: Base::Optional,
    inputs: 1..=usize::MAX,
    params: &[&IMPORTANCE, &WEIGHT_OF_ONE, &EXPONENT, &FLOOR, &IMPORTANCE_DIVISOR, &LAMBDA],
    prepare,
};

/// Beyond this, importance would be the choice of a single model anyway, and numbers overflow.
const MOST_EXPONENT: f64 = 8.0;

#[derive(Debug)]
struct Fisher {
    by: Importance,
    lambda: f32,
}

/// Weights of models that are averaged: none is negative, and not all are zero.
pub(super) fn weights(setup: &Setup<'_>) -> Result<Vec<f64>, Invalid> {
    let weights: Vec<f64> =
        setup.models.iter().map(|m| m.number(&WEIGHT_OF_ONE)).collect::<Result<_, _>>()?;
    if let Some(negative) = weights.iter().find(|w| **w < 0.0) {
        return Err(Invalid::new(format!("weight {negative} is negative: the models are averaged")));
    }
    if weights.iter().all(|w| *w == 0.0) {
        return Err(Invalid::new("all weights are zero: there is nothing to average"));
    }
    Ok(weights)
}

/// The factor on the mean of differences; without a base there are none.
pub(super) fn lambda(setup: &Setup<'_>) -> Result<f32, Invalid> {
    let lambda = setup.global.number(&LAMBDA)?;
    if setup.of == Vectors::Models && lambda != 1.0 {
        return Err(Invalid::new("`lambda` is a factor on differences from a base, and there is no base")
            .hint("add `base_model:` at the top of the recipe, or leave `lambda` out"));
    }
    Ok(lambda as f32)
}

/// Adds the base to what was made of differences from it.
pub(super) fn on_base<D: Device>(
    d: &D,
    mixed: &mut D::Buf,
    base: Option<&D::Buf>,
    lambda: f32,
) -> Result<(), ExecError> {
    let Some(base) = base else { return Ok(()) };
    if lambda != 1.0 {
        d.scale(mixed, lambda)?;
    }
    d.add(mixed, base)
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let weights = weights(setup)?;
    let exponent = setup.global.number(&EXPONENT)?;
    if exponent > MOST_EXPONENT {
        return Err(Invalid::new(format!("exponent {exponent} is too large"))
            .hint(format!("choose one up to {MOST_EXPONENT}")));
    }
    let Beside::Importance(means) = setup.beside else {
        return Err(Invalid::new("`importance` is missing"));
    };
    let divide = setup.global.word(&IMPORTANCE_DIVISOR, DIVISOR_WORDS) == "model";
    let of_model =
        |(weight, mean): (f64, &f64)| ModelImportance { weight, divisor: if divide { *mean } else { 1.0 } };
    let by = Importance {
        models: weights.into_iter().zip(means).map(of_model).collect(),
        floor: setup.global.number(&FLOOR)?,
        power: Power::of(exponent),
    };
    Ok(Box::new(Fisher { by, lambda: lambda(setup)? }))
}

impl Operator for Fisher {
    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let base = x.base.map(|base| d.load(base)).transpose()?;
        let vectors = super::vectors(d, x.models, base.as_ref())?;
        let importance = x.beside.iter().map(|chunk| d.load(*chunk)).collect::<Result<Vec<_>, _>>()?;
        let mut mixed = d.mean_by_importance(&vectors, &importance, &self.by)?;
        on_base(d, &mut mixed, base.as_ref(), self.lambda)?;
        Ok(mixed)
    }
}
