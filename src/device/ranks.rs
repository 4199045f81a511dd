//! Drops by rank within a row, without sorting.
//!
//! A draw below the chance of the smallest element keeps any element, one above that of the largest drops
//! any. Between, an element is kept where its rank exceeds some value; a histogram of the row's magnitudes
//! says between which two numbers the rank lies, and nearly always that is enough. The few that are left
//! are counted one by one, or if a row has many of them, looked up among its sorted elements.

use super::RankedDraw;
use super::simd::{self, Level};

/// Bins by exponent and [`MANTISSA`] bits of the mantissa, below the row's largest magnitude; what is
/// smaller goes to the lowest.
const BINS: usize = 256;
/// 16 bins to a power of two: sixteen powers of two, the largest bin has a few percent of a row.
const SHIFT: u32 = 23 - 4;
/// In rows up to this length counting is cheaper than a histogram.
const SHORT: usize = 128;
/// So many elements of a row are counted one by one; for more the row is sorted.
const FEW: usize = 256;

/// Drops row after row.
pub(super) struct Dropper {
    level: Level,
    draw: RankedDraw,
    /// Draws below this keep any element …
    always: u32,
    /// … and those from this on none.
    never: u32,
    /// Ranks for a whole unit of chance.
    ranks: f64,
    draws: Vec<u32>,
    /// Indices of a row's elements whose draws lie between.
    between: Vec<u32>,
}

impl Dropper {
    /// For rows of `width` elements.
    pub(super) fn new(level: Level, width: usize, draw: RankedDraw) -> Self {
        let RankedDraw { density, epsilon, .. } = draw;
        // One element is neither small nor large.
        let epsilon = if width > 1 { epsilon } else { 0.0 };
        let draw = RankedDraw { epsilon, ..draw };
        let limit = |chance: f64| (chance.clamp(0.0, 1.0) * f64::from(1u32 << 24)).ceil() as u32;
        Self {
            level,
            draw,
            always: limit(density - epsilon),
            never: limit(density + epsilon),
            ranks: (width.max(1) - 1) as f64 / (2.0 * epsilon),
            draws: vec![0; width],
            between: vec![0; width + 1],
        }
    }

    /// Drops elements of a row, the first of which has the flat index `first`.
    pub(super) fn thin(&mut self, row: &mut [f32], first: u64) {
        let draws = &mut self.draws[..row.len()];
        simd::draws(self.level, self.draw.key, first, draws);
        let span = self.never - self.always;
        let mut count = 0;
        for (i, draw) in (0..).zip(draws.iter()) {
            self.between[count] = i;
            count += usize::from(draw.wrapping_sub(self.always) < span);
        }
        let histogram = if row.len() > SHORT { Some(Histogram::of(self.level, row)) } else { None };
        // An element survives whose rank is above this.
        let limit = |draw: u32| {
            let chance = f64::from(draw) / f64::from(1u32 << 24);
            (chance - (self.draw.density - self.draw.epsilon)) * self.ranks
        };
        let mut open = 0;
        for n in 0..count {
            let i = self.between[n] as usize;
            let (lowest, highest) = match &histogram {
                Some(histogram) => histogram.ranks(row[i]),
                None => (0, row.len() as u32),
            };
            let limit = limit(draws[i]);
            if f64::from(lowest) > limit {
                draws[i] = 0;
            } else if f64::from(highest) <= limit || row[i] == 0.0 {
                draws[i] = u32::MAX;
            } else {
                self.between[open] = i as u32;
                open += 1;
            }
        }
        let sorted = if open > FEW { sort(row) } else { Vec::new() };
        for n in 0..open {
            let i = self.between[n] as usize;
            let rank = match sorted.is_empty() {
                true => simd::rank(self.level, row, i),
                false => sorted.partition_point(|pair| *pair < pair_of(row, i)),
            };
            draws[i] = if rank as f64 > limit(draws[i]) { 0 } else { u32::MAX };
        }
        for (x, draw) in row.iter_mut().zip(draws) {
            *x = if *draw < self.always { *x } else { 0.0 };
        }
    }
}

fn key(x: f32) -> u32 {
    x.to_bits() & (u32::MAX >> 1)
}

/// Sorts by magnitude, then index.
fn pair_of(row: &[f32], i: usize) -> u64 {
    u64::from(key(row[i])) << 32 | i as u64
}

fn sort(row: &[f32]) -> Vec<u64> {
    let mut pairs: Vec<u64> = (0..row.len()).map(|i| pair_of(row, i)).collect();
    pairs.sort_unstable();
    pairs
}

/// For each bin, how many elements of a row lie in lower ones.
struct Histogram {
    top: u32,
    below: [u32; BINS + 1],
}

impl Histogram {
    fn of(level: Level, row: &[f32]) -> Self {
        let top = simd::largest_key(level, row) >> SHIFT;
        let mut below = [0u32; BINS + 1];
        for x in row {
            below[bin(top, *x) + 1] += 1;
        }
        let mut sum = 0;
        for count in &mut below {
            sum += *count;
            *count = sum;
        }
        Self { top, below }
    }

    /// The lowest and the highest rank that an element can have.
    fn ranks(&self, x: f32) -> (u32, u32) {
        let bin = bin(self.top, x);
        (self.below[bin], self.below[bin + 1] - 1)
    }
}

fn bin(top: u32, x: f32) -> usize {
    let depth = (top - (key(x) >> SHIFT)) as usize;
    BINS - 1 - depth.min(BINS - 1)
}
