//! Run-time choice of vector width for the kernels: the only place that asks what the CPU can do.
//!
//! Each kernel is one plain, inlined Rust function; it is compiled up to three times, for the build's
//! own target, AVX2 and AVX-512, and the widest that the machine has is called. The arithmetic is the
//! same in all three: vectors change how many elements are done at once, never an element's result.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::kernels::{Bounds, GROUP, abs_counts_tail, count_hits};
use super::{Outside, Window};

/// What the machine offers beyond the build's own target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// Nothing more.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The widest level of this machine, or less if `GROWMERGE_SIMD` says `plain` or `avx2` (to test
    /// what other machines do).
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let wanted = std::env::var("GROWMERGE_SIMD").unwrap_or_default();
            let avx2 = std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("popcnt")
                && std::arch::is_x86_feature_detected!("bmi1")
                && std::arch::is_x86_feature_detected!("bmi2");
            let avx512 = avx2
                && std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx512dq")
                && std::arch::is_x86_feature_detected!("avx512vl");
            match wanted.as_str() {
                "plain" => {}
                _ if avx512 && wanted != "avx2" => return Self::Avx512,
                _ if avx2 => return Self::Avx2,
                _ => {}
            }
        }
        Self::Plain
    }

    /// Every level that this machine can run, for tests.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            match Self::detect() {
                Self::Plain => vec![Self::Plain],
                Self::Avx2 => vec![Self::Plain, Self::Avx2],
                Self::Avx512 => vec![Self::Plain, Self::Avx2, Self::Avx512],
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Plain]
    }
}

/// Defines a function that runs a kernel at a given [`Level`].
macro_rules! dispatch {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?;)*) => {$(
        pub(super) fn $name(level: Level, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    super::kernels::$name($($arg),*)
                }
                #[target_feature(enable = "popcnt,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    super::kernels::$name($($arg),*)
                }
                match level {
                    // SAFETY: `Level::detect` returns Avx2 only where the CPU reports all of these features.
                    Level::Avx2 => return unsafe { avx2($($arg),*) },
                    // SAFETY: `Level::detect` returns Avx512 only where the CPU reports all of these features.
                    Level::Avx512 => return unsafe { avx512($($arg),*) },
                    Level::Plain => {}
                }
            }
            let _ = level;
            super::kernels::$name($($arg),*)
        }
    )*};
}

