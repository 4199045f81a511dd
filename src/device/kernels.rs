//! The loops of the CPU device: plain Rust that the compiler turns into vectors.
//!
//! `#[inline(always)]`, because [`super::simd`] compiles each of them once per instruction set. Loops
//! over whole slices or fixed-size arrays, no early exits, so that they vectorise.

use super::philox::{self, WIDE};
use super::{Divisor, Draw, Finiteness, LANES, Outside, Window};

const SIGN: u32 = 0x8000_0000;

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

/// Round to nearest, ties to even; NaN stays NaN.
#[inline(always)]
fn f32_to_bf16(x: f32) -> [u8; 2] {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let nan = (bits >> 16) | 0x40;
    (if bits & !SIGN > 0x7f80_0000 { nan } else { rounded } as u16).to_le_bytes()
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
    ((magnitude | (x.to_bits() & SIGN) >> 16) as u16).to_le_bytes()
}

/// The three ways in for one element type: as it is, minus a base, times a weight onto a sum.
macro_rules! inputs {
    ($size:literal, $convert:path, $load:ident, $delta:ident, $add_scaled:ident) => {
        #[inline(always)]
        pub(super) fn $load(bytes: &[u8], out: &mut [f32]) {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<$size>().0) {
                *o = $convert(*b);
            }
        }

        #[inline(always)]
        pub(super) fn $delta(bytes: &[u8], base: &[f32], out: &mut [f32]) {
            for ((o, x0), b) in out.iter_mut().zip(base).zip(bytes.as_chunks::<$size>().0) {
                *o = $convert(*b) - x0;
            }
        }

        #[inline(always)]
        pub(super) fn $add_scaled(bytes: &[u8], w: f32, acc: &mut [f32]) {
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

#[inline(always)]
pub(super) fn axpy(acc: &mut [f32], w: f32, x: &[f32]) {
    for (a, x) in acc.iter_mut().zip(x) {
        *a += w * x;
    }
}

#[inline(always)]
pub(super) fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

#[inline(always)]
pub(super) fn divide(x: &mut [f32], divisor: f32) {
    for x in x {
        *x /= divisor;
    }
}

#[inline(always)]
pub(super) fn add(acc: &mut [f32], x: &[f32]) {
    for (a, x) in acc.iter_mut().zip(x) {
        *a += x;
    }
}

/// Halves onto halves: the fixed tree of the contract.
#[inline(always)]
fn tree(mut lanes: [f64; LANES]) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            lanes[j] += lanes[j + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f64 {
    let mut lanes = [0f64; LANES];
    let (x, x_tail) = x.as_chunks::<LANES>();
    let (y, y_tail) = y.as_chunks::<LANES>();
    for (x, y) in x.iter().zip(y) {
        for j in 0..LANES {
            lanes[j] += f64::from(x[j]) * f64::from(y[j]);
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(x_tail.iter().zip(y_tail)) {
        *lane += f64::from(*x) * f64::from(*y);
    }
    tree(lanes)
}

#[inline(always)]
pub(super) fn abs_sum(x: &[f32]) -> f64 {
    let mut lanes = [0f64; LANES];
    let (x, tail) = x.as_chunks::<LANES>();
    for x in x {
        for j in 0..LANES {
            lanes[j] += f64::from(x[j].abs());
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane += f64::from(x.abs());
    }
    tree(lanes)
}

/// Elements that [`abs_counts_narrow`] tests together: one vector of the widest kind.
pub(super) const GROUP: usize = 16;

/// A [`Window`] as numbers to compare with.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) low: u32,
    pub(super) high: u32,
    pub(super) span: u32,
    shift: u32,
}

impl Bounds {
    #[inline(always)]
    pub(super) fn of(window: Window) -> Self {
        // Keys end below 2^31, so a window that ends later holds all that it begins with.
        let high = u32::try_from(window.high()).unwrap_or(u32::MAX);
        Self { low: window.low, high, span: high - window.low, shift: window.shift }
    }
}

/// Sorts offsets of hits from the begin of the window into bins; returns their bits or-ed.
#[inline(always)]
pub(super) fn count_hits(hits: &[u32], bounds: Bounds, bins: &mut [u32]) -> u32 {
    let mut bits = 0;
    for offset in hits {
        bits |= offset;
        if let Some(bin) = bins.get_mut((offset >> bounds.shift) as usize) {
            *bin += 1;
        }
    }
    bits
}

/// The offsets that lie in the window, in order, and how many; without a branch, since there may be
/// any share of them.
#[inline(always)]
fn pack(x: &[f32], bounds: Bounds) -> ([u32; GROUP], usize) {
    let (mut hits, mut n) = ([0u32; GROUP], 0);
    for x in x {
        let offset = (x.to_bits() & !SIGN).wrapping_sub(bounds.low);
        hits[n % GROUP] = offset;
        n += usize::from(offset < bounds.span);
    }
    (hits, n)
}

/// Where the window is narrow most elements are outside, so a group is first tested as a whole.
#[inline(always)]
pub(super) fn abs_counts_narrow(x: &[f32], window: Window, bins: &mut [u32]) -> Outside {
    let bounds = Bounds::of(window);
    let (mut above, mut bits) = (0u64, 0u32);
    // Short runs, so that the counters of a lane cannot overflow.
    for run in x.chunks(1 << 20) {
        let mut lanes = [0u32; GROUP];
        let (groups, tail) = run.as_chunks::<GROUP>();
        for group in groups {
            let mut inside = 0u32;
            for j in 0..GROUP {
                let key = group[j].to_bits() & !SIGN;
                lanes[j] += u32::from(key >= bounds.high);
                inside |= u32::from(key.wrapping_sub(bounds.low) < bounds.span);
            }
            if inside != 0 {
                let (hits, n) = pack(group, bounds);
                bits |= count_hits(&hits[..n], bounds, bins);
            }
        }
        above += lanes.iter().map(|n| u64::from(*n)).sum::<u64>();
        let rest = abs_counts_tail(tail, bounds, bins);
        above += rest.0;
        bits |= rest.1;
    }
    bounds.outside(above, bits)
}

/// Less than a group: how many are above, and the bits of the hits.
#[inline(always)]
pub(super) fn abs_counts_tail(tail: &[f32], bounds: Bounds, bins: &mut [u32]) -> (u64, u32) {
    let (hits, n) = pack(tail, bounds);
    let above = tail.iter().filter(|x| x.to_bits() & !SIGN >= bounds.high).count() as u64;
    (above, count_hits(&hits[..n], bounds, bins))
}

impl Bounds {
    #[inline(always)]
    pub(super) fn outside(self, above: u64, bits: u32) -> Outside {
        Outside { above, residue: bits & ((1 << self.shift) - 1) }
    }
}

#[inline(always)]
pub(super) fn equal_count(x: &[f32], key: u32) -> u32 {
    x.iter().map(|x| u32::from(x.to_bits() & !SIGN == key)).sum()
}

/// Keeps keys above `key`, and keys equal to it before position `equal_until` of the block.
#[inline(always)]
pub(super) fn keep_largest(x: &mut [f32], key: u32, equal_until: usize) {
    let (early, late) = x.split_at_mut(equal_until.min(x.len()));
    for x in early {
        let bits = x.to_bits();
        *x = f32::from_bits(if bits & !SIGN >= key { bits } else { 0 });
    }
    for x in late {
        let bits = x.to_bits();
        *x = f32::from_bits(if bits & !SIGN > key { bits } else { 0 });
    }
}

#[inline(always)]
pub(super) fn keep_random(x: &mut [f32], draw: Draw, first: u64) {
    // A block may begin inside a group of draws; the first group is then used from there on.
    let skip = (first % DRAWS as u64) as usize;
    let mut counter = (first - skip as u64) / 4;
    let (head, rest) = x.split_at_mut(if skip == 0 { 0 } else { (DRAWS - skip).min(x.len()) });
    if !head.is_empty() {
        let keep = keep_group(counter, draw);
        for (x, keep) in head.iter_mut().zip(&keep[skip..]) {
            *x = f32::from_bits(x.to_bits() & keep);
        }
        counter = counter.wrapping_add(WIDE as u64);
    }
    let (groups, tail) = rest.as_chunks_mut::<DRAWS>();
    for x in groups {
        let keep = keep_group(counter, draw);
        for (x, keep) in x.iter_mut().zip(&keep) {
            *x = f32::from_bits(x.to_bits() & keep);
        }
        counter = counter.wrapping_add(WIDE as u64);
    }
    if !tail.is_empty() {
        let keep = keep_group(counter, draw);
        for (x, keep) in tail.iter_mut().zip(&keep) {
            *x = f32::from_bits(x.to_bits() & keep);
        }
    }
}

/// Draws that are made together.
const DRAWS: usize = 4 * WIDE;

/// For the draws of `WIDE` counters, in the order of elements: all ones to keep, all zeros to drop.
/// A function and not a closure: closures do not take over the vector features of their surroundings.
#[inline(always)]
fn keep_group(counter: u64, draw: Draw) -> [u32; DRAWS] {
    let lanes = philox::wide(counter, draw.key);
    let mut keep = [0u32; DRAWS];
    for j in 0..WIDE {
        for lane in 0..4 {
            keep[4 * j + lane] = u32::from((lanes[lane][j] as u32) >> 8 < draw.keep_below).wrapping_neg();
        }
    }
    keep
}

#[inline(always)]
pub(super) fn elect(deltas: &[&[f32]], weights: &[f32], divisor: Divisor, out: &mut [f32]) {
    const WIDTH: usize = 64;
    let (groups, tail) = out.as_chunks_mut::<WIDTH>();
    for (i, out) in groups.iter_mut().enumerate() {
        let part = |delta: &&[f32]| delta.get(i * WIDTH..).and_then(|d| d.first_chunk::<WIDTH>().copied());
        elect_group(deltas.iter().filter_map(part).zip(weights), divisor, out);
    }
    let start = groups.len() * WIDTH;
    for (i, out) in tail.iter_mut().enumerate() {
        let mut one = [0f32; 1];
        let part = |delta: &&[f32]| delta.get(start + i).map(|x| [*x]);
        elect_group(deltas.iter().filter_map(part).zip(weights), divisor, &mut one);
        [*out] = one;
    }
}

/// The vote on a few elements at once; it reads the deltas twice, the second time from the cache.
#[inline(always)]
fn elect_group<'w, const N: usize>(
    deltas: impl Iterator<Item = ([f32; N], &'w f32)> + Clone,
    divisor: Divisor,
    out: &mut [f32; N],
) {
    let (mut total, mut mixed, mut agreeing) = ([0f32; N], [0f32; N], [0f32; N]);
    for (delta, w) in deltas.clone() {
        for j in 0..N {
            total[j] += w * delta[j];
        }
    }
    for (delta, w) in deltas {
        for j in 0..N {
            let x = w * delta[j];
            // Zero has no sign and agrees with nobody.
            let agrees = if total[j] >= 0.0 { x > 0.0 } else { x < 0.0 };
            mixed[j] += if agrees { x } else { 0.0 };
            agreeing[j] += if agrees { *w } else { 0.0 };
        }
    }
    if divisor == Divisor::AgreeingWeights {
        for j in 0..N {
            mixed[j] /= if agreeing[j] == 0.0 { 1.0 } else { agreeing[j] };
        }
    }
    *out = mixed;
}

/// Exponents of all ones are NaN or infinity; the largest magnitude tells whether there is one.
macro_rules! output {
    ($size:literal, $unsigned:ty, $infinity:expr, $convert:expr, $store:ident, $finite:ident) => {
        #[inline(always)]
        pub(super) fn $store(x: &[f32], out: &mut [u8]) -> Finiteness {
            let mut largest: $unsigned = 0;
            for (o, x) in out.as_chunks_mut::<$size>().0.iter_mut().zip(x) {
                *o = $convert(*x);
                largest = largest.max(<$unsigned>::from_le_bytes(*o) & (<$unsigned>::MAX >> 1));
            }
            if largest < $infinity { Finiteness::Finite } else { Finiteness::NonFinite }
        }

        #[inline(always)]
        pub(super) fn $finite(bytes: &[u8]) -> Finiteness {
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
output!(4, u32, 0x7f80_0000, |x: f32| x.to_le_bytes(), store_f32, finite_f32);
output!(8, u64, 0x7ff0_0000_0000_0000, |x: f32| f64::from(x).to_le_bytes(), store_f64, finite_f64);
