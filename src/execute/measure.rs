//! Statistics of a whole tensor, gathered in passes before it is merged.
//!
//! A [`Meter`] measures one [`Stat`]. Workers observe blocks into a [`Tally`] of their own and hand it
//! over when they leave the pass. Counts may be added in any order; sums are kept per unit and added
//! in the order of units, so the result depends on neither threads nor blocks.

use super::cut::{CutSearch, MAX_BINS, Step};
use crate::device::{Chunk, Device, LINE, Window};
use crate::method::{AbsSums, Measured, Stat, Sums};
use crate::problem::ExecError;

/// One statistic being measured.
#[derive(Debug)]
pub(super) struct Meter {
    stat: Stat,
    phase: Phase,
    /// Per unit; the meaning is the phase's.
    sums: Vec<Vec<f64>>,
    equal: Vec<u64>,
    above: u64,
    bins: Vec<u64>,
}

#[derive(Debug)]
enum Phase {
    /// Inner products of this many models.
    Gram(usize),
    /// Counting passes.
    Search(CutSearch),
    /// Sums before and after the drop that is known by now.
    DropSums(Option<crate::device::Cut>),
    Done(Measured),
}

/// What one worker saw in one pass.
#[derive(Debug, Default)]
pub(super) struct Tally {
    above: u64,
    bins: Vec<u32>,
    /// Unit and its value.
    equal: Vec<(usize, u64)>,
    sums: Vec<(usize, Vec<f64>)>,
}

impl Meter {
    /// `guess`: a range of keys for the search of a cut, see [`guess`].
    pub(super) fn new(stat: Stat, models: usize, guess: Option<(u32, u32)>) -> Self {
        let phase = match stat {
            Stat::Gram => Phase::Gram(models),
            // Many models search at once: together they stay within 16 MiB of counters.
            Stat::Cut { keep, .. } => {
                Phase::Search(CutSearch::new(keep, guess, (16 * MAX_BINS / models.max(1)).min(MAX_BINS)))
            }
            Stat::DrawSums { .. } => Phase::DropSums(None),
        };
        Self { stat, phase, sums: Vec::new(), equal: Vec::new(), above: 0, bins: Vec::new() }
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
            (_, Stat::Gram) => Wants::Models,
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
                    tally.above += d.abs_counts(&delta, window, &mut tally.bins)?;
                }
                Step::Locate { key, .. } => {
                    let count = d.equal_counts(&delta, key, LINE)?.into_iter().map(u64::from).sum();
                    add_unit(&mut tally.equal, unit, count, |a, b| *a += b);
                }
                Step::Done(_) => {}
            },
            (Phase::DropSums(cut), stat) => {
                let all = d.line_abs_sums(&delta, LINE)?;
                match (cut, stat) {
                    (Some(cut), _) => d.keep_largest(&mut delta, *cut, first)?,
                    (None, Stat::DrawSums { draw, .. }) => d.keep_random(&mut delta, draw, first)?,
                    _ => {}
                }
                let kept = d.line_abs_sums(&delta, LINE)?;
                for (all, kept) in all.into_iter().zip(kept) {
                    add_unit(&mut tally.sums, unit, vec![all, kept], add_all);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Observes a block of all models.
    pub(super) fn observe_models<D: Device>(
        &self,
        d: &D,
        tally: &mut Tally,
        unit: usize,
        models: &[Chunk<'_>],
    ) -> Result<(), ExecError> {
        let loaded = models.iter().map(|m| d.load(*m)).collect::<Result<Vec<_>, _>>()?;
        let mut pairs = Vec::new();
        for (i, a) in loaded.iter().enumerate() {
            for b in loaded.iter().skip(i) {
                pairs.push(d.line_dots(a, b, LINE)?);
            }
        }
        for line in 0..pairs.first().map_or(0, Vec::len) {
            let values = pairs.iter().map(|p| p[line]).collect();
            add_unit(&mut tally.sums, unit, values, add_all);
        }
        Ok(())
    }

    /// Takes over what a worker saw. `units` is the number of units of the tensor.
    pub(super) fn absorb(&mut self, tally: Tally, units: usize) {
        self.above += tally.above;
        self.bins.resize(self.bins.len().max(tally.bins.len()), 0);
        for (sum, bin) in self.bins.iter_mut().zip(tally.bins) {
            *sum += u64::from(bin);
        }
        self.equal.resize(units, 0);
        for (unit, count) in tally.equal {
            self.equal[unit] += count;
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
        let above = std::mem::take(&mut self.above);
        let equal = std::mem::take(&mut self.equal);
        let sums = std::mem::take(&mut self.sums).into_iter().fold(Vec::new(), |mut total, unit| {
            if total.is_empty() {
                return unit;
            }
            add_all(&mut total, unit);
            total
        });
        match &mut self.phase {
            Phase::Gram(n) => self.phase = Phase::Done(Measured::Gram(square(*n, &sums))),
            Phase::Search(search) => {
                match search.step {
                    Step::Count(_) => search.counted(above, &bins),
                    Step::Locate { key, take } => {
                        let mut before = 0;
                        let unit = equal.iter().position(|count| {
                            let here = before + count >= take;
                            before += if here { 0 } else { *count };
                            here
                        });
                        let last = match unit {
                            Some(unit) => find(unit, key, take - before)?,
                            None => u64::MAX,
                        };
                        search.located(last);
                    }
                    Step::Done(_) => {}
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
    Models,
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
fn add_all(total: &mut Vec<f64>, more: Vec<f64>) {
    for (total, more) in total.iter_mut().zip(more) {
        *total += more;
    }
}

/// The upper triangle, row by row → the full matrix.
fn square(n: usize, triangle: &[f64]) -> Vec<f64> {
    let mut full = vec![0.0; n * n];
    let mut values = triangle.iter();
    for i in 0..n {
        for j in i..n {
            let value = values.next().copied().unwrap_or_default();
            full[i * n + j] = value;
            full[j * n + i] = value;
        }
    }
    full
}

/// A range of keys in which the `keep`-th largest of `elements` magnitudes probably lies, judged from a
/// sample of the difference. `None` when the sample says nothing useful.
pub(super) fn guess<D: Device>(
    d: &D,
    sample: &D::Buf,
    sampled: u64,
    keep: u64,
    elements: u64,
) -> Result<Option<(u32, u32)>, ExecError> {
    let share = keep as f64 / elements as f64;
    let rank = share * sampled as f64;
    // Neighbours resemble each other, so the sample is worth less than its size: five standard
    // deviations of a sample eight times smaller.
    let margin = 5.0 * (8.0 * sampled as f64 * share * (1.0 - share)).sqrt() + 8.0;
    let key_at = |rank: f64| -> Result<Option<u32>, ExecError> {
        if rank < 1.0 || rank > sampled as f64 {
            return Ok(None);
        }
        let mut search = CutSearch::new(rank as u64, None, Window::ALL.bins);
        while let Step::Count(window) = search.step {
            let mut bins = vec![0; window.bins];
            let above = d.abs_counts(sample, window, &mut bins)?;
            let bins: Vec<u64> = bins.into_iter().map(u64::from).collect();
            search.counted(above, &bins);
        }
        Ok(match search.step {
            Step::Done(cut) => Some(cut.key),
            Step::Locate { key, .. } => Some(key),
            Step::Count(_) => None,
        })
    };
    let low = key_at(rank + margin)?.unwrap_or(0);
    let high = key_at(rank - margin)?.unwrap_or(0x7fff_ffff);
    Ok((low <= high).then_some((low, high)))
}
