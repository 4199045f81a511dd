//! Arithmetic on values that are on the host anyway, on their way to a device.

use super::Cpu;
use crate::checkpoint::DType;
use crate::device::{Chunk, Finiteness, simd};

impl Cpu {
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

    /// `x /= divisor`, on values that are on their way to a device.
    pub fn divide_values(&self, x: &mut [f32], divisor: f32) {
        simd::divide(self.level, x, divisor);
    }

    /// `acc += w * x`, rounded after the product and after the sum.
    pub fn add_scaled_values(&self, acc: &mut [f32], w: f32, x: &[f32]) {
        simd::axpy(self.level, acc, w, x);
    }

    /// `x *= factor`.
    pub fn scale_values(&self, x: &mut [f32], factor: f32) {
        simd::scale(self.level, x, factor);
    }

    /// `x *= y`, element by element.
    pub fn multiply_values(&self, x: &mut [f32], y: &[f32]) {
        simd::multiply(self.level, x, y);
    }

    /// `out[c] = Σ left[k] · right[k · stride + c]`: a row of a product of matrices, or part of one. The sum
    /// begins at zero and goes in the order of `k`, rounded after every operation.
    pub fn combine(&self, left: &[f32], right: &[f32], stride: usize, out: &mut [f32]) {
        simd::combine(self.level, left, right, stride, out);
    }

    /// `x · y`, the products exact and the sum in f64, in the order of a line.
    pub fn dot(&self, x: &[f32], y: &[f32]) -> f64 {
        simd::dot(self.level, x, y)
    }

    /// Adds the square of each value to the sum of its column, in f64.
    pub fn add_squares(&self, x: &[f32], sums: &mut [f64]) {
        simd::add_products(self.level, x, x, sums);
    }

    /// The numbers `first ..` of a key of [`philox`](crate::device::philox): of the normal distribution with mean 0
    /// and variance 1.
    pub fn normals(&self, key: u64, first: u64, out: &mut [f32]) {
        simd::normals(self.level, key, first, out);
    }

    /// The sum of squares in f64, in the order of a line.
    pub fn squares(&self, x: &[f32]) -> f64 {
        simd::dot(self.level, x, x)
    }
}
