//! Softmax and divergence of rows in f64, with an exponential and a logarithm of their own: libraries of
//! different machines disagree in the last bit, and plain arithmetic becomes vectors.

// The digits of a constant say where it comes from; the compiler rounds it.
#![allow(clippy::excessive_precision)]

use super::tree;
use crate::device::LANES;

/// Added to every probability, so that none is zero.
const EPSILON: f64 = 1e-8;

/// `Σ p · ln(p / q)` with `p` and `q` the softmax of `x` and `y`, each plus [`EPSILON`]. The two last
/// slices are room to work in, as long as `x`.
#[inline(always)]
pub(in crate::device) fn divergence(x: &[f32], y: &[f32], p: &mut [f64], q: &mut [f64]) -> f64 {
    softmax(x, p);
    softmax(y, q);
    let mut lanes = [0f64; LANES];
    let (p, p_tail) = p[..x.len()].as_chunks::<LANES>();
    let (q, q_tail) = q[..y.len()].as_chunks::<LANES>();
    for (p, q) in p.iter().zip(q) {
        for j in 0..LANES {
            lanes[j] += p[j] * ln(p[j] / q[j]);
        }
    }
    for (lane, (p, q)) in lanes.iter_mut().zip(p_tail.iter().zip(q_tail)) {
        *lane += p * ln(p / q);
    }
    // Rounding may leave less than nothing of two rows that are nearly the same.
    tree(lanes).max(0.0)
}

#[inline(always)]
fn softmax(x: &[f32], out: &mut [f64]) {
    let largest = f64::from(largest(x));
    let out = &mut out[..x.len()];
    for (out, x) in out.iter_mut().zip(x) {
        *out = exp(f64::from(*x) - largest);
    }
    let mut lanes = [0f64; LANES];
    let (groups, tail) = out.as_chunks::<LANES>();
    for group in groups {
        for j in 0..LANES {
            lanes[j] += group[j];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane += x;
    }
    let share = 1.0 / tree(lanes);
    for out in out {
        *out = *out * share + EPSILON;
    }
}

/// The largest element; in lanes, since a vector cannot follow one maximum through a row.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::MIN; LANES];
    let (groups, tail) = x.as_chunks::<LANES>();
    for group in groups {
        for j in 0..LANES {
            lanes[j] = if group[j] > lanes[j] { group[j] } else { lanes[j] };
        }
    }
    lanes.iter().chain(tail).fold(f32::MIN, |largest, x| if *x > largest { *x } else { largest })
}

/// `eˣ` for `x <= 700`, to about 2 units in the last place; zero below -708, where f64 gets coarse.
///
/// `x = k·ln 2 + r` with `|r| <= ln 2 / 2`, Taylor's series for `eʳ`, and `k` goes to the exponent.
#[inline(always)]
pub(in crate::device) fn exp(x: f64) -> f64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52: adding it rounds to a whole number
    const LN2_HIGH: f64 = 6.931_471_803_691_238_164_90e-1; // the upper 33 bits: times k it is exact
    const LN2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
    let held = if x < -708.0 { -708.0 } else { x };
    let shifted = held * std::f64::consts::LOG2_E + SHIFT;
    let k = shifted - SHIFT;
    let r = (held - k * LN2_HIGH) - k * LN2_LOW;
    let mut sum = 1.0 / 6_227_020_800.0; // 1 / 13!
    let inverse = [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    for factor in inverse {
        sum = sum * r + factor;
    }
    // The low bits of `shifted` are k; the exponent's bias is 1023.
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    if x < -708.0 { 0.0 } else { sum * power }
}

/// `ln x` for a positive, normal, finite `x`, to about 2 units in the last place.
///
/// `x = 2ᵏ·m` with `m` between `√½` and `√2`; `ln m = 2·artanh s`, `s = (m - 1)/(m + 1)`.
#[inline(always)]
pub(in crate::device) fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd; // bits of √½
    let offset = x.to_bits().wrapping_sub(SQRT_HALF);
    let k = offset.cast_signed() >> 52;
    let m = f64::from_bits((offset & MANTISSA) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut sum = 1.0 / 23.0;
    for odd in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sum = sum * square + 1.0 / odd;
    }
    // k fits 32 bits, for which vectors have a conversion.
    f64::from(k as i32) * std::f64::consts::LN_2 + (2.0 * s + 2.0 * s * (square * sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_ln_are_those_of_the_library_to_a_few_last_places() {
        let near = |a: f64, b: f64| (a - b).abs() <= 4.0 * f64::EPSILON * b.abs();
        for i in 0..200_000 {
            let x = -f64::from(i) * f64::from(i) * 1.75e-8; // down to -700, closest near zero
            assert!(near(exp(x), x.exp()) && near(exp(-x), (-x).exp()), "{x}");
            let y = (f64::from(i - 100_000) * 3e-4).exp();
            assert!(near(ln(y), y.ln()), "{y}");
            let one = 1.0 + f64::from(i - 100_000) * 1e-9;
            assert!((ln(one) - one.ln()).abs() <= 2e-16 * one.ln().abs().max(1e-3), "{one}");
        }
        assert_eq!((exp(0.0), exp(-1e9), ln(1.0)), (1.0, 0.0, 0.0));
    }
}