dispatch! {
    fn load_bf16(bytes: &[u8], out: &mut [f32]);
    fn load_f16(bytes: &[u8], out: &mut [f32]);
    fn load_f32(bytes: &[u8], out: &mut [f32]);
    fn load_f64(bytes: &[u8], out: &mut [f32]);
    fn delta_bf16(bytes: &[u8], base: &[f32], out: &mut [f32]);
    fn delta_f16(bytes: &[u8], base: &[f32], out: &mut [f32]);
    fn delta_f32(bytes: &[u8], base: &[f32], out: &mut [f32]);
    fn delta_f64(bytes: &[u8], base: &[f32], out: &mut [f32]);
    fn add_scaled_bf16(bytes: &[u8], w: f32, acc: &mut [f32]);
    fn add_scaled_f16(bytes: &[u8], w: f32, acc: &mut [f32]);
    fn add_scaled_f32(bytes: &[u8], w: f32, acc: &mut [f32]);
    fn add_scaled_f64(bytes: &[u8], w: f32, acc: &mut [f32]);
    fn axpy(acc: &mut [f32], w: f32, x: &[f32]);
    fn scale(x: &mut [f32], factor: f32);
    fn divide(x: &mut [f32], divisor: f32);
    fn add(acc: &mut [f32], x: &[f32]);
    fn multiply(x: &mut [f32], y: &[f32]);
    fn divide_each(x: &mut [f32], y: &[f32], least: f32);
    fn combine(left: &[f32], right: &[f32], stride: usize, out: &mut [f32]);
    fn add_products(x: &[f32], y: &[f32], sums: &mut [f64]);
    fn dot(x: &[f32], y: &[f32]) -> f64;
    fn abs_sum(x: &[f32]) -> f64;
    fn abs_counts_narrow(x: &[f32], window: super::Window, bins: &mut [u32]) -> super::Outside;
    fn equal_count(x: &[f32], key: u32) -> u32;
    fn keep_largest(x: &mut [f32], key: u32, equal_until: usize);
    fn keep_random(x: &mut [f32], draw: super::Draw, first: u64);
    fn drop_largest(x: &mut [f32], key: u32, equal_until: usize);
    fn draws(key: u64, first: u64, out: &mut [u32]);
    fn normals(key: u64, first: u64, out: &mut [f32]);
    fn largest_key(x: &[f32]) -> u32;
    fn rank(x: &[f32], index: usize) -> usize;
    fn rank_bins(x: &[f32], largest: u32, bins: &mut [u8]);
    fn ranks_below(bins: &[u8]) -> [u32; super::kernels::BINS + 1];
    fn draws_between_plain(draws: &[u32], low: u32, span: u32, found: &mut [u32]) -> usize;
    fn keep_drawn(x: &mut [f32], draws: &[u32], limit: u32);
    fn keep_where(x: &mut [f32], mask: &[f32]);
    fn elect(deltas: &[&[f32]], weights: &[f32], vote: super::Vote, divisor: super::Divisor, out: &mut [f32]);
    fn elect_weighted(weighted: &[&[f32]], weights: &[&[f32]], divisor: super::Divisor, out: &mut [f32]);
    fn variance(x: &[&[f32]], out: &mut [f32]);
    fn mean_by_importance(x: &[&[f32]], importance: &[&[f32]], by: &super::Importance, out: &mut [f32]);
    fn add_gram(sum: &mut [f64], gram: &[u8], width: usize, weight: f64, shrinkage: f64);
    fn cholesky_panel(a: &mut [f64], width: usize, from: usize, to: usize) -> Option<usize>;
    fn add_gram_product(
        sum: &mut [[f64; super::cpu::LANES_OF_ROWS]],
        gram: &[u8],
        weight: f64,
        shrinkage: f64,
        x: &[[f64; super::cpu::LANES_OF_ROWS]],
    );
    fn solve(factor: &[f64], x: &mut [[f64; super::cpu::LANES_OF_ROWS]]);
    fn near_swap(x: &mut [f32], y: &[f32], t: f32);
    fn pool(deltas: &[&[f32]], epsilon: f32, alone: &[f32], out: &mut [f32]);
    fn overlaps(deltas: &[&[f32]], epsilon: f32, counts: &mut [super::Overlap]);
    fn divergence(x: &[f32], y: &[f32], p: &mut [f64], q: &mut [f64]) -> f64;
    fn store_bf16(x: &[f32], out: &mut [u8]) -> super::Finiteness;
    fn store_f16(x: &[f32], out: &mut [u8]) -> super::Finiteness;
    fn store_f32(x: &[f32], out: &mut [u8]) -> super::Finiteness;
    fn store_f64(x: &[f32], out: &mut [u8]) -> super::Finiteness;
    fn finite_bf16(bytes: &[u8]) -> super::Finiteness;
    fn finite_f16(bytes: &[u8]) -> super::Finiteness;
    fn finite_f32(bytes: &[u8]) -> super::Finiteness;
    fn finite_f64(bytes: &[u8]) -> super::Finiteness;
}

// Packing the hits of a vector is an instruction of AVX-512 that the compiler does not find by itself, so
// two kernels are written with it.

/// Counts magnitudes in a window.
pub(super) fn abs_counts(level: Level, x: &[f32], window: Window, bins: &mut [u32]) -> Outside {
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx512 {
        // SAFETY: `Level::detect` returns Avx512 only where the CPU reports all of these features.
        return unsafe { abs_counts_avx512(x, window, bins) };
    }
    abs_counts_narrow(level, x, window, bins)
}

/// The indices of draws in `low .. low + span`, in order, and how many; `found` has room for a group more
/// than there are draws.
pub(super) fn draws_between(level: Level, draws: &[u32], low: u32, span: u32, found: &mut [u32]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx512 && found.len() >= draws.len() + GROUP {
        // SAFETY: `Level::detect` returns Avx512 only where the CPU reports all of these features.
        return unsafe { draws_between_avx512(draws, low, span, found) };
    }
    draws_between_plain(level, draws, low, span, found)
}

