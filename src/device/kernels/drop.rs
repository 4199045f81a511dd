//! Setting elements to zero: by magnitude, at random.

use super::SIGN;
use crate::device::Draw;
use crate::device::philox::{self, WIDE};

/// Keeps keys above `key`, and keys equal to it before position `equal_until` of the block.
#[inline(always)]
pub(in crate::device) fn keep_largest(x: &mut [f32], key: u32, equal_until: usize) {
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

/// The elements that [`keep_largest`] drops.
#[inline(always)]
pub(in crate::device) fn drop_largest(x: &mut [f32], key: u32, equal_until: usize) {
    let (early, late) = x.split_at_mut(equal_until.min(x.len()));
    for x in early {
        let bits = x.to_bits();
        *x = f32::from_bits(if bits & !SIGN >= key { 0 } else { bits });
    }
    for x in late {
        let bits = x.to_bits();
        *x = f32::from_bits(if bits & !SIGN > key { 0 } else { bits });
    }
}

#[inline(always)]
pub(in crate::device) fn keep_where(x: &mut [f32], mask: &[f32]) {
    for (x, mask) in x.iter_mut().zip(mask) {
        *x = if *mask == 0.0 { 0.0 } else { *x };
    }
}

#[inline(always)]
pub(in crate::device) fn keep_random(x: &mut [f32], draw: Draw, first: u64) {
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

/// The draws of elements `first ..` of a key, 24-bit integers.
#[inline(always)]
pub(in crate::device) fn draws(key: u64, first: u64, out: &mut [u32]) {
    let skip = (first % 4) as usize;
    let mut counter = first / 4;
    let head = (DRAWS - skip).min(out.len());
    let (head, rest) = out.split_at_mut(if skip == 0 { 0 } else { head });
    if !head.is_empty() {
        head.copy_from_slice(&draw_group(counter, key)[skip..skip + head.len()]);
        counter = counter.wrapping_add(WIDE as u64);
    }
    let (groups, tail) = rest.as_chunks_mut::<DRAWS>();
    for out in groups {
        *out = draw_group(counter, key);
        counter = counter.wrapping_add(WIDE as u64);
    }
    if !tail.is_empty() {
        tail.copy_from_slice(&draw_group(counter, key)[..tail.len()]);
    }
}

#[inline(always)]
fn draw_group(counter: u64, key: u64) -> [u32; DRAWS] {
    let lanes = philox::wide(counter, key);
    let mut draws = [0u32; DRAWS];
    for j in 0..WIDE {
        for lane in 0..4 {
            draws[4 * j + lane] = (lanes[lane][j] as u32) >> 8;
        }
    }
    draws
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
