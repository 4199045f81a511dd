//! The operator behind task arithmetic, TIES and DARE: differences from a base are thinned out, combined
//! and added back. The methods are rows of the table *which drop × which combination*.
//!
//! Order of operations, which decides the last bit (the same as mergekit's in float32): difference,
//! drop, rescale, weight, sum or vote, divide, lambda, add the base; each rounds to f32.

use super::param::{DENSITY, LAMBDA, RESCALE_WORDS, WEIGHT};
use super::{
    AbsSums, AnyOperator, Band, Block, Invalid, Keep, Measured, Operator, Param, Quantity, Setup, Stat, Then,
};
use crate::device::{Device, Divisor, Draw, Vote};
use crate::problem::ExecError;

/// Which elements of a difference are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drop {
    /// None.
    Nothing,
    /// The smallest: `floor(density · n)` elements stay.
    Smallest,
    /// Random ones: each stays with probability `density`.
    Random,
}

/// How the weighted differences become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Combine {
    /// Their sum.
    Sum,
    /// The sum of those that agree with the elected sign.
    Elect,
}

/// What one model's difference goes through.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Thin {
    Whole,
    Largest(u64, Rescale),
    Random(Draw, Rescale),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rescale {
    None,
    /// By Σ|x| before over Σ|x| after.
    L1,
    By(f32),
}

/// A rescale with its sums known.
enum Factor {
    One,
    By(f32),
}

impl Rescale {
    fn factor(self, sums: AbsSums) -> Factor {
        match self {
            Self::By(factor) => Factor::By(factor),
            // As in mergekit: next to nothing is left as it is.
            Self::L1 if sums.all.min(sums.kept) >= 1e-7 => Factor::By(sums.all as f32 / sums.kept as f32),
            _ => Factor::One,
        }
    }
}

#[derive(Debug)]
struct Deltas {
    weights: Vec<f32>,
    thin: Vec<Thin>,
    combine: Combine,
    normalize: Option<f32>,
    lambda: f32,
}

/// The weight of every input, in f32 as the arithmetic uses it.
pub(super) fn weights(setup: &Setup<'_>) -> Result<Vec<f32>, Invalid> {
    setup.models.iter().map(|m| Ok(m.number(&WEIGHT)? as f32)).collect()
}

/// Builds the operator of a method from its row of the table.
pub(super) fn prepare(
    setup: &Setup<'_>,
    drop: Drop,
    combine: Combine,
    normalize: &'static Param,
    rescale: &'static Param,
) -> Result<Box<dyn AnyOperator>, Invalid> {
    let weights = weights(setup)?;
    let rescale = setup.global.word(rescale, RESCALE_WORDS);
    let thin = setup
        .models
        .iter()
        .enumerate()
        .map(|(i, model)| {
            let density = if drop == Drop::Nothing { 1.0 } else { model.number(&DENSITY)? };
            thin(setup, i, drop, density, rescale)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let normalize = setup.global.is_on(normalize)?.then(|| {
        let sum: f32 = weights.iter().sum();
        // As in mergekit: weights that cancel out divide by nothing.
        if sum.abs() < 1e-8 { 1.0 } else { sum }
    });
    let lambda = setup.global.number(&LAMBDA)? as f32;
    Ok(Box::new(Deltas { weights, thin, combine, normalize, lambda }))
}

fn thin(
    setup: &Setup<'_>,
    model: usize,
    drop: Drop,
    density: f64,
    rescale: &'static str,
) -> Result<Thin, Invalid> {
    if drop == Drop::Nothing || density >= 1.0 {
        return Ok(Thin::Whole);
    }
    let rescale = match rescale {
        "l1" => Rescale::L1,
        "density" if density > 0.0 => Rescale::By((1.0 / density) as f32),
        _ => Rescale::None,
    };
    if drop == Drop::Random {
        return Ok(Thin::Random(Draw::new(setup.draw_key(model), density), rescale));
    }
    match (density * setup.elements() as f64) as u64 {
        0 => Err(Invalid::new(format!(
            "density {density} keeps none of a tensor's {} elements",
            setup.elements()
        ))
        .hint(
            "raise `density`, or give small tensors their own with a `filter` (for norms: `filter: norm`)",
        )),
        keep => Ok(Thin::Largest(keep, rescale)),
    }
}

impl Operator for Deltas {
    fn needs(&self) -> Vec<Stat> {
        let stat = |(model, thin): (usize, &Thin)| match *thin {
            Thin::Largest(keep, rescale) => {
                let then = if rescale == Rescale::L1 { Then::AbsSums } else { Then::Cut };
                Some(Stat::Cuts { of: Quantity::Delta(model), keep: Keep::Counts(vec![keep]), then })
            }
            Thin::Random(draw, Rescale::L1) => Some(Stat::DrawSums { model, draw }),
            _ => None,
        };
        self.thin.iter().enumerate().filter_map(stat).collect()
    }

    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let base = d.load(x.base())?;
        let mut stats = x.stats.iter();
        let mut deltas = Vec::with_capacity(x.models.len());
        for (model, thin) in x.models.iter().zip(&self.thin) {
            let mut delta = d.delta(*model, &base)?;
            let rescale = match *thin {
                Thin::Whole => Factor::One,
                Thin::Largest(_, rescale) => {
                    let (cuts, sums) = match stats.next() {
                        Some(Measured::CutSums(cuts, sums)) => (cuts.as_slice(), *sums),
                        Some(Measured::Cuts(cuts)) => (cuts.as_slice(), AbsSums::default()),
                        _ => (&[][..], AbsSums::default()),
                    };
                    Band::of(cuts).apply(d, &mut delta, x.first)?;
                    rescale.factor(sums)
                }
                Thin::Random(draw, rescale) => {
                    d.keep_random(&mut delta, draw, x.first)?;
                    let sums = match rescale {
                        Rescale::L1 => stats.next(),
                        _ => None,
                    };
                    match sums {
                        Some(Measured::DrawSums(sums)) => rescale.factor(*sums),
                        _ => rescale.factor(AbsSums::default()),
                    }
                }
            };
            if let Factor::By(factor) = rescale {
                d.scale(&mut delta, factor)?;
            }
            deltas.push(delta);
        }
        let mut mixed = self.combine(d, x.len(), &deltas)?;
        if self.lambda != 1.0 {
            d.scale(&mut mixed, self.lambda)?;
        }
        d.add(&mut mixed, &base)?;
        Ok(mixed)
    }
}

impl Deltas {
    fn combine<D: Device>(&self, d: &D, len: usize, deltas: &[D::Buf]) -> Result<D::Buf, ExecError> {
        if self.combine == Combine::Elect && !deltas.is_empty() {
            let divisor = if self.normalize.is_some() { Divisor::AgreeingWeights } else { Divisor::One };
            return d.elect(deltas, &self.weights, Vote::Weighted, divisor);
        }
        let mut sum = d.zeros(len)?;
        for (w, delta) in self.weights.iter().zip(deltas) {
            d.axpy(&mut sum, *w, delta)?;
        }
        if let Some(divisor) = self.normalize {
            d.divide(&mut sum, divisor)?;
        }
        Ok(sum)
    }
}
