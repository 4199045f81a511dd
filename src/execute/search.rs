//! One cut being searched over the passes of a tensor: what workers count, and what follows from it.

use super::cut::{CutSearch, FEW_BINS, MAX_BINS, Step};
use super::guess::Guess;
use crate::device::{Cut, Device, Outside, Window};
use crate::problem::{Error, ExecError};

/// How many of the largest are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wanted {
    /// So many.
    Count(u64),
    /// This share of those that are not zero; how many there are is counted in the first pass.
    OfNonZero(f64),
}

/// Whether equals at the cut must be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Equals {
    /// Where the last kept one of them is must be found.
    Part,
    /// Only the key matters.
    Leave,
}

/// How many different values there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// Differences of 16-bit floats.
    Half,
    /// Anything else.
    Full,
}

/// The search, and what is counted for it in the pass at hand.
#[derive(Debug)]
pub(super) struct Search {
    wanted: Wanted,
    equals: Equals,
    cut: CutSearch,
    /// Keys at which the cut probably is: counting their elements per unit saves the pass that locates.
    likely: Vec<u32>,
    outside: Outside,
    bins: Vec<u64>,
    zeros: u64,
    /// Per unit: how many elements have each of the keys of `likely`, or in a pass that locates, the key.
    equal: Vec<Vec<u64>>,
}

/// What one worker counted in one pass.
#[derive(Debug, Default)]
pub(super) struct Counts {
    outside: Outside,
    bins: Vec<u32>,
    zeros: u64,
    /// Unit and its values.
    equal: Vec<(usize, Vec<u64>)>,
}

impl Search {
    /// A search, one of `searches` that count at once.
    pub(super) fn new(
        wanted: Wanted,
        equals: Equals,
        precision: Precision,
        searches: usize,
        guess: Option<Guess>,
    ) -> Self {
        let (range, likely) = guess.map_or((None, Vec::new()), |g| (Some(g.range), g.likely));
        let bins = match precision {
            Precision::Half => FEW_BINS,
            // Together they stay within 16 MiB of counters.
            Precision::Full => (16 * MAX_BINS / searches.max(1)).min(MAX_BINS),
        };
        let keep = match wanted {
            Wanted::Count(keep) => keep,
            Wanted::OfNonZero(_) => 0, // known after the first pass
        };
        let cut = CutSearch::new(keep, range, bins);
        let (outside, bins, equal) = (Outside::default(), Vec::new(), Vec::new());
        Self { wanted, equals, cut, likely, outside, bins, zeros: 0, equal }
    }

    /// The cut, once it is found.
    pub(super) fn found(&self) -> Option<Cut> {
        match self.cut.step {
            Step::Done(cut) => Some(cut),
            _ => None,
        }
    }

    /// Counts a block of a unit.
    pub(super) fn observe<D: Device>(
        &self,
        d: &D,
        counts: &mut Counts,
        unit: usize,
        line: usize,
        x: &D::Buf,
    ) -> Result<(), ExecError> {
        let sum = |key| -> Result<u64, ExecError> {
            Ok(d.equal_counts(x, key, line)?.into_iter().map(u64::from).sum())
        };
        match self.cut.step {
            Step::Count(window) => {
                counts.bins.resize(window.bins, 0);
                let before = self.likely_counts(window, &counts.bins);
                let outside = d.abs_counts(x, window, &mut counts.bins)?;
                counts.outside = counts.outside.and(outside);
                let after = self.likely_counts(window, &counts.bins);
                let here = after.iter().zip(before).map(|(after, before)| after - before).collect();
                add_unit(&mut counts.equal, unit, here);
                if let Wanted::OfNonZero(_) = self.wanted {
                    counts.zeros += sum(0)?;
                }
            }
            Step::Locate { key, .. } => add_unit(&mut counts.equal, unit, vec![sum(key)?]),
            Step::Done(_) => {}
        }
        Ok(())
    }

    /// The bins of the likely keys.
    fn likely_counts(&self, window: Window, bins: &[u32]) -> Vec<u64> {
        let bin = |key: &u32| key.checked_sub(window.low).map(|offset| (offset >> window.shift) as usize);
        let count = |key| bin(key).and_then(|b| bins.get(b)).map_or(0, |n| u64::from(*n));
        self.likely.iter().map(count).collect()
    }

    /// Takes over what a worker counted. `units` is the number of units of the tensor.
    pub(super) fn absorb(&mut self, counts: Counts, units: usize) {
        self.outside = self.outside.and(counts.outside);
        self.zeros += counts.zeros;
        self.bins.resize(self.bins.len().max(counts.bins.len()), 0);
        for (sum, bin) in self.bins.iter_mut().zip(counts.bins) {
            *sum += u64::from(bin);
        }
        self.equal.resize(units, Vec::new());
        for (unit, equal) in counts.equal {
            self.equal[unit] = equal;
        }
    }

    /// Ends a pass over `elements` elements. `find(unit, key, n)` returns the flat index of the n-th
    /// element (from 1) of a unit whose magnitude has that key.
    pub(super) fn conclude(
        &mut self,
        elements: u64,
        find: impl FnOnce(usize, u32, u64) -> Result<u64, Error>,
    ) -> Result<(), Error> {
        let bins = std::mem::take(&mut self.bins);
        let outside = std::mem::take(&mut self.outside);
        let zeros = std::mem::take(&mut self.zeros);
        let equal = std::mem::take(&mut self.equal);
        if let Wanted::OfNonZero(share) = self.wanted {
            let keep = (share * (elements - zeros) as f64) as u64;
            self.wanted = Wanted::Count(keep);
            self.cut.keep = keep;
            if keep == 0 {
                self.cut.step = Step::Done(Cut::WHOLE);
            }
        }
        // Which column of `equal` tells where the elements of the key are.
        let mut column = Some(0);
        if let Step::Count(_) = self.cut.step {
            self.cut.counted(outside, &bins);
            column = match self.cut.step {
                Step::Locate { key, .. } => self.likely.iter().position(|likely| *likely == key),
                _ => None,
            };
        }
        if let (Step::Locate { .. }, Equals::Leave) = (self.cut.step, self.equals) {
            self.cut.located(u64::MAX);
        }
        if let (Step::Locate { key, take }, Some(column)) = (self.cut.step, column) {
            let mut before = 0;
            let unit = equal.iter().position(|unit| {
                let count = unit.get(column).copied().unwrap_or_default();
                let here = before + count >= take;
                before += if here { 0 } else { count };
                here
            });
            let last = match unit {
                Some(unit) => find(unit, key, take - before)?,
                None => u64::MAX,
            };
            self.cut.located(last);
        }
        Ok(())
    }
}

/// Adds values to those of `unit`, which are the last ones if there are any: workers observe a unit's
/// blocks in order.
pub(super) fn add_unit<T: std::ops::AddAssign>(
    entries: &mut Vec<(usize, Vec<T>)>,
    unit: usize,
    values: Vec<T>,
) {
    match entries.last_mut() {
        Some((last, sums)) if *last == unit => add_all(sums, values),
        _ => entries.push((unit, values)),
    }
}

/// Adds value by value.
pub(super) fn add_all<T: std::ops::AddAssign>(sums: &mut [T], values: Vec<T>) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}
