//! The operator behind task arithmetic, TIES, DARE, breadcrumbs and DELLA: differences from a base are thinned out, combined
//! and added back. The methods are rows of the table *which drop × which combination*.
//!
//! Order of operations, which decides the last bit (the same as mergekit's in float32): difference,
//! drop, rescale, weight, sum or vote, divide, lambda, add the base; each rounds to f32.

use super::param::{DELLA_EPSILON, DENSITY, GAMMA, LAMBDA, RESCALE_WORDS, WEIGHT};
use super::weights::{BlockWeight, RowLengths, RowWeights, Weights};
use super::{
    AbsSums, AnyOperator, Args, Band, Block, Invalid, Keep, Measured, Operator, Param, Quantity, RandomDrop,
    Setup, Stat, Then,
};
use crate::device::{Device, Divisor, Draw, LINE, RankedDraw, Vote};
use crate::problem::ExecError;

/// Which elements of a difference are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drop {
    /// None.
    Nothing,
    /// The smallest: `floor(density · n)` elements stay.
    Smallest,
    /// The `floor(gamma · n)` largest, or fewer where `density` leaves no room for that, and of the rest
    /// the smallest: `floor(density · n)` elements stay.
    Outliers,
    /// Random ones: each stays with probability `density`.
    Random,
    /// Random ones: each stays with a probability that rises with its rank among the magnitudes of its
    /// row, from `density - epsilon` to `density + epsilon`.
    Ranked,
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
#[derive(Clone, Debug, PartialEq)]
enum Thin {
    Whole,
    /// A band of magnitudes, between cuts that keep so many.
    Band(Vec<u64>, Rescale),
    Random(RandomDrop, Rescale),
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
    weights: Weights,
    thin: Vec<Thin>,
    grain: usize,
    combine: Combine,
    normalize: bool,
    lambda: f32,
}

/// Sums of weights below this divide by nothing, as in mergekit: they cancel out.
const NOTHING: f32 = 1e-8;

/// The weight of every input, in f32 as the arithmetic uses it; refused where their sum could be beyond it.
pub(super) fn weights(setup: &Setup<'_>) -> Result<Vec<f32>, Invalid> {
    let weights: Vec<f64> = setup.models.iter().map(|m| m.number(&WEIGHT)).collect::<Result<_, _>>()?;
    check_size(weights.iter().map(|w| w.abs()).sum())?;
    Ok(weights.into_iter().map(|w| w as f32).collect())
}

/// Refuses weights whose magnitudes add up to what f32 cannot hold.
pub(super) fn check_size(size: f64) -> Result<(), Invalid> {
    if !(size as f32).is_finite() {
        let what = format!("the weights add up to {size:e}, beyond float32, which ends at {:e}", f32::MAX);
        return Err(Invalid::new(what).hint("take smaller weights"));
    }
    Ok(())
}

/// Builds the operator of a method from its row of the table.
pub(super) fn prepare(
    setup: &Setup<'_>,
    drop: Drop,
    combine: Combine,
    normalize: &'static Param,
    rescale: &'static Param,
) -> Result<Box<dyn AnyOperator>, Invalid> {
    let weights = Weights::of(setup)?;
    let rescale = setup.global.word(rescale, RESCALE_WORDS);
    let thin = setup
        .models
        .iter()
        .enumerate()
        .map(
            |(i, model)| {
                if drop == Drop::Nothing { Ok(Thin::Whole) } else { thin(setup, i, model, drop, rescale) }
            },
        )
        .collect::<Result<Vec<_>, _>>()?;
    let normalize = setup.global.is_on(normalize)?;
    let lambda = setup.global.number(&LAMBDA)? as f32;
    // Ranks are those within a row, and so may weights be.
    let rows = drop == Drop::Ranked || matches!(weights, Weights::Rows(_));
    let grain = if rows { setup.row() } else { LINE };
    Ok(Box::new(Deltas { weights, thin, grain, combine, normalize, lambda }))
}

fn thin(
    setup: &Setup<'_>,
    position: usize,
    model: &Args,
    drop: Drop,
    rescale: &'static str,
) -> Result<Thin, Invalid> {
    let density = model.number(&DENSITY)?;
    if density >= 1.0 {
        return Ok(Thin::Whole);
    }
    let rescale = match rescale {
        "l1" => Rescale::L1,
        "density" if density > 0.0 => Rescale::By((1.0 / density) as f32),
        _ => Rescale::None,
    };
    let key = setup.draw_key(position);
    match drop {
        Drop::Nothing => Ok(Thin::Whole),
        Drop::Random => Ok(Thin::Random(RandomDrop::Even(Draw::new(key, density)), rescale)),
        Drop::Ranked => {
            let epsilon = if density > 0.0 { model.number(&DELLA_EPSILON)? } else { 0.0 };
            if density > 0.0 && (density - epsilon <= 0.0 || density + epsilon >= 1.0) {
                return Err(Invalid::new(format!(
                    "density {density} and epsilon {epsilon}: the chances to stay, from density - epsilon \
                     to density + epsilon, must lie between 0 and 1"
                ))
                .hint(format!("lower `epsilon` below {}", round(density.min(1.0 - density)))));
            }
            let draw = RankedDraw { key, density, epsilon };
            Ok(Thin::Random(RandomDrop::Ranked { draw, width: setup.row() }, rescale))
        }
        Drop::Smallest => Ok(Thin::Band(vec![kept(setup, density)?], rescale)),
        Drop::Outliers => {
            let keep = kept(setup, density)?;
            let outliers = (model.number(&GAMMA)? * setup.elements() as f64) as u64;
            let outliers = outliers.min(setup.elements() - keep);
            let counts = if outliers == 0 { vec![keep] } else { vec![outliers, outliers + keep] };
            Ok(Thin::Band(counts, rescale))
        }
    }
}

