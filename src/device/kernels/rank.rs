//! Ranks of a row's magnitudes, as far as [`crate::device::ranks`] needs them.

use super::SIGN;

/// Bins by exponent and four bits of the mantissa, below the row's largest magnitude: sixteen powers of
/// two, and the fullest has a few percent of a row. What is smaller goes to the lowest.
pub(in crate::device) const BINS: usize = 256;
const SHIFT: u32 = 23 - 4;

/// Elements that are worked on together.
const GROUP: usize = 16;

#[inline(always)]
pub(in crate::device) fn largest_key(x: &[f32]) -> u32 {
    x.iter().fold(0, |largest, x| largest.max(x.to_bits() & !SIGN))
}

/// How many elements come before that of `index` in ascending order of magnitude, lower indices first.
#[inline(always)]
pub(in crate::device) fn rank(x: &[f32], index: usize) -> usize {
    let (before, after) = x.split_at(index);
    let key = after.first().map_or(0, |x| x.to_bits() & !SIGN);
    let early: u32 = before.iter().map(|x| u32::from(x.to_bits() & !SIGN <= key)).sum();
    let late: u32 = after.iter().map(|x| u32::from(x.to_bits() & !SIGN < key)).sum();
    (early + late) as usize
}

/// The bin of each element, `largest` being the row's largest key.
#[inline(always)]
pub(in crate::device) fn rank_bins(x: &[f32], largest: u32, bins: &mut [u8]) {
    let top = largest >> SHIFT;
    for (bin, x) in bins.iter_mut().zip(x) {
        *bin = u8::MAX - (top - ((x.to_bits() & !SIGN) >> SHIFT)).min(u32::from(u8::MAX)) as u8;
    }
}

/// For each bin how many elements lie in lower ones, and behind the last how many there are.
#[inline(always)]
pub(in crate::device) fn ranks_below(bins: &[u8]) -> [u32; BINS + 1] {
    // Several counters of each bin, so that neighbours in one bin need not wait for each other.
    let mut counts = [[0u32; BINS]; 4];
    let (groups, tail) = bins.as_chunks::<4>();
    for group in groups {
        for j in 0..4 {
            counts[j][usize::from(group[j])] += 1;
        }
    }
    for bin in tail {
        counts[0][usize::from(*bin)] += 1;
    }
    let mut below = [0u32; BINS + 1];
    let mut sum = 0;
    for bin in 0..BINS {
        sum += counts[0][bin] + counts[1][bin] + counts[2][bin] + counts[3][bin];
        below[bin + 1] = sum;
    }
    below
}

/// The indices of draws in `low .. low + span`, in order, and how many; `found` has room for a group more
/// than there are draws.
#[inline(always)]
pub(in crate::device) fn draws_between_plain(draws: &[u32], low: u32, span: u32, found: &mut [u32]) -> usize {
    let mut count = 0;
    let (groups, tail) = draws.as_chunks::<GROUP>();
    let mut index = 0;
    for group in groups {
        let (mut hits, mut n) = ([0u32; GROUP], 0);
        for draw in group {
            hits[n % GROUP] = index;
            n += usize::from(draw.wrapping_sub(low) < span);
            index += 1;
        }
        found[count..count + GROUP].copy_from_slice(&hits);
        count += n;
    }
    for draw in tail {
        found[count] = index;
        count += usize::from(draw.wrapping_sub(low) < span);
        index += 1;
    }
    count
}

/// Sets to zero where the draw is `limit` or above.
#[inline(always)]
pub(in crate::device) fn keep_drawn(x: &mut [f32], draws: &[u32], limit: u32) {
    for (x, draw) in x.iter_mut().zip(draws) {
        *x = if *draw < limit { *x } else { 0.0 };
    }
}
