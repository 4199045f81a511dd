//! A matrix with a row for each token, made of rows of this model's and of other models' matrices.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::vocabulary::{Row, RowMap};

/// The rows of a matrix, or the elements of a vector with one for each token.
#[derive(Clone, PartialEq)]
pub struct Rows {
    /// Which rows.
    pub map: Arc<RowMap>,
    /// For each model of the map, which of the view's tensors is its; the first is the one that is looked at.
    pub tensors: Vec<Option<usize>>,
    /// Elements in a row.
    pub width: usize,
    /// Whether all tensors are of one type and rows are only copied.
    pub exact: bool,
}

/// Neighbouring elements that come from one place.
#[derive(Debug, PartialEq)]
pub struct Run<'a> {
    /// Where they begin in what was asked for.
    pub at: usize,
    /// How many.
    pub len: usize,
    /// Where they are from.
    pub from: From<'a>,
}

/// A place that elements come from.
#[derive(Debug, PartialEq)]
pub enum From<'a> {
    /// One of the view's tensors, from this element on.
    Tensor(usize, usize),
    /// The mean of these rows, by model and row, from this column on.
    Mean(&'a [(u32, u32)], usize),
    /// Zeros.
    Zero,
    /// The average row, from this column on.
    Average(usize),
}

impl Rows {
    /// The view's tensor of a model.
    pub fn tensor(&self, input: u32) -> usize {
        self.tensors.get(input as usize).copied().flatten().unwrap_or(0)
    }

    /// Whether some row is the average of the others.
    pub fn needs_average(&self) -> bool {
        self.map.rows.contains(&Row::Average)
    }

    /// What a run of elements is made of, in order.
    pub fn runs(&self, elements: Range<usize>) -> impl Iterator<Item = Run<'_>> {
        let mut next = elements.start;
        std::iter::from_fn(move || {
            if next >= elements.end {
                return None;
            }
            let (row, column) = (next / self.width, next % self.width);
            let mut len = (self.width - column).min(elements.end - next);
            let from = match self.map.rows.get(row).copied().unwrap_or(Row::Zero) {
                Row::Own(own) => self.block(0, row, own, column, &mut len, elements.end - next),
                Row::Of { input, row: theirs } => {
                    self.block(self.tensor(input), row, theirs, column, &mut len, elements.end - next)
                }
                Row::Mean(mean) => {
                    From::Mean(self.map.means.get(mean as usize).map_or(&[], Vec::as_slice), column)
                }
                Row::Zero => From::Zero,
                Row::Average => From::Average(column),
            };
            let run = Run { at: next - elements.start, len, from };
            next += len;
            Some(run)
        })
    }

    /// Rows that lie one after the other are one run.
    fn block(
        &self,
        tensor: usize,
        row: usize,
        theirs: u32,
        column: usize,
        len: &mut usize,
        left: usize,
    ) -> From<'_> {
        let follows = |offset: usize| {
            let next = theirs as usize + offset;
            match self.map.rows.get(row + offset).copied() {
                Some(Row::Own(own)) => tensor == 0 && own as usize == next,
                Some(Row::Of { input, row }) => self.tensor(input) == tensor && row as usize == next,
                _ => false,
            }
        };
        let mut offset = 1;
        while *len < left && follows(offset) {
            *len = (*len + self.width).min(left);
            offset += 1;
        }
        From::Tensor(tensor, theirs as usize * self.width + column)
    }
}

/// With every number that decides the elements.
impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows({}, {:?}, {}, {})", self.map.digest(), self.tensors, self.width, self.exact)
    }
}

/// As in `320 rows of its own, 92 of others`.
impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.map.rows.iter().filter(|row| matches!(row, Row::Own(_))).count();
        write!(f, "{own} rows of its own, {} others", self.map.rows.len() - own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_joined_where_rows_are_neighbours_and_cover_every_element_once() {
        let of = |row| Row::Of { input: 1, row };
        let rows =
            vec![Row::Own(0), Row::Own(1), of(7), of(8), Row::Own(2), Row::Zero, Row::Mean(0), Row::Average];
        let map = Arc::new(RowMap { rows, means: Arc::new(vec![vec![(0, 1), (1, 2)]]) });
        let view = Rows { map, tensors: vec![Some(0), Some(1)], width: 3, exact: false };
        let runs: Vec<_> = view.runs(1..24).map(|run| (run.at, run.len, run.from)).collect();
        let means = [(0, 1), (1, 2)];
        assert_eq!(
            runs,
            [
                (0, 5, From::Tensor(0, 1)),
                (5, 6, From::Tensor(1, 21)),
                (11, 3, From::Tensor(0, 6)),
                (14, 3, From::Zero),
                (17, 3, From::Mean(&means, 0)),
                (20, 3, From::Average(0)),
            ]
        );
        let single: Vec<_> = view.runs(7..8).map(|run| run.from).collect();
        assert_eq!(single, [From::Tensor(1, 22)]);
        assert!(view.runs(5..5).next().is_none());
    }
}
