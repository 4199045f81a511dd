//! The measuring passes of a job.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::guess::guess;
use super::lens::{Desk, Lens};
use super::measure::{self, Meter, Tally, Wants};
use super::run::{Chunks, Context, Run};
use super::search::{Precision, Search, Wanted};
use crate::checkpoint::DType;
use crate::device::cpu::{Cpu, CpuBuf};
use crate::device::{Chunk, Device, LINE};
use crate::method::{Keep, Measured, Quantity, Stat, Vectors, divergences, importance, vectors};
use crate::plan::{Job, Work};
use crate::problem::{Error, ExecError};

/// Smaller tensors are counted whole, without a sample.
const SAMPLE_ABOVE: usize = 1 << 16;
/// A sample is one in this many elements …
const SAMPLE_SHARE: usize = 16;
/// … but never more than these.
const SAMPLE: usize = 1 << 16;
/// A sample is made of runs of this many neighbours, two cache lines of bf16.
const SAMPLE_RUN: usize = 64;

/// A block of a unit that is measured.
struct Seen<'c> {
    unit: usize,
    of_unit: Range<usize>,
    block: Range<usize>,
    models: &'c [Chunk<'c>],
    base: Option<Chunk<'c>>,
}

impl Seen<'_> {
    /// Shows a meter what it wants to see, on a device that has loaded the base.
    fn look<E: Device>(
        &self,
        d: &E,
        meter: &Meter,
        tally: &mut Tally,
        base: Option<&E::Buf>,
    ) -> Result<(), ExecError> {
        let Self { unit, of_unit, block, models, .. } = self;
        let (unit, first) = (*unit, block.start as u64);
        match (meter.wants(), base) {
            (Wants::All(of), base) => {
                let base = base.filter(|_| of == Vectors::Deltas);
                meter.observe_all(d, tally, unit, &vectors(d, models, base)?)
            }
            (Wants::One(Quantity::Importance { width }), Some(base)) => {
                let row = (block.start - of_unit.start) / width;
                let known = meter.divergences(unit, row, block.len() / width);
                let divergences = match known {
                    Some(divergences) => Cow::Borrowed(divergences),
                    None => Cow::Owned(divergences(d, models[0], base, width)?),
                };
                let x = importance(d, models[0], base, width, &divergences)?;
                meter.observe(d, tally, unit, first, x)?;
                if let Cow::Owned(divergences) = divergences {
                    tally.add_divergences(unit, divergences);
                }
                Ok(())
            }
            (Wants::One(quantity), Some(base)) => {
                meter.observe(d, tally, unit, first, quantity.of(d, models, base)?)
            }
            (Wants::Both(quantity), Some(base)) => {
                let mut deltas = vectors(d, models, Some(base))?;
                let x = match quantity {
                    Quantity::Variance => d.variance(&deltas)?,
                    _ => quantity.of(d, models, base)?,
                };
                meter.observe_both(d, tally, unit, first, &mut deltas, x)
            }
            _ => Ok(()),
        }
    }
}

