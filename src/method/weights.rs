//! Weights of a tensor's inputs: numbers, or factors of its rows and columns.
//!
//! A weighted element is `(row · x) · column`, an element's weight `row · column`; each product rounds. So a factor that is the
//! same for all rows gives the bytes that the number gives.

use super::param::WEIGHT;
use super::{Arg, Factors, Invalid, NormShare, Setup};
use crate::device::{Device, power};
use crate::problem::ExecError;

/// The weights of all inputs, in f32 as the arithmetic uses them.
#[derive(Clone, Debug)]
pub(super) enum Weights {
    /// A number for each.
    Numbers(Vec<f32>),
    /// Some by row.
    Rows(RowWeights),
}

#[derive(Clone, Debug)]
pub(super) struct RowWeights {
    each: Vec<Weight>,
    /// Elements in a row.
    width: usize,
    of_columns: bool,
}

#[derive(Clone, Debug)]
enum Weight {
    Number(f32),
    Factors(Factors),
    Norms(NormShare),
}

/// An input's weight in a block of whole rows.
#[derive(Debug)]
pub(super) enum BlockWeight<'a> {
    Number(f32),
    Factors { rows: Vec<f32>, columns: &'a [f32] },
}

/// Of each input that is weighed by its differences, in order: what its weights add up to with the others', and the power of
/// the length of each row.
#[derive(Debug, Default)]
pub(super) struct RowLengths(Vec<(f64, Vec<f64>)>);

impl RowLengths {
    /// The weight of each row: its share of all, and none of a row that nobody has changed.
    fn shares(&self, rows: usize) -> Vec<Vec<f32>> {
        let at = |of: &[f64], row: usize| of.get(row).copied().unwrap_or_default();
        let totals: Vec<f64> = (0..rows).map(|row| self.0.iter().map(|(_, of)| at(of, row)).sum()).collect();
        let share = |(scale, of): &(f64, Vec<f64>)| {
            let share = |(row, total): (usize, &f64)| match total {
                total if *total > 0.0 => (scale * (at(of, row) / total)) as f32,
                _ => 0.0,
            };
            totals.iter().enumerate().map(share).collect()
        };
        self.0.iter().map(share).collect()
    }
}

impl Weights {
    /// Refused where their sum could be beyond f32.
    pub(super) fn of(setup: &Setup<'_>) -> Result<Self, Invalid> {
        let numbers =
            setup.models.iter().all(|m| !matches!(m.get(&WEIGHT), Some(Arg::Factors(_) | Arg::Norms { .. })));
        if numbers {
            return super::deltas::weights(setup).map(Self::Numbers);
        }
        let width = setup.row();
        let rows = (setup.elements() as usize).div_ceil(width);
        let mut each = Vec::new();
        let mut size = 0.0;
        for model in setup.models {
            let weight = match model.get(&WEIGHT) {
                Some(Arg::Factors(factors)) => {
                    if !factors.fit(rows, width) {
                        return Err(Invalid::new("the factors are for a tensor of another shape"));
                    }
                    size += factors.size();
                    Weight::Factors(factors.clone())
                }
                Some(Arg::Norms { norms }) => {
                    size += norms.scale.abs();
                    Weight::Norms(*norms)
                }
                _ => {
                    let number = model.number(&WEIGHT)?;
                    size += number.abs();
                    Weight::Number(number as f32)
                }
            };
            each.push(weight);
        }
        super::deltas::check_size(size)?;
        let of_columns =
            each.iter().any(|w| matches!(w, Weight::Factors(f) if !f.column_factors().is_empty()));
        Ok(Self::Rows(RowWeights { each, width, of_columns }))
    }
}

impl RowWeights {
    /// Elements in a row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether some weights depend on the inputs' differences.
    pub(super) fn needs_differences(&self) -> bool {
        self.each.iter().any(|w| matches!(w, Weight::Norms(_)))
    }

