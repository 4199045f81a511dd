//! The CPU device: blocks that fit the cache, kernels as wide as the machine's vectors.

mod host;
mod solve;

use std::cell::RefCell;

use super::ranks;
use super::simd::{self, Level};
use super::{
    Chunk, Cut, Device, Divisor, Draw, Finiteness, Importance, Outside, Overlap, RankedDraw, Vote, Window,
};

use crate::checkpoint::DType;
use crate::problem::ExecError;

pub use solve::LANES_OF_ROWS;

/// Elements in a block. A merge of six models holds about eight blocks at once: 8 × 64 KiB stay in
/// a core's second-level cache.
pub const BLOCK_ELEMENTS: usize = 16 * 1024;

/// Blocks that a thread keeps for reuse: a method holds a few at a time, and allocating each anew
/// would cost more than most kernels.
const POOLED: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A CPU. Cheap to copy; threads share one.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    level: Level,
    block_elements: usize,
}

impl Cpu {
    /// With the widest vectors of this machine.
    pub fn new() -> Self {
        Self { level: Level::detect(), block_elements: BLOCK_ELEMENTS }
    }

    /// Its vectors, by the name of the instructions.
    pub fn vectors(self) -> &'static str {
        match self.level {
            Level::Plain => "no wider vectors than the build's",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "AVX-512",
        }
    }

    /// The same with blocks of `block_elements`; results do not depend on it.
    #[must_use]
    pub fn with_block_elements(self, block_elements: usize) -> Self {
        Self { block_elements: block_elements.max(1), ..self }
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

/// A block of f32 that goes back to its thread's pool.
#[derive(Debug)]
pub struct CpuBuf(Vec<f32>);

impl CpuBuf {
    fn zeros(len: usize) -> Self {
        let mut x = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
        x.clear();
        x.resize(len, 0.0);
        Self(x)
    }

    /// Old contents are left where they are, for kernels that overwrite every element.
    fn unset(len: usize) -> Self {
        let mut x = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
        x.resize(len, 0.0);
        Self(x)
    }

    /// The values.
    pub fn values(&self) -> &[f32] {
        &self.0
    }
}

impl Drop for CpuBuf {
    fn drop(&mut self) {
        let x = std::mem::take(&mut self.0);
        POOL.with_borrow_mut(|pool| {
            if pool.len() < POOLED {
                pool.push(x);
            }
        });
    }
}

/// Methods only merge tensors of these dtypes; the plan refuses others.
fn not_a_float(dtype: DType) -> ExecError {
    ExecError::NoArithmetic { dtype: dtype.name() }
}

/// How many elements of a block that begins at `first` lie at the cut's last index or before.
fn before(cut: Cut, first: u64) -> usize {
    usize::try_from(cut.last.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX)
}

fn slices(x: &[CpuBuf]) -> Vec<&[f32]> {
    x.iter().map(CpuBuf::values).collect()
}

fn length(x: &[CpuBuf]) -> usize {
    x.first().map_or(0, |x| x.0.len())
}

impl Device for Cpu {
    type Buf = CpuBuf;

    fn block_elements(&self) -> usize {
        self.block_elements
    }

    fn zeros(&self, len: usize) -> Result<CpuBuf, ExecError> {
        Ok(CpuBuf::zeros(len))
    }

    fn load(&self, x: Chunk<'_>) -> Result<CpuBuf, ExecError> {
        if !x.dtype.is_mergeable() {
            return Err(not_a_float(x.dtype));
        }
        let mut out = CpuBuf::unset(x.len());
        self.widen(x, &mut out.0);
        Ok(out)
    }

    fn delta(&self, x: Chunk<'_>, base: &CpuBuf) -> Result<CpuBuf, ExecError> {
        let mut out = CpuBuf::unset(x.len());
        match x.dtype {
            DType::BF16 => simd::delta_bf16(self.level, x.bytes, &base.0, &mut out.0),
            DType::F16 => simd::delta_f16(self.level, x.bytes, &base.0, &mut out.0),
            DType::F32 => simd::delta_f32(self.level, x.bytes, &base.0, &mut out.0),
            DType::F64 => simd::delta_f64(self.level, x.bytes, &base.0, &mut out.0),
            other => return Err(not_a_float(other)),
        }
        Ok(out)
    }

    fn add_scaled(&self, acc: &mut CpuBuf, w: f32, x: Chunk<'_>) -> Result<(), ExecError> {
        match x.dtype {
            DType::BF16 => simd::add_scaled_bf16(self.level, x.bytes, w, &mut acc.0),
            DType::F16 => simd::add_scaled_f16(self.level, x.bytes, w, &mut acc.0),
            DType::F32 => simd::add_scaled_f32(self.level, x.bytes, w, &mut acc.0),
            DType::F64 => simd::add_scaled_f64(self.level, x.bytes, w, &mut acc.0),
            other => return Err(not_a_float(other)),
        }
        Ok(())
    }

    fn axpy(&self, acc: &mut CpuBuf, w: f32, x: &CpuBuf) -> Result<(), ExecError> {
        simd::axpy(self.level, &mut acc.0, w, &x.0);
        Ok(())
    }

    fn scale(&self, x: &mut CpuBuf, factor: f32) -> Result<(), ExecError> {
        simd::scale(self.level, &mut x.0, factor);
        Ok(())
    }

    fn divide(&self, x: &mut CpuBuf, divisor: f32) -> Result<(), ExecError> {
        simd::divide(self.level, &mut x.0, divisor);
        Ok(())
    }

    fn add(&self, acc: &mut CpuBuf, x: &CpuBuf) -> Result<(), ExecError> {
        simd::add(self.level, &mut acc.0, &x.0);
        Ok(())
    }

    fn scale_rows(&self, x: &mut CpuBuf, width: usize, factors: &[f32]) -> Result<(), ExecError> {
        for (row, factor) in x.0.chunks_mut(width).zip(factors) {
            simd::scale(self.level, row, *factor);
        }
        Ok(())
    }

    fn scale_columns(&self, x: &mut CpuBuf, factors: &[f32]) -> Result<(), ExecError> {
        for row in x.0.chunks_mut(factors.len().max(1)) {
            simd::multiply(self.level, row, factors);
        }
        Ok(())
    }

    fn repeat_rows(&self, values: &[f32], width: usize) -> Result<CpuBuf, ExecError> {
        let mut out = CpuBuf::unset(values.len() * width);
        for (row, value) in out.0.chunks_mut(width.max(1)).zip(values) {
            row.fill(*value);
        }
        Ok(out)
    }

    fn divide_each(&self, x: &mut CpuBuf, y: &CpuBuf, least: f32) -> Result<(), ExecError> {
        simd::divide_each(self.level, &mut x.0, &y.0, least);
        Ok(())
    }

    fn line_dots(&self, x: &CpuBuf, y: &CpuBuf, line: usize) -> Result<Vec<f64>, ExecError> {
        Ok(x.0.chunks(line).zip(y.0.chunks(line)).map(|(x, y)| simd::dot(self.level, x, y)).collect())
    }

    fn add_column_dots(&self, x: &CpuBuf, y: &CpuBuf, sums: &mut [f64]) -> Result<(), ExecError> {
        let width = sums.len().max(1);
        for (x, y) in x.0.chunks(width).zip(y.0.chunks(width)) {
            simd::add_products(self.level, x, y, sums);
        }
        Ok(())
    }

    fn line_abs_sums(&self, x: &CpuBuf, line: usize) -> Result<Vec<f64>, ExecError> {
        Ok(x.0.chunks(line).map(|x| simd::abs_sum(self.level, x)).collect())
    }

    fn abs_counts(&self, x: &CpuBuf, window: Window, bins: &mut [u32]) -> Result<Outside, ExecError> {
        Ok(simd::abs_counts(self.level, &x.0, window, bins))
    }

    fn equal_counts(&self, x: &CpuBuf, key: u32, line: usize) -> Result<Vec<u32>, ExecError> {
        Ok(x.0.chunks(line).map(|x| simd::equal_count(self.level, x, key)).collect())
    }

    fn keep_largest(&self, x: &mut CpuBuf, cut: Cut, first: u64) -> Result<(), ExecError> {
        simd::keep_largest(self.level, &mut x.0, cut.key, before(cut, first));
        Ok(())
    }

    fn drop_largest(&self, x: &mut CpuBuf, cut: Cut, first: u64) -> Result<(), ExecError> {
        simd::drop_largest(self.level, &mut x.0, cut.key, before(cut, first));
        Ok(())
    }

    fn keep_where(&self, x: &mut CpuBuf, mask: &CpuBuf) -> Result<(), ExecError> {
        simd::keep_where(self.level, &mut x.0, &mask.0);
        Ok(())
    }

    fn keep_random(&self, x: &mut CpuBuf, draw: Draw, first: u64) -> Result<(), ExecError> {
        simd::keep_random(self.level, &mut x.0, draw, first);
        Ok(())
    }

    fn keep_ranked(
        &self,
        x: &mut CpuBuf,
        width: usize,
        draw: RankedDraw,
        first: u64,
    ) -> Result<(), ExecError> {
        let mut ranks = ranks::Dropper::new(self.level, width, draw);
        let mut at = first;
        for row in x.0.chunks_mut(width.max(1)) {
            ranks.thin(row, at);
            at += row.len() as u64;
        }
        Ok(())
    }

    fn elect(
        &self,
        deltas: &[CpuBuf],
        weights: &[f32],
        vote: Vote,
        divisor: Divisor,
    ) -> Result<CpuBuf, ExecError> {
        let mut out = CpuBuf::unset(length(deltas));
        simd::elect(self.level, &slices(deltas), weights, vote, divisor, &mut out.0);
        Ok(out)
    }

    fn elect_weighted(
        &self,
        weighted: &[CpuBuf],
        weights: &[CpuBuf],
        divisor: Divisor,
    ) -> Result<CpuBuf, ExecError> {
        let mut out = CpuBuf::unset(length(weighted));
        simd::elect_weighted(self.level, &slices(weighted), &slices(weights), divisor, &mut out.0);
        Ok(out)
    }

    fn variance(&self, x: &[CpuBuf]) -> Result<CpuBuf, ExecError> {
        let mut out = CpuBuf::unset(length(x));
        simd::variance(self.level, &slices(x), &mut out.0);
        Ok(out)
    }

    fn mean_by_importance(
        &self,
        x: &[CpuBuf],
        importance: &[CpuBuf],
        by: &Importance,
    ) -> Result<CpuBuf, ExecError> {
        let mut out = CpuBuf::unset(length(x));
        simd::mean_by_importance(self.level, &slices(x), &slices(importance), by, &mut out.0);
        Ok(out)
    }

    fn near_swap(&self, x: &mut CpuBuf, y: &CpuBuf, t: f32) -> Result<(), ExecError> {
        simd::near_swap(self.level, &mut x.0, &y.0, t);
        Ok(())
    }

    fn pool(&self, deltas: &[CpuBuf], epsilon: f32, alone: &[f32]) -> Result<CpuBuf, ExecError> {
        let mut out = CpuBuf::unset(length(deltas));
        simd::pool(self.level, &slices(deltas), epsilon, alone, &mut out.0);
        Ok(out)
    }

    fn overlaps(&self, deltas: &[CpuBuf], epsilon: f32) -> Result<Vec<Overlap>, ExecError> {
        let mut counts = vec![Overlap::default(); deltas.len()];
        simd::overlaps(self.level, &slices(deltas), epsilon, &mut counts);
        Ok(counts)
    }

    fn row_divergences(&self, x: &CpuBuf, y: &CpuBuf, width: usize) -> Result<Vec<f64>, ExecError> {
        let (mut p, mut q) = (vec![0.0; width], vec![0.0; width]);
        let rows = x.0.chunks(width.max(1)).zip(y.0.chunks(width.max(1)));
        Ok(rows.map(|(x, y)| simd::divergence(self.level, x, y, &mut p, &mut q)).collect())
    }

    fn store(&self, x: &CpuBuf, dtype: DType, out: &mut [u8]) -> Result<Finiteness, ExecError> {
        Ok(match dtype {
            DType::BF16 => simd::store_bf16(self.level, &x.0, out),
            DType::F16 => simd::store_f16(self.level, &x.0, out),
            DType::F32 => simd::store_f32(self.level, &x.0, out),
            DType::F64 => simd::store_f64(self.level, &x.0, out),
            other => return Err(not_a_float(other)),
        })
    }
}

#[cfg(test)]
mod tests;
