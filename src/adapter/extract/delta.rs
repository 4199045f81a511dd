//! The difference of two stored matrices, a block of rows at a time.

use std::ops::Range;

use crate::decoder::matmul::{Old, View, product};
use crate::device::Chunk;
use crate::device::cpu::Cpu;

/// Elements of a block of rows; wider rows make a block each.
const BLOCK: usize = 1 << 18;

/// `Δ = model - base`, `[rows, columns]`, never in memory as a whole. Tall matrices that it is multiplied with
/// are kept lying down: a row for each of their columns.
pub(super) struct Delta<'a> {
    pub(super) model: Chunk<'a>,
    pub(super) base: Chunk<'a>,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) cpu: Cpu,
}

impl Delta<'_> {
    /// Shows every block of rows of `Δ` in order, as f32.
    fn blocks(&self, mut see: impl FnMut(Range<usize>, &mut [f32])) {
        let step = (BLOCK / self.columns.max(1)).max(1);
        let (mut block, mut base) = (Vec::new(), Vec::new());
        for first in (0..self.rows).step_by(step) {
            let rows = first..(first + step).min(self.rows);
            block.resize(rows.len() * self.columns, 0.0);
            base.resize(block.len(), 0.0);
            self.widen(self.model, &rows, &mut block);
            self.widen(self.base, &rows, &mut base);
            self.cpu.add_scaled_values(&mut block, -1.0, &base);
            see(rows, &mut block);
        }
    }

    fn widen(&self, x: Chunk<'_>, rows: &Range<usize>, out: &mut [f32]) {
        let row = self.columns * x.dtype.size();
        self.cpu.widen(Chunk { dtype: x.dtype, bytes: &x.bytes[rows.start * row..rows.end * row] }, out);
    }

    /// `(Δ · xᵀ)ᵀ`: `x` is `[n, columns]`, the result `[n, rows]`.
    pub(super) fn times(&self, x: &[f32]) -> Vec<f32> {
        let n = x.len() / self.columns;
        let mut out = vec![0.0; n * self.rows];
        self.blocks(|rows, block| {
            let block = View::dense(block, rows.len(), self.columns);
            let x = View::dense(x, n, self.columns);
            product(&mut out[rows.start..], self.rows, Old::Replace, 1.0, x, block.t());
        });
        out
    }

    /// `q · Δ`: `q` is `[n, rows]`, the result `[n, columns]`.
    pub(super) fn times_from_left(&self, q: &[f32]) -> Vec<f32> {
        let n = q.len() / self.rows;
        let mut out = vec![0.0; n * self.columns];
        self.blocks(|rows, block| {
            let block = View::dense(block, rows.len(), self.columns);
            let q = View::strided(&q[rows.start..], n, rows.len(), self.rows);
            product(&mut out, self.columns, Old::Add, 1.0, q, block);
        });
        out
    }

    /// `‖Δ - leftᵀ · right‖²`: `left` is `[n, rows]`, `right` `[n, columns]`; the sum in f64.
    pub(super) fn residual(&self, left: &[f32], right: &[f32]) -> f64 {
        let n = right.len() / self.columns;
        let mut sum = 0.0;
        self.blocks(|rows, block| {
            if n > 0 {
                let left = View::strided(&left[rows.start..], n, rows.len(), self.rows).t();
                let right = View::dense(right, n, self.columns);
                product(block, self.columns, Old::Add, -1.0, left, right);
            }
            sum += block.chunks(self.columns.max(1)).map(|row| self.cpu.squares(row)).sum::<f64>();
        });
        sum
    }
}
