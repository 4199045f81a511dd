//! One job being run: its passes, and what a worker does with one unit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use sha2::{Digest, Sha256};

use super::measure::{Guess, Meter, Precision, Tally, Wants, guess};
use super::{Observer, Options, Piece, Sealed, Sink, UNIT};
use crate::checksum::{self, Joined};
use crate::device::cpu::Cpu;
use crate::device::{Chunk, Device, Finiteness, LINE};
use crate::method::{AnyOperator, Block, Measured, RunsOn, Stat};
use crate::plan::{Job, Plan, Source, Work};
use crate::problem::{Error, ExecError, Problem};
use crate::recipe::NonFinite;

/// Smaller tensors are counted whole, without a sample.
const SAMPLE_ABOVE: usize = 1 << 16;
/// A sample is one in this many elements …
const SAMPLE_SHARE: usize = 16;
/// … but never more than these.
const SAMPLE: usize = 1 << 16;
/// A sample is made of runs of this many neighbours, two cache lines of bf16.
const SAMPLE_RUN: usize = 64;

/// What all workers share.
pub(super) struct Context<'a, D> {
    pub(super) device: &'a D,
    pub(super) host: Cpu,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a Options<'a>,
    pub(super) sink: &'a dyn Sink,
    pub(super) observer: &'a dyn Observer,
}

/// A job that was begun.
pub(super) struct Run<'a> {
    pub(super) index: usize,
    pub(super) job: &'a Job,
    pub(super) units: usize,
    meters: RwLock<Vec<Meter>>,
    stats: RwLock<Vec<Measured>>,
    seal: Mutex<Seal>,
    /// Units whose bytes went through the hash.
    pub(super) hashed: AtomicUsize,
    /// Measuring passes that are done.
    passes: AtomicUsize,
    /// Units that the sink has taken.
    written: AtomicUsize,
    /// Input bytes reported to the observer.
    reported: Mutex<u64>,
}

/// The part of a job that needs its units in order.
struct Seal {
    /// `None` while a worker is hashing.
    sha: Option<Sha256>,
    next: usize,
    waiting: BTreeMap<usize, Piece>,
    /// Of each unit, the checksum and length of each source.
    crcs: Vec<Vec<(u64, u64)>>,
}

