//! The operator behind slerp, nuslerp, multislerp, karcher and model_stock: a linear combination of the
//! inputs, with coefficients that follow from their inner products alone.
//!
//! Whatever such a method does with lengths, angles, means and tangents, its result lies in the span of
//! the inputs. So one pass over the tensor measures the `n × n` Gram matrix, everything else happens on
//! the host in f64 with vectors of `n` coefficients, and the merge is a weighted sum of blocks.

use std::fmt::Debug;

use super::{AnyOperator, Block, Measured, Operator, Stat, Vectors};
use crate::device::{Device, LINE};
use crate::problem::ExecError;

/// Inner products of some vectors.
#[derive(Debug)]
pub(super) struct Gram {
    n: usize,
    /// The upper triangle, row by row.
    triangle: Vec<f64>,
}

impl Gram {
    /// How many vectors.
    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// `xᵢ · xⱼ`
    pub(super) fn dot(&self, i: usize, j: usize) -> f64 {
        let (i, j) = (i.min(j), i.max(j));
        let row = i * self.n - i * i.saturating_sub(1) / 2;
        self.triangle.get(row + j - i).copied().unwrap_or_default()
    }

    /// `|xᵢ|`
    pub(super) fn length(&self, i: usize) -> f64 {
        self.dot(i, i).sqrt()
    }

    /// Every length.
    pub(super) fn lengths(&self) -> Vec<f64> {
        (0..self.n).map(|i| self.length(i)).collect()
    }

    /// `xᵢ · Σ aⱼ·xⱼ`
    pub(super) fn along(&self, i: usize, a: &[f64]) -> f64 {
        a.iter().enumerate().map(|(j, a)| a * self.dot(i, j)).sum()
    }

    /// `|Σ aᵢ·xᵢ|`
    pub(super) fn length_of(&self, a: &[f64]) -> f64 {
        let square: f64 = a.iter().enumerate().map(|(i, x)| x * self.along(i, a)).sum();
        square.max(0.0).sqrt() // of vectors that cancel out, rounding may leave less than nothing
    }
}

/// What a method of this family is.
pub(super) trait Weigh: Debug + Send + Sync + 'static {
    /// A coefficient for each vector.
    fn weigh(&self, gram: &Gram) -> Vec<f64>;
}

/// What counts as one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The whole tensor.
    Tensor,
    /// Each row of this many elements.
    Rows(usize),
    /// Each of this many columns.
    Columns(usize),
}

/// A method of the family with its parameters.
#[derive(Debug)]
pub(super) struct Combination<W> {
    pub(super) of: Vectors,
    pub(super) extent: Extent,
    pub(super) weigh: W,
}

impl<W: Weigh> Combination<W> {
    /// Boxed, as `prepare` returns it.
    pub(super) fn boxed(of: Vectors, extent: Extent, weigh: W) -> Box<dyn AnyOperator> {
        Box::new(Self { of, extent, weigh })
    }

    /// For each vector the coefficients of all rows or columns; `pairs` are the inner products of each
    /// pair of the upper triangle.
    fn each(&self, pairs: &[Vec<f64>]) -> Vec<Vec<f32>> {
        let count = pairs.first().map_or(0, Vec::len);
        // n·(n+1)/2 pairs of n vectors.
        let n = (0..).find(|n| n * (n + 1) / 2 >= pairs.len()).unwrap_or_default();
        let mut factors = vec![Vec::with_capacity(count); n];
        for i in 0..count {
            let triangle = pairs.iter().map(|p| p.get(i).copied().unwrap_or_default()).collect();
            let weights = self.weigh.weigh(&Gram { n, triangle });
            for (factors, w) in factors.iter_mut().zip(weights) {
                factors.push(w as f32);
            }
        }
        factors
    }
}

impl<W: Weigh> Operator for Combination<W> {
    fn needs(&self) -> Vec<Stat> {
        match self.extent {
            Extent::Tensor => vec![Stat::Gram(self.of)],
            Extent::Columns(width) => vec![Stat::ColumnGram { of: self.of, width }],
            Extent::Rows(_) => Vec::new(), // a block holds whole rows
        }
    }

    fn grain(&self) -> usize {
        match self.extent {
            Extent::Tensor => LINE,
            Extent::Rows(width) | Extent::Columns(width) => width,
        }
    }

    fn settle(&self, measured: Vec<Measured>) -> Vec<Measured> {
        let settle = |measured| match measured {
            Measured::Gram(triangle) => {
                Measured::Factors(self.each(&triangle.into_iter().map(|x| vec![x]).collect::<Vec<_>>()))
            }
            Measured::ColumnGram(pairs) => Measured::Factors(self.each(&pairs)),
            other => other,
        };
        measured.into_iter().map(settle).collect()
    }

    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let base = match self.of {
            Vectors::Models => None,
            Vectors::Deltas => Some(d.load(x.base())?),
        };
        let mut sum = d.zeros(x.len())?;
        let settled = match x.stats.first() {
            Some(Measured::Factors(factors)) => factors.as_slice(),
            _ => &[],
        };
        if self.extent == Extent::Tensor {
            for (factors, model) in settled.iter().zip(x.models) {
                let factor = factors.first().copied().unwrap_or_default();
                match &base {
                    None => d.add_scaled(&mut sum, factor, *model)?,
                    Some(base) => d.axpy(&mut sum, factor, &d.delta(*model, base)?)?,
                }
            }
        } else {
            let mut vectors = super::vectors(d, x.models, base.as_ref())?;
            let own;
            let factors = match self.extent {
                Extent::Rows(width) => {
                    own = self.each(&super::pairs(&vectors, |a, b| d.line_dots(a, b, width))?);
                    &own
                }
                _ => settled,
            };
            for (factors, vector) in factors.iter().zip(&mut vectors) {
                match self.extent {
                    Extent::Columns(_) => d.scale_columns(vector, factors)?,
                    Extent::Rows(width) => d.scale_rows(vector, width, factors)?,
                    Extent::Tensor => {}
                }
                d.add(&mut sum, vector)?;
            }
        }
        if let Some(base) = &base {
            d.add(&mut sum, base)?;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triangle_is_read_row_by_row() {
        // x = (1, 0), y = (1, 1), z = (0, 2)
        let gram = Gram { n: 3, triangle: vec![1.0, 1.0, 0.0, 2.0, 2.0, 4.0] };
        for (i, j, want) in [(0, 0, 1.0), (1, 0, 1.0), (0, 2, 0.0), (1, 1, 2.0), (2, 1, 2.0), (2, 2, 4.0)] {
            assert_eq!(gram.dot(i, j), want, "{i} {j}");
        }
        assert_eq!(gram.along(1, &[1.0, 1.0, 1.0]), 5.0);
        assert_eq!(gram.length_of(&[1.0, -1.0, 0.5]), 0.0);
    }
}
