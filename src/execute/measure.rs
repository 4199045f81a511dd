//! Statistics of a whole tensor, gathered in passes before it is merged.
//!
//! A [`Meter`] measures one [`Stat`]: cuts are searched by counting, everything else is a sum. Workers
//! observe blocks into a [`Tally`] of their own and hand it over when they leave the pass. Counts may be
//! added in any order; sums are kept per unit and added in the order of units, so the result depends on
//! neither threads nor blocks.

use super::search::{Counts, Equals, Search, add_all, add_unit};
use crate::device::{Cut, Device, Overlap};
use crate::method::{AbsSums, Band, Measured, Quantity, Stat, Then, Vectors, pairs};
use crate::plan::{Job, Work};
use crate::problem::{Error, ExecError};

/// Sums of columns are taken over this many parts of a tensor, then added in order: more would be more
/// memory, fewer less for threads to share.
const COLUMN_SUMS: usize = 16;

/// Memory that values of columns or rows take while a job is measured, in bytes.
pub(super) fn value_bytes(job: &Job) -> usize {
    let Work::Merge(op) = &job.work else { return 0 };
    let pairs = job.models.len() * (job.models.len() + 1) / 2;
    let bytes = |stat: &Stat| match stat {
        Stat::ColumnGram { width, .. } => COLUMN_SUMS * width * pairs * 8,
        // Twice: while they are put together.
        Stat::Cuts { of: Quantity::Importance { width }, .. } => job.elements() / width * 8,
        _ => 0,
    };
    op.stats().iter().map(bytes).sum()
}

/// One statistic being measured.
#[derive(Debug)]
pub(super) struct Meter {
    stat: Stat,
    phase: Phase,
    /// Elements in a line.
    line: usize,
    elements: u64,
    /// Units of the tensor.
    units: usize,
    /// Per unit, or per portion of units.
    sums: Vec<Vec<f64>>,
    /// Per unit: the divergence of each row, from the first pass on.
    divergences: Vec<Vec<f32>>,
}

#[derive(Debug)]
enum Phase {
    /// Counting passes.
    Search(Vec<Search>),
    /// Sums, after these cuts.
    Sum(Vec<Cut>),
    Done(Measured),
}

/// What one worker saw in one pass.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Vec<Counts>,
    /// Unit or portion and its values.
    sums: Vec<(usize, Vec<f64>)>,
    /// Unit and its rows.
    divergences: Vec<(usize, Vec<f32>)>,
}

impl Tally {
    /// Notes divergences of more rows of a unit.
    pub(super) fn add_divergences(&mut self, unit: usize, rows: Vec<f32>) {
        match self.divergences.last_mut() {
            Some((last, all)) if *last == unit => all.extend(rows),
            _ => self.divergences.push((unit, rows)),
        }
    }
}

/// What a meter wants to see in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Nothing,
    All(Vectors),
    One(Quantity),
    /// All differences, and a quantity.
    Both(Quantity),
}

impl Meter {
    /// A meter of `stat` over the tensor of a job; `searches` for the cuts that it has.
    pub(super) fn new(stat: Stat, job: &Job, searches: Vec<Search>) -> Self {
        let phase = match searches.is_empty() {
            true => Phase::Sum(Vec::new()),
            false => Phase::Search(searches),
        };
        let units = job.elements().div_ceil(super::unit(job));
        let (line, elements) = (job.grain(), job.elements() as u64);
        Self { stat, phase, line, elements, units, sums: Vec::new(), divergences: Vec::new() }
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
        match (&self.phase, &self.stat) {
            (Phase::Done(_), _) => Wants::Nothing,
            (_, Stat::Gram(of) | Stat::ColumnGram { of, .. }) => Wants::All(*of),
            (_, Stat::Overlap { .. }) => Wants::All(Vectors::Deltas),
            (Phase::Sum(_), Stat::Cuts { of, then: Then::Squares, .. }) => Wants::Both(*of),
            (_, Stat::Cuts { of, .. }) => Wants::One(*of),
            (_, Stat::DrawSums { model, .. }) => Wants::One(Quantity::Delta(*model)),
        }
    }

    /// Divergences of some rows of a unit, if they are known by now.
    pub(super) fn divergences(&self, unit: usize, first: usize, rows: usize) -> Option<&[f32]> {
        self.divergences.get(unit)?.get(first..first + rows)
    }

    /// Observes a block of a quantity, which may be changed.
    pub(super) fn observe<D: Device>(
        &self,
        d: &D,
        tally: &mut Tally,
        unit: usize,
        first: u64,
        mut x: D::Buf,
    ) -> Result<(), ExecError> {
        match (&self.phase, &self.stat) {
            (Phase::Search(searches), _) => {
                tally.counts.resize_with(searches.len(), Counts::default);
                for (search, counts) in searches.iter().zip(&mut tally.counts) {
                    search.observe(d, counts, unit, self.line, &x)?;
                }
            }
            (Phase::Sum(cuts), stat) => {
                let all = d.line_abs_sums(&x, self.line)?;
                match stat {
                    Stat::DrawSums { drop, .. } => drop.apply(d, &mut x, first)?,
                    _ => Band::of(cuts).apply(d, &mut x, first)?,
                }
                let kept = d.line_abs_sums(&x, self.line)?;
                for (all, kept) in all.into_iter().zip(kept) {
                    add_unit(&mut tally.sums, unit, vec![all, kept]);
                }
            }
            (Phase::Done(_), _) => {}
        }
        Ok(())
    }