/// A poisoned lock means that another worker panicked; the panic itself will end the run.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Run<'a> {
    /// Begins a job: decides what must be measured, and takes samples for it.
    pub(super) fn open<D: Device>(context: &Context<'a, D>, index: usize) -> Result<Self, ExecError> {
        let plan = context.plan;
        let job = &plan.jobs[index];
        let stats = match &job.work {
            Work::Merge(op) => op.stats(),
            Work::Copy(_) => Vec::new(),
        };
        let units = job.elements().div_ceil(UNIT);
        let mut meters = Vec::with_capacity(stats.len());
        let half = job.sources().all(|s| s.info(&plan.inputs).dtype.size() <= 2);
        let precision = if half { Precision::Half } else { Precision::Full };
        for stat in stats {
            let guess = match stat {
                Stat::Cut { model, keep, .. } if job.elements() > SAMPLE_ABOVE => {
                    sampled_guess(context, job, model, keep)?
                }
                _ => None,
            };
            meters.push(Meter::new(stat, job.models.len(), precision, guess));
        }
        Ok(Self {
            index,
            job,
            units,
            meters: RwLock::new(meters),
            stats: RwLock::new(Vec::new()),
            seal: Mutex::new(Seal {
                sha: Some(Sha256::new()),
                next: 0,
                waiting: BTreeMap::new(),
                crcs: vec![Vec::new(); units],
            }),
            hashed: AtomicUsize::new(0),
            passes: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            reported: Mutex::new(0),
        })
    }

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

    fn range(&self, unit: usize) -> std::ops::Range<usize> {
        unit * UNIT..((unit + 1) * UNIT).min(self.job.elements())
    }

    /// Splits a range of elements into blocks of whole lines.
    fn blocks<D: Device>(
        device: &D,
        range: std::ops::Range<usize>,
    ) -> impl Iterator<Item = std::ops::Range<usize>> {
        let step = (device.block_elements() / LINE).max(1) * LINE;
        range.clone().step_by(step).map(move |start| start..(start + step).min(range.end))
    }

    /// In the first pass, brings a unit's inputs into memory.
    fn prefetch<D: Device>(&self, context: &Context<'a, D>, range: std::ops::Range<usize>) {
        if self.passes.load(Ordering::Relaxed) == 0 {
            self.job.sources().for_each(|s| s.prefetch(&context.plan.inputs, range.clone()));
        }
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
        for block in Self::blocks(d, self.range(unit)) {
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
                    (Wants::Models, _) => {
                        let chunks: Vec<Chunk<'_>> =
                            self.job.models.iter().map(|m| m.chunk(inputs, block.clone())).collect();
                        read += chunks.iter().map(|c| c.bytes.len() as u64).sum::<u64>();
                        meter.observe_models(d, tally, unit, &chunks)?;
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
        if let Some(measured) = measured {
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
        for block in Self::blocks(d, self.range(unit)) {
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

    /// Merges one unit.
    pub(super) fn merge<D: Device>(&self, context: &Context<'a, D>, unit: usize) -> Result<Piece, Error>
    where
        dyn AnyOperator: RunsOn<D>,
    {
        let (d, inputs) = (context.device, &context.plan.inputs);
        let range = self.range(unit);
        let size = self.job.dtype.size();
        let mut piece = context.sink.piece(self.index, (range.start * size) as u64, range.len() * size);
        let out = piece.bytes_mut();
        self.prefetch(context, range.clone());
        let stats = self.stats.read().unwrap_or_else(PoisonError::into_inner);
        let mut crcs: Vec<_> = self.job.sources().map(|_| checksum::running()).collect();
        let mut models = Vec::with_capacity(self.job.models.len());
        let refuse = context.options.non_finite == NonFinite::Refuse;
        for block in Self::blocks(d, range.clone()) {
            models.clear();
            for (source, crc) in self.job.sources().zip(&mut crcs) {
                let chunk = source.chunk(inputs, block.clone());
                crc.update(chunk.bytes);
                if refuse && context.host.finite(chunk) == Finiteness::NonFinite {
                    self.check_intact(context)?;
                    return Err(self.non_finite_input(context, source, block.start, chunk));
                }
                models.push(chunk);
            }
            let base = self.job.base.and_then(|_| models.pop());
            let place = &mut out[(block.start - range.start) * size..(block.end - range.start) * size];
            match &self.job.work {
                Work::Copy(source) => place.copy_from_slice(source.chunk(inputs, block.clone()).bytes),
                Work::Merge(op) => {
                    let x = Block { models: &models, base, first: block.start as u64, stats: &stats };
                    let merged = <dyn AnyOperator as RunsOn<D>>::merge_on(op.as_ref(), d, &x)?;
                    if d.store(&merged, self.job.dtype, place)? == Finiteness::NonFinite && refuse {
                        let chunk = Chunk { dtype: self.job.dtype, bytes: place };
                        return Err(self.non_finite_output(context, block.start, chunk));
                    }
                }
            }
        }
        self.check_intact(context)?;
        let sums = crcs
            .iter()
            .zip(self.job.sources())
            .map(|(crc, s)| (crc.finalize(), (range.len() * s.info(inputs).dtype.size()) as u64))
            .collect();
        locked(&self.seal).crcs[unit] = sums;
        let read =
            range.len() as u64 * self.job.sources().map(|s| s.info(inputs).dtype.size() as u64).sum::<u64>();
        self.report(context, read);
        Ok(piece)
    }

    /// Passes a unit through the hash as soon as its turn comes, and with it all that waited for it, and
    /// then on to the sink. True for the worker whose unit completes the tensor.
    pub(super) fn hand_over<D: Device>(
        &self,
        context: &Context<'a, D>,
        unit: usize,
        piece: Piece,
    ) -> Result<bool, ExecError> {
        let mut seal = locked(&self.seal);
        seal.waiting.insert(unit, piece);
        let Some(mut sha) = seal.sha.take() else { return Ok(false) };
        let first = seal.next;
        let mut hashed = Vec::new();
        loop {
            let next = seal.next;
            let Some(piece) = seal.waiting.remove(&next) else { break };
            drop(seal);
            sha.update(piece.bytes());
            hashed.push(piece);
            seal = locked(&self.seal);
            seal.next += 1;
            self.hashed.store(seal.next, Ordering::Release);
        }
        seal.sha = Some(sha);
        drop(seal);
        let count = hashed.len();
        for (unit, piece) in (first..).zip(hashed) {
            let at = self.range(unit).start * self.job.dtype.size();
            context.sink.write(self.index, at as u64, piece)?;
        }
        // Another worker may still hand over units before these: the last one of all to do so seals.
        let written = self.written.fetch_add(count, Ordering::AcqRel) + count;
        Ok(count > 0 && written == self.units)
    }

    /// The tensor is complete: says so to the sink.
    pub(super) fn seal<D: Device>(&self, context: &Context<'a, D>) -> Result<(), ExecError> {
        let mut seal = locked(&self.seal);
        let sha256 = seal.sha.take().unwrap_or_default().finalize();
        let inputs = self
            .job
            .sources()
            .enumerate()
            .map(|(i, source)| {
                let mut joined = Joined::new();
                for (sum, len) in seal.crcs.iter().filter_map(|unit| unit.get(i)) {
                    joined.add(*sum, *len);
                }
                (source, joined.sum())
            })
            .collect();
        context.sink.seal(self.index, Sealed { sha256, inputs })?;
        tracing::debug!(tensor = self.job.name, "merged");
        // Passes that were saved count as done, so that the total comes out.
        let total = self.job.input_bytes(&context.plan.inputs) * self.job.passes();
        self.report(context, total);
        Ok(())
    }

    /// Reports bytes, but over the whole job never more than was announced.
    fn report<D: Device>(&self, context: &Context<'a, D>, bytes: u64) {
        let total = self.job.input_bytes(&context.plan.inputs) * self.job.passes();
        let mut reported = locked(&self.reported);
        let bytes = bytes.min(total - *reported);
        *reported += bytes;
        context.observer.advance(bytes);
    }

    fn check_intact<D: Device>(&self, context: &Context<'a, D>) -> Result<(), ExecError> {
        let inputs = &context.plan.inputs;
        self.job.sources().try_for_each(|s| inputs[s.input].check_intact(s.info(inputs)))
    }

    fn non_finite_input<D: Device>(
        &self,
        context: &Context<'a, D>,
        source: Source,
        start: usize,
        chunk: Chunk<'_>,
    ) -> Error {
        let inputs = &context.plan.inputs;
        let (tensor, model) = (&source.info(inputs).name, inputs[source.input].name());
        let renamed = if *tensor == self.job.name { String::new() } else { format!(" (there {tensor})") };
        let what = format!("model {model}{renamed} has {}", self.first_non_finite(context, start, chunk));
        Problem::error(&self.job.name, what)
            .hint("the checkpoint is damaged; `non_finite: allow` at the top of the recipe merges it all the same")
            .into()
    }

    fn non_finite_output<D: Device>(
        &self,
        context: &Context<'a, D>,
        start: usize,
        chunk: Chunk<'_>,
    ) -> Error {
        let what = format!("the merged tensor has {}", self.first_non_finite(context, start, chunk));
        Problem::error(&self.job.name, what)
            .hint(format!(
                "the inputs are finite, so a parameter or the range of {} is at fault; \
                 `non_finite: allow` at the top of the recipe writes it all the same",
                self.job.dtype.torch_name()
            ))
            .into()
    }

    fn first_non_finite<D: Device>(
        &self,
        context: &Context<'a, D>,
        start: usize,
        chunk: Chunk<'_>,
    ) -> String {
        let size = chunk.dtype.size();
        let element = |bytes| Chunk { dtype: chunk.dtype, bytes };
        let at =
            chunk.bytes.chunks(size).position(|b| context.host.finite(element(b)) == Finiteness::NonFinite);
        let Some(at) = at else { return "a value that is not finite".into() };
        let bytes = chunk.bytes.get(at * size..(at + 1) * size).unwrap_or_default();
        let value = match context.host.load(element(bytes)) {
            Ok(x) if x.values().iter().any(|x| x.is_nan()) => "NaN",
            _ => "infinity",
        };
        let width = self.job.shape.last().copied().unwrap_or(1).max(1);
        let flat = start + at;
        match self.job.shape.len() {
            0 | 1 => format!("{value} at element {flat}"),
            _ => format!("{value} in row {}, column {}", flat / width, flat % width),
        }
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
    let gather = |source: Source| -> (crate::checkpoint::DType, Vec<u8>) {
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
