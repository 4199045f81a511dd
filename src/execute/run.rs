//! One job being run: its passes, and what a worker does with one unit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use super::lens::{Desk, Lens};
use super::measure::Meter;
use super::output::Seal;
use super::{Observer, Options, Piece, Sink, statistics, unit};
use crate::checksum;
use crate::device::cpu::Cpu;
use crate::device::{Chunk, Device, Finiteness};
use crate::method::{AnyOperator, Block, Measured, RunsOn};
use crate::plan::{Job, Plan, Work};
use crate::problem::{Error, ExecError};
use crate::recipe::NonFinite;

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
    /// Models in order, then the base.
    pub(super) lenses: Vec<Lens<'a>>,
    /// Units that are measured by one worker in a row.
    pub(super) portion: usize,
    pub(super) meters: RwLock<Vec<Meter>>,
    pub(super) stats: RwLock<Vec<Measured>>,
    pub(super) seal: Mutex<Seal>,
    /// Units whose bytes went through the hash and to the sink.
    pub(super) hashed: AtomicUsize,
    /// Measuring passes that are done.
    pub(super) passes: AtomicUsize,
    /// Input bytes reported to the observer.
    reported: Mutex<u64>,
}

/// A poisoned lock means that another worker panicked; the panic itself will end the run.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Run<'a> {
    /// Begins a job: decides what must be measured, and takes samples for it.
    pub(super) fn open<D: Device>(context: &Context<'a, D>, index: usize) -> Result<Self, ExecError> {
        let job = &context.plan.jobs[index];
        let units = job.elements().div_ceil(unit(job));
        let lenses =
            job.sources().map(|source| Lens::open(context, source)).collect::<Result<Vec<_>, _>>()?;
        let meters = statistics::meters(context, job, &lenses)?;
        let portion = meters.iter().map(Meter::portion).max().unwrap_or(1);
        Ok(Self {
            index,
            job,
            units,
            lenses,
            portion,
            meters: RwLock::new(meters),
            stats: RwLock::new(Vec::new()),
            seal: Mutex::new(Seal::new(units)),
            hashed: AtomicUsize::new(0),
            passes: AtomicUsize::new(0),
            reported: Mutex::new(0),
        })
    }

    pub(super) fn range(&self, unit: usize) -> std::ops::Range<usize> {
        let len = super::unit(self.job);
        unit * len..((unit + 1) * len).min(self.job.elements())
    }

    /// Splits a range of elements into blocks of whole lines or rows.
    pub(super) fn blocks<D: Device>(
        &self,
        device: &D,
        range: std::ops::Range<usize>,
    ) -> impl Iterator<Item = std::ops::Range<usize>> + use<D> {
        let grain = self.job.grain();
        let step = (device.block_elements() / grain).max(1) * grain;
        range.clone().step_by(step).map(move |start| start..(start + step).min(range.end))
    }

    /// A worker's memory for what views make.
    pub(super) fn desks(&self) -> Vec<Desk> {
        self.lenses.iter().map(|_| Desk::default()).collect()
    }

    /// A block of every source: models in order, then the base.
    pub(super) fn chunks<'d>(
        &self,
        host: &Cpu,
        block: &std::ops::Range<usize>,
        desks: &'d mut [Desk],
    ) -> Vec<Chunk<'d>>
    where
        'a: 'd,
    {
        let lenses = self.lenses.iter().zip(desks);
        lenses.map(|(lens, desk)| lens.chunk(host, block.clone(), desk)).collect()
    }

    /// In the first pass, brings a unit's inputs into memory.
    pub(super) fn prefetch<D: Device>(&self, context: &Context<'a, D>, range: std::ops::Range<usize>) {
        if self.passes.load(Ordering::Relaxed) == 0 {
            self.job.sources().for_each(|s| s.prefetch(&context.plan.inputs, range.clone()));
        }
    }

    /// Merges one unit.
    pub(super) fn merge<D: Device>(&self, context: &Context<'a, D>, unit: usize) -> Result<Piece, Error>
    where
        dyn AnyOperator: RunsOn<D>,
    {
        let d = context.device;
        let range = self.range(unit);
        let size = self.job.dtype.size();
        let mut piece = context.sink.piece(self.index, (range.start * size) as u64, range.len() * size);
        let out = piece.bytes_mut();
        self.prefetch(context, range.clone());
        let stats = self.stats.read().unwrap_or_else(PoisonError::into_inner);
        let mut crcs: Vec<_> = self.lenses.iter().map(|_| (checksum::running(), 0)).collect();
        let mut desks = self.desks();
        let refuse = context.options.non_finite == NonFinite::Refuse;
        for block in self.blocks(d, range.clone()) {
            let mut models = self.chunks(&context.host, &block, &mut desks);
            for ((lens, (crc, len)), chunk) in self.lenses.iter().zip(&mut crcs).zip(&models) {
                let bytes = lens.first_bytes(block.clone());
                crc.update(bytes);
                *len += bytes.len() as u64;
                if refuse && context.host.finite(*chunk) == Finiteness::NonFinite {
                    self.check_intact(context)?;
                    return Err(self.non_finite_input(context, lens, block.start, *chunk));
                }
            }
            let base = self.job.base.and_then(|_| models.pop());
            let place = &mut out[(block.start - range.start) * size..(block.end - range.start) * size];
            match &self.job.work {
                Work::Copy(_) => place.copy_from_slice(models.first().map_or(&[], |chunk| chunk.bytes)),
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
        locked(&self.seal).crcs[unit] = crcs.iter().map(|(crc, len)| (crc.finalize(), *len)).collect();
        let read = range.len() as u64 * self.lenses.iter().map(|l| l.info.dtype.size() as u64).sum::<u64>();
        self.report(context, read);
        Ok(piece)
    }

    /// Reports bytes, but over the whole job never more than was announced.
    pub(super) fn report<D: Device>(&self, context: &Context<'a, D>, bytes: u64) {
        let total = self.job.input_bytes(&context.plan.inputs) * self.job.passes();
        let mut reported = locked(&self.reported);
        let bytes = bytes.min(total - *reported);
        *reported += bytes;
        context.observer.advance(bytes);
    }

    pub(super) fn check_intact<D: Device>(&self, context: &Context<'a, D>) -> Result<(), ExecError> {
        let inputs = &context.plan.inputs;
        self.job.sources().try_for_each(|s| inputs[s.input].check_intact(s.tensor))
    }
}