    /// Observes a block of all models, or of all differences.
    pub(super) fn observe_all<D: Device>(
        &self,
        d: &D,
        tally: &mut Tally,
        unit: usize,
        vectors: &[D::Buf],
    ) -> Result<(), ExecError> {
        match self.stat {
            Stat::ColumnGram { width, .. } => {
                let portion = unit / self.portion();
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
            }
            Stat::Overlap { epsilon } => {
                let overlaps = d.overlaps(vectors, epsilon)?;
                // Counts below 2^53 are exact, in any order.
                let counts = overlaps.iter().flat_map(|o| [o.shared as f64, o.alone as f64]).collect();
                add_unit(&mut tally.sums, unit, counts);
            }
            _ => {
                let dots = pairs(vectors, |a, b| d.line_dots(a, b, self.line))?;
                self.add_lines(tally, unit, &dots);
            }
        }
        Ok(())
    }

    /// Observes a block of all differences, and of the quantity by which they are cut.
    pub(super) fn observe_both<D: Device>(
        &self,
        d: &D,
        tally: &mut Tally,
        unit: usize,
        first: u64,
        deltas: &mut [D::Buf],
        mut x: D::Buf,
    ) -> Result<(), ExecError> {
        let Phase::Sum(cuts) = &self.phase else { return Ok(()) };
        if !cuts.is_empty() {
            Band::of(cuts).apply(d, &mut x, first)?;
            deltas.iter_mut().try_for_each(|delta| d.keep_where(delta, &x))?;
        }
        let squares = deltas.iter().map(|x| d.line_dots(x, x, self.line)).collect::<Result<Vec<_>, _>>()?;
        self.add_lines(tally, unit, &squares);
        Ok(())
    }

    /// Adds sums of lines, several of each, to the sums of their unit.
    fn add_lines(&self, tally: &mut Tally, unit: usize, sums: &[Vec<f64>]) {
        for line in 0..sums.first().map_or(0, Vec::len) {
            add_unit(&mut tally.sums, unit, sums.iter().map(|s| s[line]).collect());
        }
    }

    /// How many units one worker measures in a row. Sums of columns are kept for each such portion, so
    /// there are only a few.
    pub(super) fn portion(&self) -> usize {
        match self.stat {
            Stat::ColumnGram { .. } => self.units.div_ceil(COLUMN_SUMS).max(1),
            _ => 1,
        }
    }

    /// Takes over what a worker saw.
    pub(super) fn absorb(&mut self, tally: Tally) {
        if let Phase::Search(searches) = &mut self.phase {
            for (search, counts) in searches.iter_mut().zip(tally.counts) {
                search.absorb(counts, self.units);
            }
        }
        self.sums.resize(self.units, Vec::new());
        for (unit, sums) in tally.sums {
            self.sums[unit] = sums;
        }
        for (unit, rows) in tally.divergences {
            self.divergences.resize(self.units, Vec::new());
            self.divergences[unit] = rows;
        }
    }

    /// Ends a pass. `find(unit, key, n)` returns the flat index of the n-th element (from 1) of a unit
    /// whose magnitude has that key.
    pub(super) fn conclude(
        &mut self,
        mut find: impl FnMut(usize, u32, u64) -> Result<u64, Error>,
    ) -> Result<(), Error> {
        let sums = std::mem::take(&mut self.sums).into_iter().fold(Vec::new(), |mut total, unit| {
            if total.is_empty() {
                return unit;
            }
            add_all(&mut total, unit);
            total
        });
        match &mut self.phase {
            Phase::Search(searches) => {
                for search in searches.iter_mut().filter(|s| s.found().is_none()) {
                    search.conclude(self.elements, &mut find)?;
                }
                let cuts: Option<Vec<Cut>> = searches.iter().map(Search::found).collect();
                if let Some(cuts) = cuts {
                    self.phase = match self.stat {
                        Stat::Cuts { then: Then::AbsSums | Then::Squares, .. } => Phase::Sum(cuts),
                        Stat::Cuts { of: Quantity::Importance { .. }, .. } => {
                            let rows = std::mem::take(&mut self.divergences).concat();
                            Phase::Done(Measured::CutRows(cuts, rows))
                        }
                        _ => Phase::Done(Measured::Cuts(cuts)),
                    };
                }
            }
            Phase::Sum(cuts) => self.phase = Phase::Done(result(&self.stat, std::mem::take(cuts), sums)),
            Phase::Done(_) => {}
        }
        Ok(())
    }
}

/// What sums mean.
fn result(stat: &Stat, cuts: Vec<Cut>, sums: Vec<f64>) -> Measured {
    let abs_sums = match sums[..] {
        [all, kept] => AbsSums { all, kept },
        _ => AbsSums::default(),
    };
    match stat {
        Stat::Gram(_) => Measured::Gram(sums),
        Stat::ColumnGram { width, .. } => {
            Measured::ColumnGram(sums.chunks(*width).map(<[f64]>::to_vec).collect())
        }
        Stat::Cuts { then: Then::Squares, .. } => {
            Measured::CutSquares(cuts.first().copied().unwrap_or(Cut::NONE), sums)
        }
        Stat::Cuts { .. } => Measured::CutSums(cuts, abs_sums),
        Stat::DrawSums { .. } => Measured::DrawSums(abs_sums),
        Stat::Overlap { .. } => {
            let overlap = |pair: &[f64; 2]| Overlap { shared: pair[0] as u64, alone: pair[1] as u64 };
            Measured::Overlap(sums.as_chunks::<2>().0.iter().map(overlap).collect())
        }
    }
}

/// Whether a search must tell equals apart for a statistic.
pub(super) fn equals(then: Then) -> Equals {
    match then {
        Then::Magnitude => Equals::Leave,
        Then::Cut | Then::AbsSums | Then::Squares => Equals::Part,
    }
}