/// `floor(density · n)`, if that is any.
fn kept(setup: &Setup<'_>, density: f64) -> Result<u64, Invalid> {
    match (density * setup.elements() as f64) as u64 {
        0 => Err(Invalid::new(format!(
            "density {density} keeps none of a tensor's {} elements",
            setup.elements()
        ))
        .hint(
            "raise `density`, or give small tensors their own with a `filter` (for norms: `filter: norm`)",
        )),
        keep => Ok(keep),
    }
}

/// To six digits, for messages.
fn round(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

impl Operator for Deltas {
    fn needs(&self) -> Vec<Stat> {
        let stat = |(model, thin): (usize, &Thin)| match thin {
            Thin::Band(counts, rescale) => {
                let then = if *rescale == Rescale::L1 { Then::AbsSums } else { Then::Cut };
                Some(Stat::Cuts { of: Quantity::Delta(model), keep: Keep::Counts(counts.clone()), then })
            }
            Thin::Random(drop, Rescale::L1) => Some(Stat::DrawSums { model, drop: *drop }),
            _ => None,
        };
        self.thin.iter().enumerate().filter_map(stat).collect()
    }

    fn grain(&self) -> usize {
        self.grain
    }

    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let base = d.load(x.base())?;
        let mut stats = x.stats.iter();
        let mut deltas = Vec::with_capacity(x.models.len());
        let mut lengths = RowLengths::default();
        for (i, (model, thin)) in x.models.iter().zip(&self.thin).enumerate() {
            let mut delta = d.delta(*model, &base)?;
            if let Weights::Rows(weights) = &self.weights {
                weights.look(d, i, &delta, &mut lengths)?;
            }
            let rescale = match thin {
                Thin::Whole => Factor::One,
                Thin::Band(_, rescale) => {
                    let (cuts, sums) = match stats.next() {
                        Some(Measured::CutSums(cuts, sums)) => (cuts.as_slice(), *sums),
                        Some(Measured::Cuts(cuts)) => (cuts.as_slice(), AbsSums::default()),
                        _ => (&[][..], AbsSums::default()),
                    };
                    Band::of(cuts).apply(d, &mut delta, x.first)?;
                    rescale.factor(sums)
                }
                Thin::Random(drop, rescale) => {
                    drop.apply(d, &mut delta, x.first)?;
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
        let mut mixed = match &self.weights {
            Weights::Numbers(weights) => self.combine(d, x.len(), &deltas, weights)?,
            Weights::Rows(weights) => {
                let (first, rows) = (x.first as usize / self.grain, x.len() / self.grain);
                self.combine_rows(d, deltas, weights, &weights.in_block(first, rows, &lengths), rows)?
            }
        };
        if self.lambda != 1.0 {
            d.scale(&mut mixed, self.lambda)?;
        }
        d.add(&mut mixed, &base)?;
        Ok(mixed)
    }
}

impl Deltas {
    fn divisor(&self) -> Divisor {
        if self.normalize { Divisor::AgreeingWeights } else { Divisor::One }
    }

    fn combine<D: Device>(
        &self,
        d: &D,
        len: usize,
        deltas: &[D::Buf],
        weights: &[f32],
    ) -> Result<D::Buf, ExecError> {
        if self.combine == Combine::Elect && !deltas.is_empty() {
            return d.elect(deltas, weights, Vote::Weighted, self.divisor());
        }
        let mut sum = d.zeros(len)?;
        for (w, delta) in weights.iter().zip(deltas) {
            d.axpy(&mut sum, *w, delta)?;
        }
        if self.normalize {
            let total: f32 = weights.iter().sum();
            d.divide(&mut sum, if total.abs() < NOTHING { 1.0 } else { total })?;
        }
        Ok(sum)
    }

    /// The same where rows have weights of their own.
    fn combine_rows<D: Device>(
        &self,
        d: &D,
        mut deltas: Vec<D::Buf>,
        weights: &RowWeights,
        in_block: &[BlockWeight<'_>],
        rows: usize,
    ) -> Result<D::Buf, ExecError> {
        for (delta, weight) in deltas.iter_mut().zip(in_block) {
            weights.weigh(d, delta, weight)?;
        }
        if self.combine == Combine::Elect && !deltas.is_empty() {
            if !self.normalize {
                return d.elect(&deltas, &vec![1.0; deltas.len()], Vote::Weighted, Divisor::One);
            }
            let spread =
                in_block.iter().map(|w| weights.spread(d, rows, w)).collect::<Result<Vec<_>, _>>()?;
            return d.elect_weighted(&deltas, &spread, self.divisor());
        }
        let mut sum = d.zeros(rows * weights.width())?;
        for delta in &deltas {
            d.add(&mut sum, delta)?;
        }
        if self.normalize {
            d.divide_each(&mut sum, &weights.total(d, rows, in_block)?, NOTHING)?;
        }
        Ok(sum)
    }
}
