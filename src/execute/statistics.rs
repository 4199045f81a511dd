//! The measuring passes of a job.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::guess::{Guess, guess};
use super::measure::{Meter, Precision, Tally, Wants};
use super::run::{Context, Run};
use crate::checkpoint::DType;
use crate::device::{Chunk, Device, LINE};
use crate::method::{Measured, Stat, Vectors, vectors};
use crate::plan::{Job, Source, Work};
use crate::problem::ExecError;

/// Smaller tensors are counted whole, without a sample.
const SAMPLE_ABOVE: usize = 1 << 16;
/// A sample is one in this many elements …
const SAMPLE_SHARE: usize = 16;
/// … but never more than these.
const SAMPLE: usize = 1 << 16;
/// A sample is made of runs of this many neighbours, two cache lines of bf16.
const SAMPLE_RUN: usize = 64;

/// What a job must have measured, with guesses from samples.
pub(super) fn meters<D: Device>(context: &Context<'_, D>, job: &Job) -> Result<Vec<Meter>, ExecError> {
    let Work::Merge(op) = &job.work else { return Ok(Vec::new()) };
    let half = job.sources().all(|s| s.info(&context.plan.inputs).dtype.size() <= 2);
    let precision = if half { Precision::Half } else { Precision::Full };
    let meter = |stat| {
        let guess = match stat {
            Stat::Cut { model, keep, .. } if job.elements() > SAMPLE_ABOVE => {
                sampled_guess(context, job, model, keep)?
            }
            _ => None,
        };
        Ok(Meter::new(stat, job, precision, guess))
    };
    op.stats().into_iter().map(meter).collect()
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
    ) -> Result<(), ExecError> {
        let (d, inputs) = (context.device, &context.plan.inputs);
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        let mut read = 0;
        self.prefetch(context, self.range(unit));
        for block in self.blocks(d, self.range(unit)) {
            let base = match self.job.base {
                Some(base) => Some(d.load(base.chunk(inputs, block.clone()))?),
                None => None,
            };
            for (meter, tally) in meters.iter().zip(tallies.iter_mut()) {
                match (meter.wants(), &base) {
                    (Wants::Delta(model), Some(base)) => {
                        let chunk = self.job.models[model].chunk(inputs, block.clone());
                        read += chunk.bytes.len() as u64;
                        let delta = d.delta(chunk, base)?;
                        meter.observe_delta(d, tally, unit, block.start as u64, delta)?;
                    }
                    (Wants::All(of), base) => {
                        let chunks: Vec<Chunk<'_>> =
                            self.job.models.iter().map(|m| m.chunk(inputs, block.clone())).collect();
                        read += chunks.iter().map(|c| c.bytes.len() as u64).sum::<u64>();
                        let base = base.as_ref().filter(|_| of == Vectors::Deltas);
                        meter.observe_all(d, tally, unit, &vectors(d, &chunks, base)?)?;
                    }
                    _ => {}
                }
            }
        }
        self.check_intact(context)?;
        self.report(context, read);
        Ok(())
    }

    /// Adds what a worker measured.
    pub(super) fn absorb(&self, tallies: Vec<Tally>) {
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        for (meter, tally) in meters.iter_mut().zip(tallies) {
            meter.absorb(tally, self.units);
        }
    }

    /// Ends a measuring pass.
    pub(super) fn conclude<D: Device>(&self, context: &Context<'a, D>) -> Result<(), ExecError> {
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        for meter in meters.iter_mut() {
            if let Wants::Delta(model) = meter.wants() {
                meter.conclude(|unit, key, n| self.find(context, model, unit, key, n))?;
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

    /// Flat index of the `n`-th element, from 1, of a unit whose difference has this key.
    fn find<D: Device>(
        &self,
        context: &Context<'a, D>,
        model: usize,
        unit: usize,
        key: u32,
        mut n: u64,
    ) -> Result<u64, ExecError> {
        let (d, inputs) = (context.device, &context.plan.inputs);
        let delta = |range: std::ops::Range<usize>| -> Result<D::Buf, ExecError> {
            match self.job.base {
                Some(base) => d.delta(
                    self.job.models[model].chunk(inputs, range.clone()),
                    &d.load(base.chunk(inputs, range))?,
                ),
                None => d.load(self.job.models[model].chunk(inputs, range)),
            }
        };
        for block in self.blocks(d, self.range(unit)) {
            for (i, count) in d.equal_counts(&delta(block.clone())?, key, LINE)?.into_iter().enumerate() {
                if u64::from(count) < n {
                    n -= u64::from(count);
                    continue;
                }
                let start = block.start + i * LINE;
                let line = start..(start + LINE).min(block.end);
                for (i, equal) in d.equal_counts(&delta(line)?, key, 1)?.into_iter().enumerate() {
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

/// Guesses where a cut will be from a sample of the model's difference.
fn sampled_guess<D: Device>(
    context: &Context<'_, D>,
    job: &Job,
    model: usize,
    keep: u64,
) -> Result<Option<Guess>, ExecError> {
    let (d, inputs, elements) = (context.device, &context.plan.inputs, job.elements());
    let (Some(base), Some(model)) = (job.base, job.models.get(model)) else { return Ok(None) };
    let runs = (elements / SAMPLE_SHARE).min(SAMPLE) / SAMPLE_RUN;
    let gather = |source: Source| -> (DType, Vec<u8>) {
        let mut bytes = Vec::new();
        for run in 0..runs {
            let start = (run as u64 * (elements - SAMPLE_RUN) as u64 / runs as u64) as usize;
            bytes.extend_from_slice(source.chunk(inputs, start..start + SAMPLE_RUN).bytes);
        }
        (source.info(inputs).dtype, bytes)
    };
    let (dtype, bytes) = gather(base);
    let base = d.load(Chunk { dtype, bytes: &bytes })?;
    let (dtype, bytes) = gather(*model);
    let sample = d.delta(Chunk { dtype, bytes: &bytes }, &base)?;
    guess(d, &sample, (runs * SAMPLE_RUN) as u64, keep, elements as u64).map(Some)
}
