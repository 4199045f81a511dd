//! Element types: bytes in, bytes out.

use super::SIGN;
use crate::device::Finiteness;

#[inline(always)]
fn bf16_to_f32(b: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
}

/// Shifting exponent and mantissa into place leaves the exponent 112 too small; multiplying by 2^112
/// mends it, for subnormal numbers too, and is exact.
#[inline(always)]
fn f16_to_f32(b: [u8; 2]) -> f32 {
    let h = u32::from(u16::from_le_bytes(b));
    let scaled = f32::from_bits((h & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    // Infinity and NaN keep an exponent of all ones.
    let special = if h & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | (h & 0x8000) << 16)
}

#[inline(always)]
fn f32_to_f32(b: [u8; 4]) -> f32 {
    f32::from_le_bytes(b)
}

#[inline(always)]
fn f64_to_f32(b: [u8; 8]) -> f32 {
    f64::from_le_bytes(b) as f32
}

/// Processors make different NaNs; what is stored is this one, so that bytes do not depend on them.
const NAN: u32 = 0x7fc0_0000;

#[inline(always)]
fn one_nan(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(NAN) } else { x }
}

/// Round to nearest, ties to even.
#[inline(always)]
fn f32_to_bf16(x: f32) -> [u8; 2] {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    (if bits & !SIGN > 0x7f80_0000 { NAN >> 16 } else { rounded } as u16).to_le_bytes()
}

/// Round to nearest, ties to even, with subnormal results and overflow to infinity.
#[inline(always)]
fn f32_to_f16(x: f32) -> [u8; 2] {
    let bits = x.to_bits() & !SIGN;
    let odd = (bits >> 13) & 1;
    // Exponent rebased from 127 to 15, then rounded at bit 13.
    let normal = bits.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    // Adding 0.5 aligns the last bit of a subnormal f16 with the last bit of the f32 sum.
    let magic = f32::from_bits(126 << 23);
    let subnormal = (f32::from_bits(bits) + magic).to_bits().wrapping_sub(magic.to_bits());
    let special = if bits > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    let magnitude = if bits >= (127 + 16) << 23 {
        special
    } else if bits < 113 << 23 {
        subnormal
    } else {
        normal
    };
    let sign = if bits > 0x7f80_0000 { 0 } else { (x.to_bits() & SIGN) >> 16 };
    ((magnitude | sign) as u16).to_le_bytes()
}

/// The three ways in for one element type: as it is, minus a base, times a weight onto a sum.
macro_rules! inputs {
    ($size:literal, $convert:path, $load:ident, $delta:ident, $add_scaled:ident) => {
        #[inline(always)]
        pub(in crate::device) fn $load(bytes: &[u8], out: &mut [f32]) {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<$size>().0) {
                *o = $convert(*b);
            }
        }

        #[inline(always)]
        pub(in crate::device) fn $delta(bytes: &[u8], base: &[f32], out: &mut [f32]) {
            for ((o, x0), b) in out.iter_mut().zip(base).zip(bytes.as_chunks::<$size>().0) {
                *o = $convert(*b) - x0;
            }
        }

        #[inline(always)]
        pub(in crate::device) fn $add_scaled(bytes: &[u8], w: f32, acc: &mut [f32]) {
            for (a, b) in acc.iter_mut().zip(bytes.as_chunks::<$size>().0) {
                *a += w * $convert(*b);
            }
        }
    };
}

inputs!(2, bf16_to_f32, load_bf16, delta_bf16, add_scaled_bf16);
inputs!(2, f16_to_f32, load_f16, delta_f16, add_scaled_f16);
inputs!(4, f32_to_f32, load_f32, delta_f32, add_scaled_f32);
inputs!(8, f64_to_f32, load_f64, delta_f64, add_scaled_f64);

/// Exponents of all ones are NaN or infinity; the largest magnitude tells whether there is one.
macro_rules! output {
    ($size:literal, $unsigned:ty, $infinity:expr, $convert:expr, $store:ident, $finite:ident) => {
        #[inline(always)]
        pub(in crate::device) fn $store(x: &[f32], out: &mut [u8]) -> Finiteness {
            let mut largest: $unsigned = 0;
            for (o, x) in out.as_chunks_mut::<$size>().0.iter_mut().zip(x) {
                *o = $convert(*x);
                largest = largest.max(<$unsigned>::from_le_bytes(*o) & (<$unsigned>::MAX >> 1));
            }
            if largest < $infinity { Finiteness::Finite } else { Finiteness::NonFinite }
        }

        #[inline(always)]
        pub(in crate::device) fn $finite(bytes: &[u8]) -> Finiteness {
            let mut largest: $unsigned = 0;
            for b in bytes.as_chunks::<$size>().0 {
                largest = largest.max(<$unsigned>::from_le_bytes(*b) & (<$unsigned>::MAX >> 1));
            }
            if largest < $infinity { Finiteness::Finite } else { Finiteness::NonFinite }
        }
    };
}

output!(2, u16, 0x7f80, f32_to_bf16, store_bf16, finite_bf16);
output!(2, u16, 0x7c00, f32_to_f16, store_f16, finite_f16);
output!(4, u32, 0x7f80_0000, |x: f32| one_nan(x).to_le_bytes(), store_f32, finite_f32);
output!(8, u64, 0x7ff0_0000_0000_0000, |x: f32| f64::from(one_nan(x)).to_le_bytes(), store_f64, finite_f64);