/// `found` must be longer than `draws` by a group.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
fn draws_between_avx512(draws: &[u32], low: u32, span: u32, found: &mut [u32]) -> usize {
    use std::arch::x86_64::{
        _mm512_add_epi32, _mm512_cmplt_epu32_mask, _mm512_loadu_si512, _mm512_maskz_compress_epi32,
        _mm512_set1_epi32, _mm512_storeu_si512, _mm512_sub_epi32,
    };
    assert!(found.len() >= draws.len() + GROUP);
    let all = |x: u32| _mm512_set1_epi32(x.cast_signed());
    let (from, width, step) = (all(low), all(span), all(GROUP as u32));
    let first: [u32; GROUP] = std::array::from_fn(|i| i as u32);
    // SAFETY: the array is as long as a vector; the load needs no alignment.
    let mut indices = unsafe { _mm512_loadu_si512(first.as_ptr().cast()) };
    let mut count = 0;
    let (groups, tail) = draws.as_chunks::<GROUP>();
    for group in groups {
        // SAFETY: a group is as long as a vector; the load needs no alignment.
        let draw = unsafe { _mm512_loadu_si512(group.as_ptr().cast()) };
        let inside = _mm512_cmplt_epu32_mask(_mm512_sub_epi32(draw, from), width);
        let packed = _mm512_maskz_compress_epi32(inside, indices);
        // SAFETY: `count` is at most the number of draws before this group, and `found` is longer than all
        // draws by a group, so a vector fits behind `count`; the store needs no alignment.
        unsafe { _mm512_storeu_si512(found.as_mut_ptr().add(count).cast(), packed) };
        count += inside.count_ones() as usize;
        indices = _mm512_add_epi32(indices, step);
    }
    for (index, draw) in ((groups.len() * GROUP) as u32..).zip(tail) {
        found[count] = index;
        count += usize::from(draw.wrapping_sub(low) < span);
    }
    count
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
fn abs_counts_avx512(x: &[f32], window: Window, bins: &mut [u32]) -> Outside {
    use std::arch::x86_64::{
        _mm512_and_epi32, _mm512_cmpge_epu32_mask, _mm512_cmplt_epu32_mask, _mm512_loadu_si512,
        _mm512_maskz_compress_epi32, _mm512_set1_epi32, _mm512_storeu_si512, _mm512_sub_epi32,
    };
    const HITS: usize = 512;
    let bounds = Bounds::of(window);
    let all = |x: u32| _mm512_set1_epi32(x.cast_signed());
    let (magnitude, low, high, span) = (all(!0 >> 1), all(bounds.low), all(bounds.high), all(bounds.span));
    // A vector is always stored whole, so there is room for one more.
    let mut hits = [0u32; HITS + GROUP];
    let (mut n, mut above, mut bits) = (0, 0, 0);
    let (groups, tail) = x.as_chunks::<GROUP>();
    for group in groups {
        // SAFETY: a group is as long as a vector; the load needs no alignment.
        let key = _mm512_and_epi32(unsafe { _mm512_loadu_si512(group.as_ptr().cast()) }, magnitude);
        let offset = _mm512_sub_epi32(key, low);
        let inside = _mm512_cmplt_epu32_mask(offset, span);
        above += u64::from(_mm512_cmpge_epu32_mask(key, high).count_ones());
        let packed = _mm512_maskz_compress_epi32(inside, offset);
        // SAFETY: `n <= HITS` here, so a vector fits behind `n`; the store needs no alignment.
        unsafe { _mm512_storeu_si512(hits.as_mut_ptr().add(n).cast(), packed) };
        n += inside.count_ones() as usize;
        if n > HITS - GROUP {
            bits |= count_hits(&hits[..n], bounds, bins);
            n = 0;
        }
    }
    bits |= count_hits(&hits[..n], bounds, bins);
    let rest = abs_counts_tail(tail, bounds, bins);
    bounds.outside(above + rest.0, bits | rest.1)
}
