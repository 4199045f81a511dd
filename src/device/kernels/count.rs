//! Counting magnitudes by their bit patterns.

use super::SIGN;
use crate::device::{Outside, Window};

/// Elements that [`abs_counts_narrow`] tests together: one vector of the widest kind.
pub(in crate::device) const GROUP: usize = 16;

/// A [`Window`] as numbers to compare with.
#[derive(Clone, Copy)]
pub(in crate::device) struct Bounds {
    pub(in crate::device) low: u32,
    pub(in crate::device) high: u32,
    pub(in crate::device) span: u32,
    shift: u32,
}

impl Bounds {
    #[inline(always)]
    pub(in crate::device) fn of(window: Window) -> Self {
        // Keys end below 2^31, so a window that ends later holds all that it begins with.
        let high = u32::try_from(window.high()).unwrap_or(u32::MAX);
        Self { low: window.low, high, span: high - window.low, shift: window.shift }
    }
}

/// Sorts offsets of hits from the begin of the window into bins; returns their bits or-ed.
#[inline(always)]
pub(in crate::device) fn count_hits(hits: &[u32], bounds: Bounds, bins: &mut [u32]) -> u32 {
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
pub(in crate::device) fn abs_counts_narrow(x: &[f32], window: Window, bins: &mut [u32]) -> Outside {
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
pub(in crate::device) fn abs_counts_tail(tail: &[f32], bounds: Bounds, bins: &mut [u32]) -> (u64, u32) {
    let (hits, n) = pack(tail, bounds);
    let above = tail.iter().filter(|x| x.to_bits() & !SIGN >= bounds.high).count() as u64;
    (above, count_hits(&hits[..n], bounds, bins))
}

impl Bounds {
    #[inline(always)]
    pub(in crate::device) fn outside(self, above: u64, bits: u32) -> Outside {
        Outside { above, residue: bits & ((1 << self.shift) - 1) }
    }
}

#[inline(always)]
pub(in crate::device) fn equal_count(x: &[f32], key: u32) -> u32 {
    x.iter().map(|x| u32::from(x.to_bits() & !SIGN == key)).sum()
}