    /// Where the weights sum to zero, in words: a row, or an element of it where columns have factors of their own. Nothing
    /// is known of weights that depend on the inputs' differences.
    pub(super) fn zero_sum(&self, rows: usize) -> Option<String> {
        if self.needs_differences() {
            return None;
        }
        let each = self.in_block(0, rows, &RowLengths::default());
        let row_factor = |weight: &BlockWeight<'_>, row: usize| match weight {
            BlockWeight::Number(w) => f64::from(*w),
            BlockWeight::Factors { rows, .. } => rows.get(row).copied().map_or(0.0, f64::from),
        };
        let column_factor = |weight: &BlockWeight<'_>, column: usize| match weight {
            BlockWeight::Factors { columns, .. } => columns.get(column).copied().map_or(1.0, f64::from),
            BlockWeight::Number(_) => 1.0,
        };
        let columns = if self.of_columns { self.width } else { 1 };
        let of_columns: Vec<Vec<f64>> =
            each.iter().map(|weight| (0..columns).map(|c| column_factor(weight, c)).collect()).collect();
        for row in 0..rows {
            let of_row: Vec<f64> = each.iter().map(|weight| row_factor(weight, row)).collect();
            for column in 0..columns {
                let (mut sum, mut size) = (0.0, 0.0);
                for (row, columns) in of_row.iter().zip(&of_columns) {
                    let weight = row * columns.get(column).copied().unwrap_or(1.0);
                    sum += weight;
                    size += weight.abs();
                }
                if !super::linear::is_divisor(sum, size) {
                    let column = if self.of_columns { format!(", column {column},") } else { String::new() };
                    return Some(format!("the weights of row {row}{column} sum to zero"));
                }
            }
        }
        None
    }

    /// Whether a factor is below zero.
    pub(super) fn has_negative(&self) -> bool {
        self.each.iter().any(|weight| match weight {
            Weight::Number(w) => *w < 0.0,
            Weight::Factors(f) => f.row_factors().iter().chain(f.column_factors()).any(|x| *x < 0.0),
            Weight::Norms(share) => share.scale < 0.0,
        })
    }

    /// Looks at a block of an input's differences, if its weights depend on them.
    pub(super) fn look<D: Device>(
        &self,
        d: &D,
        input: usize,
        x: &D::Buf,
        lengths: &mut RowLengths,
    ) -> Result<(), ExecError> {
        if let Some(Weight::Norms(NormShare { power: p, scale })) = self.each.get(input) {
            let squares = d.line_dots(x, x, self.width)?;
            lengths.0.push((*scale, squares.into_iter().map(|s| power(s.sqrt(), *p)).collect()));
        }
        Ok(())
    }

    /// The weights of a block whose first row is `first`, when all differences were looked at.
    pub(super) fn in_block(&self, first: usize, rows: usize, lengths: &RowLengths) -> Vec<BlockWeight<'_>> {
        let mut shares = lengths.shares(rows).into_iter();
        let weight = |weight| match weight {
            &Weight::Number(w) => BlockWeight::Number(w),
            Weight::Factors(factors) => {
                BlockWeight::Factors { rows: factors.of_rows(first, rows), columns: factors.column_factors() }
            }
            Weight::Norms(_) => {
                BlockWeight::Factors { rows: shares.next().unwrap_or_default(), columns: &[] }
            }
        };
        self.each.iter().map(weight).collect()
    }

    /// Weighs a block.
    pub(super) fn weigh<D: Device>(
        &self,
        d: &D,
        x: &mut D::Buf,
        weight: &BlockWeight<'_>,
    ) -> Result<(), ExecError> {
        match weight {
            BlockWeight::Number(w) => d.scale(x, *w),
            BlockWeight::Factors { rows, columns } => {
                d.scale_rows(x, self.width, rows)?;
                if columns.is_empty() { Ok(()) } else { d.scale_columns(x, columns) }
            }
        }
    }

    /// The weight of every element of a block of so many rows.
    pub(super) fn spread<D: Device>(
        &self,
        d: &D,
        rows: usize,
        weight: &BlockWeight<'_>,
    ) -> Result<D::Buf, ExecError> {
        match weight {
            BlockWeight::Number(w) => d.repeat_rows(&vec![*w; rows], self.width),
            BlockWeight::Factors { rows, columns } => {
                let mut spread = d.repeat_rows(rows, self.width)?;
                if !columns.is_empty() {
                    d.scale_columns(&mut spread, columns)?;
                }
                Ok(spread)
            }
        }
    }

    /// The sum of the weights of every element.
    pub(super) fn total<D: Device>(
        &self,
        d: &D,
        rows: usize,
        weights: &[BlockWeight<'_>],
    ) -> Result<D::Buf, ExecError> {
        let mut total = d.zeros(rows * self.width)?;
        for weight in weights {
            d.add(&mut total, &self.spread(d, rows, weight)?)?;
        }
        Ok(total)
    }
}
