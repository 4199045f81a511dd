//! Statistics of a whole tensor, gathered in passes before it is merged.
//!
//! A [`Meter`] measures one [`Stat`]. Workers observe blocks into a [`Tally`] of their own and hand it
//! over when they leave the pass. Counts may be added in any order; sums are kept per unit and added
//! in the order of units, so the result depends on neither threads nor blocks.

use super::cut::{CutSearch, FEW_BINS, MAX_BINS, Step};
use super::guess::Guess;
use crate::device::{Device, Outside, Window};
use crate::method::{AbsSums, Measured, Stat, Sums, Vectors, pairs};
use crate::plan::{Job, Work};
use crate::problem::ExecError;

/// Sums of columns are taken over this many parts of a tensor, then added in order: more would be more
/// memory, fewer less for threads to share.
const COLUMN_SUMS: usize = 16;

/// Memory that sums of columns take while a job is measured, in bytes.
pub(super) fn column_bytes(job: &Job) -> usize {
    let Work::Merge(op) = &job.work else { return 0 };
    let pairs = job.models.len() * (job.models.len() + 1) / 2;
    let width = |stat: &Stat| match stat {
        Stat::ColumnGram { width, .. } => *width,
        _ => 0,
    };
    op.stats().iter().map(|s| COLUMN_SUMS * width(s) * pairs * 8).sum()
}

/// One statistic being measured.
#[derive(Debug)]
pub(super) struct Meter {
    stat: Stat,
    phase: Phase,
    /// Elements in a line.
    line: usize,
    /// Units of the tensor.
    units: usize,
    /// Per unit; the meaning is the phase's.
    sums: Vec<Vec<f64>>,
    /// Per unit: how many elements have each of the keys of `likely`, or in a pass that locates, the key.
    equal: Vec<Vec<u64>>,
    /// Keys at which the cut probably is: counting their elements per unit saves the pass that locates.
    likely: Vec<u32>,
    outside: Outside,
    bins: Vec<u64>,
}

#[derive(Debug)]
enum Phase {
    /// Inner products.
    Gram,
    /// Inner products of columns.
    Columns,
    /// Counting passes.
    Search(CutSearch),
    /// Sums before and after the drop that is known by now.
    DropSums(Option<crate::device::Cut>),
    Done(Measured),
}

/// What one worker saw in one pass.
#[derive(Debug, Default)]
pub(super) struct Tally {
    outside: Outside,
    bins: Vec<u32>,
    /// Unit and its values.
    equal: Vec<(usize, Vec<u64>)>,
    sums: Vec<(usize, Vec<f64>)>,
}

/// How many different differences there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// All inputs are 16-bit floats.
    Half,
    /// Some are not.
    Full,
}

impl Meter {
    /// A meter of `stat` over the tensor of a job.
    pub(super) fn new(stat: Stat, job: &Job, precision: Precision, guess: Option<Guess>) -> Self {
        let (range, likely) = guess.map_or((None, Vec::new()), |g| (Some(g.range), g.likely));
        let bins = match precision {
            Precision::Half => FEW_BINS,
            // Many models search at once: together they stay within 16 MiB of counters.
            Precision::Full => (16 * MAX_BINS / job.models.len().max(1)).min(MAX_BINS),
        };
        let phase = match stat {
            Stat::Gram(_) => Phase::Gram,
            Stat::ColumnGram { .. } => Phase::Columns,
            Stat::Cut { keep, .. } => Phase::Search(CutSearch::new(keep, range, bins)),
            Stat::DrawSums { .. } => Phase::DropSums(None),
        };
        let units = job.elements().div_ceil(super::unit(job));
        let (sums, equal, bins) = (Vec::new(), Vec::new(), Vec::new());
        Self { stat, phase, line: job.grain(), units, sums, equal, likely, outside: Outside::default(), bins }
    }

    /// The result, once there is one.
    pub(super) fn measured(&self) -> Option<&Measured> {
        match &self.phase {
            Phase::Done(measured) => Some(measured),
            _ => None,
        }
    }

