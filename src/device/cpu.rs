//! The CPU device: blocks that fit the cache, kernels as wide as the machine's vectors.

use std::cell::RefCell;

use super::simd::{self, Level};
use super::{Chunk, Cut, Device, Divisor, Draw, Finiteness, Outside, Window};
use crate::checkpoint::DType;
use crate::problem::ExecError;

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

    /// The same with blocks of `block_elements`; results do not depend on it.
    #[must_use]
    pub fn with_block_elements(self, block_elements: usize) -> Self {
        Self { block_elements: block_elements.max(1), ..self }
    }

    /// Whether a run of stored elements holds only numbers. Not a device primitive: inputs are
    /// checked where they are read, on the host.
    pub fn finite(&self, x: Chunk<'_>) -> Finiteness {
        match x.dtype {
            DType::BF16 => simd::finite_bf16(self.level, x.bytes),
            DType::F16 => simd::finite_f16(self.level, x.bytes),
            DType::F32 => simd::finite_f32(self.level, x.bytes),
            DType::F64 => simd::finite_f64(self.level, x.bytes),
            _ => Finiteness::Finite,
        }
    }

    /// Stored elements as f32, into as many elements of `out`. Types without arithmetic leave it as it is.
    pub fn widen(&self, x: Chunk<'_>, out: &mut [f32]) {
        match x.dtype {
            DType::BF16 => simd::load_bf16(self.level, x.bytes, out),
            DType::F16 => simd::load_f16(self.level, x.bytes, out),
            DType::F32 => simd::load_f32(self.level, x.bytes, out),
            DType::F64 => simd::load_f64(self.level, x.bytes, out),
            _ => {}
        }
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

    fn line_dots(&self, x: &CpuBuf, y: &CpuBuf, line: usize) -> Result<Vec<f64>, ExecError> {
        Ok(x.0.chunks(line).zip(y.0.chunks(line)).map(|(x, y)| simd::dot(self.level, x, y)).collect())
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
        let equal_until = cut.last.saturating_add(1).saturating_sub(first);
        let equal_until = usize::try_from(equal_until).unwrap_or(usize::MAX);
        simd::keep_largest(self.level, &mut x.0, cut.key, equal_until);
        Ok(())
    }

    fn keep_random(&self, x: &mut CpuBuf, draw: Draw, first: u64) -> Result<(), ExecError> {
        simd::keep_random(self.level, &mut x.0, draw, first);
        Ok(())
    }

    fn elect(&self, deltas: &[CpuBuf], weights: &[f32], divisor: Divisor) -> Result<CpuBuf, ExecError> {
        let mut out = CpuBuf::unset(deltas.first().map_or(0, |d| d.0.len()));
        let deltas: Vec<&[f32]> = deltas.iter().map(CpuBuf::values).collect();
        simd::elect(self.level, &deltas, weights, divisor, &mut out.0);
        Ok(out)
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
mod tests {
    use super::*;
    use crate::device::{LINE, philox};

    /// Values with a prime period, so that swapped blocks would show, with zeros, ties and subnormals.
    fn pattern(len: usize, period: usize) -> Vec<f32> {
        (0..len)
            .map(|i| match i % period {
                0 => 0.0,
                1 => f32::from_bits(3),
                r if r % 3 == 0 => -0.25 * (r / 3 % 5) as f32,
                r => (r as f32 - period as f32 / 2.0) * 1.37e-3,
            })
            .collect()
    }

    fn bytes(x: &[f32]) -> Vec<u8> {
        x.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn devices() -> Vec<Cpu> {
        Level::all().into_iter().map(|level| Cpu { level, ..Cpu::new() }).collect()
    }

    fn buf(d: &Cpu, x: &[f32]) -> CpuBuf {
        d.load(Chunk { dtype: DType::F32, bytes: &bytes(x) }).unwrap()
    }

    /// 16 + 8 + … + 1 elements visit every tail of a vector loop.
    const LENGTHS: [usize; 7] = [0, 1, 31, 63, 64, 1000, LINE + 127];

    #[test]
    fn every_bf16_and_f16_converts_as_the_half_crate_does_and_back() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for d in devices() {
            let b = d.load(Chunk { dtype: DType::BF16, bytes: &all }).unwrap();
            let h = d.load(Chunk { dtype: DType::F16, bytes: &all }).unwrap();
            for bits in 0..=u16::MAX {
                let (b, h) = (b.values()[bits as usize], h.values()[bits as usize]);
                let (want_b, want_h) =
                    (half::bf16::from_bits(bits).to_f32(), half::f16::from_bits(bits).to_f32());
                assert!(b.to_bits() == want_b.to_bits() || b.is_nan() && want_b.is_nan(), "{bits:04x}");
                assert!(h.to_bits() == want_h.to_bits() || h.is_nan() && want_h.is_nan(), "{bits:04x}");
            }
            let mut back = vec![0; all.len()];
            d.store(&b, DType::BF16, &mut back).unwrap();
            let quiet = |x: &[u8], nan: u16| {
                let x = u16::from_le_bytes([x[0], x[1]]);
                if x & 0x7fff > nan { None } else { Some(x) }
            };
            for (a, b) in all.chunks(2).zip(back.chunks(2)) {
                assert_eq!(quiet(a, 0x7f80), quiet(b, 0x7f80));
            }
            d.store(&h, DType::F16, &mut back).unwrap();
            for (a, b) in all.chunks(2).zip(back.chunks(2)) {
                assert_eq!(quiet(a, 0x7c00), quiet(b, 0x7c00));
            }
        }
    }

    #[test]
    fn storing_rounds_as_the_half_crate_does() {
        // Every exponent with the mantissas around a tie, for both narrow types.
        let mut x = vec![0.0, f32::INFINITY, f32::NAN, 65519.99, 65520.0, 3.4e38];
        for e in 0..=254u32 {
            for m in [0, 0x0fff, 0x1000, 0x1001, 0x3000, 0x7fff, 0x8000, 0x8001, 0x1_8000, 0x7f_ffff] {
                x.push(f32::from_bits(e << 23 | m));
                x.push(-f32::from_bits(e << 23 | m));
            }
        }
        for d in devices() {
            let b = buf(&d, &x);
            let (mut bf16, mut f16) = (vec![0; 2 * x.len()], vec![0; 2 * x.len()]);
            assert_eq!(d.store(&b, DType::BF16, &mut bf16).unwrap(), Finiteness::NonFinite);
            assert_eq!(d.store(&b, DType::F16, &mut f16).unwrap(), Finiteness::NonFinite);
            for (i, x) in x.iter().enumerate() {
                let b = half::bf16::from_le_bytes([bf16[2 * i], bf16[2 * i + 1]]);
                let h = half::f16::from_le_bytes([f16[2 * i], f16[2 * i + 1]]);
                assert!(b == half::bf16::from_f32(*x) || x.is_nan() && b.is_nan(), "{x:e}");
                assert!(h == half::f16::from_f32(*x) || x.is_nan() && h.is_nan(), "{x:e}");
            }
        }
    }

    #[test]
    fn all_levels_agree_with_the_plain_one() {
        let plain = Cpu { level: Level::Plain, ..Cpu::new() };
        for d in devices() {
            for len in LENGTHS {
                let (x, y, z) = (pattern(len, 101), pattern(len, 89), pattern(len, 97));
                let run = |d: &Cpu| {
                    let mut out = Vec::new();
                    let (bx, by, bz) = (buf(d, &x), buf(d, &y), buf(d, &z));
                    let mut sum = buf(d, &x);
                    d.axpy(&mut sum, 0.3, &by).unwrap();
                    d.add_scaled(&mut sum, -1.7, Chunk { dtype: DType::F32, bytes: &bytes(&z) }).unwrap();
                    d.divide(&mut sum, 3.0).unwrap();
                    d.scale(&mut sum, 1.1).unwrap();
                    out.extend(bytes(sum.values()));
                    let mut dropped = buf(d, &x);
                    d.keep_random(&mut dropped, Draw::new(99, 0.4), 17).unwrap();
                    out.extend(bytes(dropped.values()));
                    let mut bins = vec![0; Window::ALL.bins];
                    let above = d.abs_counts(&bx, Window::ALL, &mut bins).unwrap();
                    out.extend(above.above.to_le_bytes());
                    out.extend(above.residue.to_le_bytes());
                    out.extend(bins.iter().flat_map(|b| b.to_le_bytes()));
                    out.extend(d.line_dots(&bx, &by, 300).unwrap().iter().flat_map(|x| x.to_le_bytes()));
                    out.extend(d.line_abs_sums(&bx, 300).unwrap().iter().flat_map(|x| x.to_le_bytes()));
                    let vote = d.elect(&[bx, by, bz], &[0.5, 1.0, -0.2], Divisor::AgreeingWeights).unwrap();
                    out.extend(bytes(vote.values()));
                    out
                };
                assert_eq!(run(&d), run(&plain), "{d:?} {len}");
            }
        }
    }

    #[test]
    fn random_drop_is_the_same_from_any_starting_point() {
        let d = Cpu::new();
        let draw = Draw::new(philox::key(5, "t", 1), 0.5);
        let ones = vec![1.0; 1000];
        let mut whole = buf(&d, &ones);
        d.keep_random(&mut whole, draw, 0).unwrap();
        for (start, end) in [(0, 1), (1, 2), (3, 70), (63, 65), (64, 200), (129, 1000)] {
            let mut part = buf(&d, &ones[start..end]);
            d.keep_random(&mut part, draw, start as u64).unwrap();
            assert_eq!(part.values(), &whole.values()[start..end]);
        }
        let kept = whole.values().iter().filter(|x| **x != 0.0).count();
        assert!((400..600).contains(&kept), "{kept}");
        for (density, want) in [(0.0, 0.0), (1.0, 1.0)] {
            let mut all = buf(&d, &ones);
            d.keep_random(&mut all, Draw::new(1, density), 0).unwrap();
            assert!(all.values().iter().all(|x| *x == want));
        }
    }

    #[test]
    fn counting_and_cutting_agree_with_a_sort() {
        let x = pattern(3000, 211);
        let key = |x: f32| x.abs().to_bits();
        for d in devices() {
            let b = buf(&d, &x);
            for window in [
                Window::ALL,
                Window { low: key(0.25), shift: 0, bins: 1 },
                Window { low: 1024, shift: 9, bins: 77 },
                Window { low: key(0.1) & !0xffff, shift: 16, bins: 200 },
            ] {
                let mut bins = vec![0; window.bins];
                let Outside { above, residue } = d.abs_counts(&b, window, &mut bins).unwrap();
                let mut want = vec![0; window.bins];
                let (mut want_above, mut want_residue) = (0, 0);
                for x in &x {
                    if u64::from(key(*x)) >= window.high() {
                        want_above += 1;
                    } else if key(*x) >= window.low {
                        want[((key(*x) - window.low) >> window.shift) as usize] += 1;
                        want_residue |= key(*x) & ((1 << window.shift) - 1);
                    }
                }
                assert_eq!((above, residue, bins), (want_above, want_residue, want));
            }
            let cut = Cut { key: key(0.5), last: 1700 };
            let mut kept = buf(&d, &x);
            d.keep_largest(&mut kept, cut, 500).unwrap();
            for (i, (kept, x)) in kept.values().iter().zip(&x).enumerate() {
                let keep = key(*x) > cut.key || key(*x) == cut.key && i as u64 + 500 <= cut.last;
                assert_eq!(*kept, if keep { *x } else { 0.0 });
            }
        }
    }
}