/// What a job must have measured, with guesses from samples.
pub(super) fn meters<D: Device>(
    context: &Context<'_, D>,
    job: &Job,
    lenses: &[Lens<'_>],
) -> Result<Vec<Meter>, Error> {
    let Work::Merge(op) = &job.work else { return Ok(Vec::new()) };
    let half = lenses.iter().all(Lens::is_half);
    let stats = op.stats();
    let count = stats.iter().map(|stat| wanted(stat).len()).sum();
    let meter = |stat: Stat| {
        let mut searches = Vec::new();
        if let Stat::Cuts { of, then, .. } = &stat {
            let precision = match of {
                Quantity::Delta(_) if half => Precision::Half,
                _ => Precision::Full,
            };
            let all = wanted(&stat);
            let sample = if all.is_empty() { None } else { sample(context, job, lenses, *of)? };
            for wanted in all {
                let guess = match &sample {
                    Some((values, len)) => {
                        Some(guess(context.host, values, *len, wanted, job.elements() as u64)?)
                    }
                    None => None,
                };
                searches.push(Search::new(wanted, measure::equals(*then), precision, count, guess));
            }
        }
        Ok(Meter::new(stat, job, searches))
    };
    stats.into_iter().map(meter).collect()
}

/// How many cuts are searched for a job.
pub(super) fn searches(job: &Job) -> usize {
    let Work::Merge(op) = &job.work else { return 0 };
    op.stats().iter().map(|stat| wanted(stat).len()).sum()
}

/// The cuts that must be searched for a statistic; to keep everything needs none.
pub(super) fn wanted(stat: &Stat) -> Vec<Wanted> {
    match stat {
        Stat::Cuts { keep: Keep::Counts(counts), .. } => counts.iter().copied().map(Wanted::Count).collect(),
        Stat::Cuts { keep: Keep::OfNonZero(share), .. } if *share < 1.0 => vec![Wanted::OfNonZero(*share)],
        _ => Vec::new(),
    }
}

impl<'a> Run<'a> {
    /// Whether another measuring pass is due before the merge.
    pub(super) fn measures(&self) -> bool {
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        meters.iter().any(|m| m.measured().is_none())
    }

    /// Nothing counted yet.
    pub(super) fn tallies(&self) -> Vec<Tally> {
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        meters.iter().map(|_| Tally::default()).collect()
    }

    /// Measures one unit.
    pub(super) fn measure<D: Device>(
        &self,
        context: &Context<'a, D>,
        unit: usize,
        tallies: &mut [Tally],
    ) -> Result<(), Error> {
        let d = context.device;
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        let mut read = 0;
        self.prefetch(&self.range(unit));
        let mut desks = self.desks();
        for block in self.blocks(d, self.range(unit)) {
            let Chunks { models: chunks, base, .. } = self.chunks(context.eye(), &block, &mut desks)?;
            let seen = Seen { unit, of_unit: self.range(unit), block, models: &chunks, base };
            // None where the device has no memory for it.
            let base = match base.map(|base| d.load(base)).transpose() {
                Err(ExecError::DeviceMemory { .. }) => None,
                base => Some(base?),
            };
            for (meter, tally) in meters.iter().zip(tallies.iter_mut()) {
                let wants = meter.wants();
                read += match wants {
                    Wants::Nothing => continue,
                    Wants::One(Quantity::Delta(model)) => chunks[model].bytes.len(),
                    _ => chunks.iter().map(|c| c.bytes.len()).sum(),
                };
                let looked = match &base {
                    Some(base) => seen.look(d, meter, tally, base.as_ref()),
                    None => Err(ExecError::DeviceMemory { bytes: 0 }),
                };
                match looked {
                    // Memory is taken before anything is counted, so that nothing counts twice.
                    Err(ExecError::DeviceMemory { .. }) => {
                        context.leave_device();
                        let base = seen.base.map(|base| context.host.load(base)).transpose()?;
                        seen.look(context.host, meter, tally, base.as_ref())?;
                    }
                    looked => looked?,
                }
            }
        }
        self.check_intact()?;
        self.report(context, read as u64);
        Ok(())
    }

    /// Adds what a worker measured.
    pub(super) fn absorb(&self, tallies: Vec<Tally>) {
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        for (meter, tally) in meters.iter_mut().zip(tallies) {
            meter.absorb(tally);
        }
    }

    /// Ends a measuring pass.
    pub(super) fn conclude<D: Device>(&self, context: &Context<'a, D>) -> Result<(), Error> {
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        for meter in meters.iter_mut() {
            if let Wants::One(quantity) = meter.wants() {
                meter.conclude(|unit, key, n| self.find(context, quantity, unit, key, n))?;
            } else {
                meter.conclude(|_, _, _| Ok(u64::MAX))?;
            }
        }
        let pass = 1 + self.passes.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(tensor = self.job.name, pass, "measured");
        let measured: Option<Vec<Measured>> = meters.iter().map(|m| m.measured().cloned()).collect();
        if let (Some(measured), Work::Merge(op)) = (measured, &self.job.work) {
            let measured = op.settled(measured);
            *self.stats.write().unwrap_or_else(PoisonError::into_inner) = measured;
        }
        Ok(())
    }

    /// Flat index of the `n`-th element, from 1, of a unit whose magnitude has this key.
    fn find<D: Device>(
        &self,
        context: &Context<'a, D>,
        quantity: Quantity,
        unit: usize,
        key: u32,
        mut n: u64,
    ) -> Result<u64, Error> {
        // A unit, once for a cut: not worth a way to another device.
        let d: &Cpu = context.host;
        let mut desks = self.desks();
        let mut values = |range: Range<usize>| -> Result<CpuBuf, Error> {
            let Chunks { models, base, .. } = self.chunks(context.eye(), &range, &mut desks)?;
            let base = match base {
                Some(base) => d.load(base)?,
                None => d.zeros(range.len())?,
            };
            Ok(quantity.of(d, &models, &base)?)
        };
        for block in self.blocks(d, self.range(unit)) {
            for (i, count) in d.equal_counts(&values(block.clone())?, key, LINE)?.into_iter().enumerate() {
                if u64::from(count) < n {
                    n -= u64::from(count);
                    continue;
                }
                let start = block.start + i * LINE;
                let line = start..(start + LINE).min(block.end);
                for (i, equal) in d.equal_counts(&values(line)?, key, 1)?.into_iter().enumerate() {
                    n -= u64::from(equal);
                    if n == 0 {
                        return Ok((start + i) as u64);
                    }
                }
            }
        }
        Ok(u64::MAX)
    }
}

/// Values of a quantity at places all over the tensor, and how many; none where the tensor is small, or
/// where a value depends on its whole row. On the host: there are few.
fn sample<D: Device>(
    context: &Context<'_, D>,
    job: &Job,
    lenses: &[Lens<'_>],
    quantity: Quantity,
) -> Result<Option<(CpuBuf, u64)>, Error> {
    let (d, elements) = (context.host, job.elements());
    let Some((models, [base, ..])) = lenses.split_at_checked(job.models.len()).filter(|_| job.base.is_some())
    else {
        return Ok(None);
    };
    if elements <= SAMPLE_ABOVE || matches!(quantity, Quantity::Importance { .. }) {
        return Ok(None);
    }
    let runs = (elements / SAMPLE_SHARE).min(SAMPLE) / SAMPLE_RUN;
    let gather = |lens: &Lens<'_>| -> Result<(DType, Vec<u8>), Error> {
        let (mut bytes, mut dtype, mut desk) = (Vec::new(), lens.info.dtype, Desk::default());
        for run in 0..runs {
            let start = (run as u64 * (elements - SAMPLE_RUN) as u64 / runs as u64) as usize;
            let chunk = lens.chunk(context.eye(), start..start + SAMPLE_RUN, &mut desk)?;
            dtype = chunk.dtype;
            bytes.extend_from_slice(chunk.bytes);
        }
        Ok((dtype, bytes))
    };
    let (dtype, bytes) = gather(base)?;
    let base = d.load(Chunk { dtype, bytes: &bytes })?;
    let wanted = |i: usize| !matches!(quantity, Quantity::Delta(model) if model != i);
    let models = models.iter().enumerate().map(|(i, lens)| match wanted(i) {
        true => gather(lens),
        false => Ok((DType::F32, Vec::new())),
    });
    let models = models.collect::<Result<Vec<_>, _>>()?;
    let chunks: Vec<Chunk<'_>> = models.iter().map(|(dtype, bytes)| Chunk { dtype: *dtype, bytes }).collect();
    Ok(Some((quantity.of(d, &chunks, &base)?, (runs * SAMPLE_RUN) as u64)))
}
