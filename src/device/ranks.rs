//! Drops by rank within a row, without sorting.
//!
//! A draw below the chance of the smallest element keeps any element, one above that of the largest drops
//! any. Between, an element is kept where its rank exceeds some value; a histogram of the row's magnitudes
//! says between which two numbers the rank lies, and nearly always that is enough. The few that are left
//! are counted one by one, or if a row has many of them, looked up among its sorted elements.

use super::RankedDraw;
use super::kernels::BINS;
use super::simd::{self, Level};

/// In rows up to this length counting is cheaper than a histogram.
const SHORT: usize = 128;
/// So many elements of a row are counted one by one; for more the row is sorted.
const FEW: usize = 256;
/// Room behind a list of indices, for kernels that store whole vectors.
const ROOM: usize = 16;

/// What a draw is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// Draws below this keep any element …
    pub(super) always: u32,
    /// … and those from this on none.
    pub(super) never: u32,
    /// The chance of the smallest element.
    pub(super) lowest: f64,
    /// Ranks for a whole unit of chance.
    pub(super) ranks: f64,
}

impl Limits {
    /// In rows of `width` elements. Between, an element stays whose rank is above
    /// `(draw / 2^24 - lowest) · ranks`.
    pub(super) fn of(width: usize, draw: RankedDraw) -> Self {
        let RankedDraw { density, epsilon, .. } = draw;
        // One element is neither small nor large.
        let epsilon = if width > 1 { epsilon } else { 0.0 };
        let limit = |chance: f64| (chance.clamp(0.0, 1.0) * f64::from(1u32 << 24)).ceil() as u32;
        Self {
            always: limit(density - epsilon),
            never: limit(density + epsilon),
            lowest: density - epsilon,
            ranks: (width.max(1) - 1) as f64 / (2.0 * epsilon),
        }
    }
}

/// Drops row after row.
pub(super) struct Dropper {
    level: Level,
    key: u64,
    limits: Limits,
    draws: Vec<u32>,
    bins: Vec<u8>,
    /// Indices of a row's elements whose draws lie between.
    between: Vec<u32>,
}

impl Dropper {
    /// For rows of `width` elements.
    pub(super) fn new(level: Level, width: usize, draw: RankedDraw) -> Self {
        Self {
            level,
            key: draw.key,
            limits: Limits::of(width, draw),
            draws: vec![0; width],
            bins: vec![0; width],
            between: vec![0; width + ROOM],
        }
    }

    /// Drops elements of a row, the first of which has the flat index `first`.
    pub(super) fn thin(&mut self, row: &mut [f32], first: u64) {
        let draws = &mut self.draws[..row.len()];
        let Limits { always, never, lowest, ranks } = self.limits;
        simd::draws(self.level, self.key, first, draws);
        let span = never - always;
        let count = simd::draws_between(self.level, draws, always, span, &mut self.between);
        let below = if row.len() > SHORT {
            let largest = simd::largest_key(self.level, row);
            simd::rank_bins(self.level, row, largest, &mut self.bins);
            simd::ranks_below(self.level, &self.bins)
        } else {
            // One bin for all; `bins` holds zeros.
            let mut below = [row.len() as u32; BINS + 1];
            below[0] = 0;
            below
        };
        // An element survives whose rank is above this.
        let limit = |draw: u32| (f64::from(draw) / f64::from(1u32 << 24) - lowest) * ranks;
        let mut open = 0;
        for n in 0..count {
            let i = self.between[n] as usize;
            let bin = usize::from(self.bins[i]);
            let limit = limit(draws[i]);
            // Its rank is at least the first, and below the second.
            let (keeps, drops) = (f64::from(below[bin]) > limit, f64::from(below[bin + 1] - 1) <= limit);
            // Without branches: which way it goes is anyone's guess.
            let stays_open = u32::from(!(keeps | drops)).wrapping_neg();
            draws[i] = (draws[i] & stays_open) | (DROPPED * u32::from(drops & !keeps));
            self.between[open] = i as u32;
            open += usize::from(!(keeps | drops | (row[i] == 0.0)));
        }
        let sorted = if open > FEW { sort(row) } else { Vec::new() };
        for n in 0..open {
            let i = self.between[n] as usize;
            let rank = match sorted.is_empty() {
                true => simd::rank(self.level, row, i),
                false => sorted.partition_point(|pair| *pair < pair_of(row, i)),
            };
            draws[i] = if rank as f64 > limit(draws[i]) { 0 } else { DROPPED };
        }
        simd::keep_drawn(self.level, row, draws, always);
    }
}

/// More than any draw.
const DROPPED: u32 = 1 << 31;

/// Sorts by magnitude, then index.
fn pair_of(row: &[f32], i: usize) -> u64 {
    u64::from(row[i].to_bits() & (u32::MAX >> 1)) << 32 | i as u64
}

fn sort(row: &[f32]) -> Vec<u64> {
    let mut pairs: Vec<u64> = (0..row.len()).map(|i| pair_of(row, i)).collect();
    pairs.sort_unstable();
    pairs
}