    /// Which inputs this meter wants to see in the coming pass.
    pub(super) fn wants(&self) -> Wants {
        match (&self.phase, self.stat) {
            (Phase::Done(_), _) => Wants::Nothing,
            (_, Stat::Gram(of) | Stat::ColumnGram { of, .. }) => Wants::All(of),
            (_, Stat::Cut { model, .. } | Stat::DrawSums { model, .. }) => Wants::Delta(model),
        }
    }

    /// Observes a block of one model's difference from the base.
    pub(super) fn observe_delta<D: Device>(
        &self,
        d: &D,
        tally: &mut Tally,
        unit: usize,
        first: u64,
        mut delta: D::Buf,
    ) -> Result<(), ExecError> {
        match (&self.phase, self.stat) {
            (Phase::Search(search), _) => match search.step {
                Step::Count(window) => {
                    tally.bins.resize(window.bins, 0);
                    let before = self.likely_counts(window, &tally.bins);
                    let outside = d.abs_counts(&delta, window, &mut tally.bins)?;
                    tally.outside = tally.outside.and(outside);
                    let after = self.likely_counts(window, &tally.bins);
                    let here = after.iter().zip(before).map(|(after, before)| after - before).collect();
                    add_unit(&mut tally.equal, unit, here, add_all);
                }
                Step::Locate { key, .. } => {
                    let count = d.equal_counts(&delta, key, self.line)?.into_iter().map(u64::from).sum();
                    add_unit(&mut tally.equal, unit, vec![count], add_all);
                }
                Step::Done(_) => {}
            },
            (Phase::DropSums(cut), stat) => {
                let all = d.line_abs_sums(&delta, self.line)?;
                match (cut, stat) {
                    (Some(cut), _) => d.keep_largest(&mut delta, *cut, first)?,
                    (None, Stat::DrawSums { draw, .. }) => d.keep_random(&mut delta, draw, first)?,
                    _ => {}
                }
                let kept = d.line_abs_sums(&delta, self.line)?;
                for (all, kept) in all.into_iter().zip(kept) {
                    add_unit(&mut tally.sums, unit, vec![all, kept], add_all);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The bins of the likely keys.
    fn likely_counts(&self, window: Window, bins: &[u32]) -> Vec<u64> {
        let bin = |key: &u32| key.checked_sub(window.low).map(|offset| (offset >> window.shift) as usize);
        let count = |key| bin(key).and_then(|b| bins.get(b)).map_or(0, |n| u64::from(*n));
        self.likely.iter().map(count).collect()
    }

    /// Observes a block of all models, or of all differences.
    pub(super) fn observe_all<D: Device>(
        &self,
        d: &D,
        tally: &mut Tally,
        unit: usize,
        vectors: &[D::Buf],
    ) -> Result<(), ExecError> {
        if let (Phase::Columns, Stat::ColumnGram { width, .. }) = (&self.phase, self.stat) {
            let portion = unit / self.portion(self.units).max(1);
            let len = width * vectors.len() * (vectors.len() + 1) / 2;
            if tally.sums.last().is_none_or(|(last, _)| *last != portion) {
                tally.sums.push((portion, vec![0.0; len]));
            }
            let Some((_, sums)) = tally.sums.last_mut() else { return Ok(()) };
            let mut columns = sums.chunks_mut(width);
            pairs(vectors, |a, b| match columns.next() {
                Some(sums) => d.add_column_dots(a, b, sums),
                None => Ok(()),
            })?;
            return Ok(());
        }
        let dots = pairs(vectors, |a, b| d.line_dots(a, b, self.line))?;
        for line in 0..dots.first().map_or(0, Vec::len) {
            let values = dots.iter().map(|p| p[line]).collect();
            add_unit(&mut tally.sums, unit, values, add_all);
        }
        Ok(())
    }

    /// How many units one worker measures in a row. Sums of columns are kept for each such portion, so
    /// there are only a few.
    pub(super) fn portion(&self, units: usize) -> usize {
        match self.stat {
            Stat::ColumnGram { .. } => units.div_ceil(COLUMN_SUMS),
            _ => 1,
        }
    }

    /// Takes over what a worker saw. `units` is the number of units of the tensor.
    pub(super) fn absorb(&mut self, tally: Tally, units: usize) {
        self.outside = self.outside.and(tally.outside);
        self.bins.resize(self.bins.len().max(tally.bins.len()), 0);
        for (sum, bin) in self.bins.iter_mut().zip(tally.bins) {
            *sum += u64::from(bin);
        }
        self.equal.resize(units, Vec::new());
        for (unit, counts) in tally.equal {
            self.equal[unit] = counts;
        }
        self.sums.resize(units, Vec::new());
        for (unit, sums) in tally.sums {
            self.sums[unit] = sums;
        }
    }

    /// Ends a pass. `find(unit, key, n)` returns the flat index of the n-th element (from 1) of a unit
    /// whose magnitude has that key.
    pub(super) fn conclude(
        &mut self,
        find: impl FnOnce(usize, u32, u64) -> Result<u64, ExecError>,
    ) -> Result<(), ExecError> {
        let bins = std::mem::take(&mut self.bins);
        let outside = std::mem::take(&mut self.outside);
        let equal = std::mem::take(&mut self.equal);
        let sums = std::mem::take(&mut self.sums).into_iter().fold(Vec::new(), |mut total, unit| {
            if total.is_empty() {
                return unit;
            }
            add_all(&mut total, unit);
            total
        });
        match &mut self.phase {
            Phase::Gram => self.phase = Phase::Done(Measured::Gram(sums)),
            Phase::Columns => {
                let width = match self.stat {
                    Stat::ColumnGram { width, .. } => width,
                    _ => 1,
                };
                let pairs = sums.chunks(width).map(<[f64]>::to_vec).collect();
                self.phase = Phase::Done(Measured::ColumnGram(pairs));
            }
            Phase::Search(search) => {
                // Which column of `equal` tells where the elements of the key are.
                let mut column = Some(0);
                if let Step::Count(_) = search.step {
                    search.counted(outside, &bins);
                    column = match search.step {
                        Step::Locate { key, .. } => self.likely.iter().position(|likely| *likely == key),
                        _ => None,
                    };
                }
                if let (Step::Locate { key, take }, Some(column)) = (search.step, column) {
                    let counts = equal.iter().map(|unit| unit.get(column).copied().unwrap_or_default());
                    let mut before = 0;
                    let unit = counts.into_iter().position(|count| {
                        let here = before + count >= take;
                        before += if here { 0 } else { count };
                        here
                    });
                    let last = match unit {
                        Some(unit) => find(unit, key, take - before)?,
                        None => u64::MAX,
                    };
                    search.located(last);
                }
                if let Step::Done(cut) = search.step {
                    self.phase = match self.stat {
                        Stat::Cut { sums: Sums::Measure, .. } => Phase::DropSums(Some(cut)),
                        _ => Phase::Done(Measured::Cut(cut, AbsSums::default())),
                    };
                }
            }
            Phase::DropSums(cut) => {
                let sums = match sums[..] {
                    [all, kept] => AbsSums { all, kept },
                    _ => AbsSums::default(),
                };
                self.phase = Phase::Done(match cut {
                    Some(cut) => Measured::Cut(*cut, sums),
                    None => Measured::DrawSums(sums),
                });
            }
            Phase::Done(_) => {}
        }
        Ok(())
    }
}

/// See [`Meter::wants`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Nothing,
    All(Vectors),
    Delta(usize),
}

/// Adds a value to the entry of `unit`, which is the last one if there is one: workers observe a
/// unit's blocks in order.
fn add_unit<T>(entries: &mut Vec<(usize, T)>, unit: usize, value: T, add: impl Fn(&mut T, T)) {
    match entries.last_mut() {
        Some((last, sum)) if *last == unit => add(sum, value),
        _ => entries.push((unit, value)),
    }
}

#[allow(clippy::ptr_arg)] // the signature that `add_unit` asks for
fn add_all<T: std::ops::AddAssign>(total: &mut Vec<T>, more: Vec<T>) {
    for (total, more) in total.iter_mut().zip(more) {
        *total += more;
    }
}
