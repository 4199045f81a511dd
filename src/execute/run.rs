//! One job being run: its passes, and what a worker does with one unit.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use super::lens::{Desk, Eye, Lens};
use super::measure::Meter;
use super::output::Seal;
use super::{Observer, Options, Piece, Sink, beside, statistics, unit};
use crate::checksum;
use crate::device::cpu::Cpu;
use crate::device::{Chunk, Device, Finiteness};
use crate::method::{AnyOperator, Block, Measured, RunsOn};
use crate::plan::{Job, Leaf, Order, Plan, Work};
use crate::problem::{Error, ExecError};
use crate::recipe::NonFinite;

/// What all workers share.
pub(super) struct Context<'a, D> {
    pub(super) device: &'a D,
    pub(super) host: &'a Cpu,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a Options<'a>,
    pub(super) sink: &'a dyn Sink,
    pub(super) observer: &'a dyn Observer,
    /// Whether the host had to help out.
    pub(super) left_device: AtomicBool,
}

impl<'a, D> Context<'a, D> {
    /// What sources are looked at with.
    pub(super) fn eye(&self) -> Eye<'a> {
        Eye { host: self.host, options: self.options }
    }

    /// Says, once, that the host takes over what the device has no memory for.
    pub(super) fn leave_device(&self) {
        if !self.left_device.swap(true, Ordering::Relaxed) {
            self.observer
                .note("the device has not enough memory: blocks that do not fit are merged on the CPU");
        }
    }

    /// Whether the merge is to stop.
    pub(super) fn is_cancelled(&self) -> bool {
        self.options.cancel.load(Ordering::Relaxed)
    }
}

/// A job that was begun.
pub(super) struct Run<'a> {
    pub(super) index: usize,
    pub(super) job: &'a Job,
    pub(super) units: usize,
    /// Models in order, then the base, then what is read along with them.
    pub(super) lenses: Vec<Lens<'a>>,
    /// What every block needs all of.
    whole: Vec<Leaf<'a>>,
    /// What blocks are merged with, if not the job's own operator.
    op: Option<Box<dyn AnyOperator>>,
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

/// A block of each source.
pub(super) struct Chunks<'d> {
    pub(super) models: Vec<Chunk<'d>>,
    pub(super) base: Option<Chunk<'d>>,
    /// What is read along with them.
    pub(super) along: Vec<Chunk<'d>>,
}

/// A poisoned lock means that another worker panicked; the panic itself will end the run.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Run<'a> {
    /// Begins a job: decides what must be measured, and takes samples for it.
    pub(super) fn open<D: Device>(context: &Context<'a, D>, index: usize) -> Result<Self, Error> {
        let job = &context.plan.jobs[index];
        let units = job.elements().div_ceil(unit(job));
        let open = |source| Lens::open(context.eye(), context.plan, source);
        let lenses = job.streamed().map(open).collect::<Result<Vec<_>, _>>()?;
        let whole = beside::whole(context, job);
        let op = beside::begin(context, job, &whole)?;
        let meters = statistics::meters(context, job, &lenses)?;
        let portion = meters.iter().map(Meter::portion).max().unwrap_or(1);
        let read_whole: u64 = whole.iter().map(|leaf| leaf.bytes().len() as u64).sum();
        let run = Self {
            index,
            job,
            units,
            lenses,
            whole,
            op,
            portion,
            meters: RwLock::new(meters),
            stats: RwLock::new(Vec::new()),
            seal: Mutex::new(Seal::new(units)),
            hashed: AtomicUsize::new(0),
            passes: AtomicUsize::new(0),
            reported: Mutex::new(0),
        };
        run.report(context, read_whole);
        Ok(run)
    }

    pub(super) fn range(&self, unit: usize) -> Range<usize> {
        let len = super::unit(self.job);
        unit * len..((unit + 1) * len).min(self.job.elements())
    }

    /// Splits a range of elements into blocks of whole lines or rows.
    pub(super) fn blocks<D: Device>(
        &self,
        device: &D,
        range: Range<usize>,
    ) -> impl Iterator<Item = Range<usize>> + use<D> {
        let grain = self.job.grain();
        let step = (device.block_elements() / grain).max(1) * grain;
        range.clone().step_by(step).map(move |start| start..(start + step).min(range.end))
    }

    /// A worker's memory for what views make.
    pub(super) fn desks(&self) -> Vec<Desk> {
        self.lenses.iter().map(|_| Desk::default()).collect()
    }

    /// A block of every source.
    pub(super) fn chunks<'d>(
        &'d self,
        eye: Eye<'_>,
        block: &Range<usize>,
        desks: &'d mut [Desk],
    ) -> Result<Chunks<'d>, Error> {
        let lenses = self.lenses.iter().zip(desks);
        let mut chunks = lenses
            .map(|(lens, desk)| lens.chunk(eye, block.clone(), desk))
            .collect::<Result<std::collections::VecDeque<_>, Error>>()?;
        let models = chunks.drain(..self.job.models.len().min(chunks.len())).collect();
        let base = self.job.base.and_then(|_| chunks.pop_front());
        Ok(Chunks { models, base, along: chunks.into() })
    }

    /// In the first pass, brings a unit's inputs into memory.
    pub(super) fn prefetch(&self, range: &Range<usize>) {
        if self.passes.load(Ordering::Relaxed) == 0 {
            self.lenses.iter().for_each(|lens| lens.prefetch(range));
        }
    }

    /// Merges one unit.
    pub(super) fn merge<D: Device>(&self, context: &Context<'a, D>, unit: usize) -> Result<Piece, Error>
    where
        dyn AnyOperator: RunsOn<D>,
    {
        let range = self.range(unit);
        let size = self.job.dtype.size();
        let mut piece = context.sink.piece(self.index, (range.start * size) as u64, range.len() * size);
        let out = piece.bytes_mut();
        self.prefetch(&range);
        let mut sums: Vec<_> = self.leaves().map(|_| (checksum::running(), 0)).collect();
        let mut desks = self.desks();
        for block in self.blocks(context.device, range.clone()) {
            let place = &mut out[(block.start - range.start) * size..(block.end - range.start) * size];
            self.make(context, block.clone(), &mut desks, place)?;
            for (leaf, (sum, len)) in self.leaves().zip(&mut sums) {
                let bytes = leaf.first_bytes(block.clone());
                sum.update(bytes);
                *len += bytes.len() as u64;
            }
        }
        self.check_intact()?;
        locked(&self.seal).crcs[unit] = sums.iter().map(|(sum, len)| (sum.finalize(), *len)).collect();
        let read = range.len() as u64 * self.lenses.iter().map(|l| l.info.dtype.size() as u64).sum::<u64>();
        self.report(context, read);
        Ok(piece)
    }

    /// Makes a block of the result, `out` being its bytes. Where the device has no memory for it, in halves; where it has
    /// none for the least that can be merged, on the host.
    pub(super) fn make<D: Device>(
        &self,
        context: &Context<'a, D>,
        block: Range<usize>,
        desks: &mut [Desk],
        out: &mut [u8],
    ) -> Result<(), Error>
    where
        dyn AnyOperator: RunsOn<D>,
    {
        match self.make_on(context, context.device, block.clone(), desks, out) {
            Err(Error::Exec(ExecError::DeviceMemory { .. })) => {}
            done => return done,
        }
        let grain = self.job.grain();
        let half = (block.len() / 2).max(1).next_multiple_of(grain);
        if half >= block.len() {
            context.leave_device();
            return self.make_on::<D, Cpu>(context, context.host, block, desks, out);
        }
        let middle = block.start + half;
        let (early, late) = out.split_at_mut(half * self.job.dtype.size());
        self.make(context, block.start..middle, desks, early)?;
        self.make(context, middle..block.end, desks, late)
    }

    /// Makes a block of the result on a device.
    fn make_on<D: Device, E: Device>(
        &self,
        context: &Context<'a, D>,
        d: &E,
        block: Range<usize>,
        desks: &mut [Desk],
        out: &mut [u8],
    ) -> Result<(), Error>
    where
        dyn AnyOperator: RunsOn<E>,
    {
        let refuse = context.plan.non_finite == NonFinite::Refuse;
        let Chunks { models, base, along } = self.chunks(context.eye(), &block, desks)?;
        for (lens, chunk) in self.lenses.iter().zip(models.iter().chain(&base)) {
            if refuse && context.host.finite(*chunk) == Finiteness::NonFinite {
                self.check_intact()?;
                return Err(self.non_finite_input(context, lens, block.start, *chunk));
            }
        }
        self.check_importance(context, block.start, &along)?;
        match &self.job.work {
            Work::Copy(_) => out.copy_from_slice(models.first().map_or(&[], |chunk| chunk.bytes)),
            Work::Merge(op) => {
                let op = self.op.as_ref().unwrap_or(op);
                let whole: Vec<Chunk<'_>> = self.whole.iter().map(Leaf::chunk).collect();
                let beside = if whole.is_empty() { &along } else { &whole };
                let stats = self.stats.read().unwrap_or_else(PoisonError::into_inner);
                let x = Block { models: &models, base, beside, first: block.start as u64, stats: &stats };
                let merged = <dyn AnyOperator as RunsOn<E>>::merge_on(op.as_ref(), d, &x)?;
                if d.store(&merged, self.job.dtype, out)? == Finiteness::NonFinite && refuse {
                    let chunk = Chunk { dtype: self.job.dtype, bytes: out };
                    return Err(self.non_finite_output(context, block.start, chunk));
                }
            }
        }
        Ok(())
    }

    /// The stored tensors behind all sources, in order.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &Leaf<'a>> {
        self.lenses.iter().flat_map(|lens| &lens.leaves).chain(&self.whole)
    }

    /// Checksums of the stored tensors that are not read in order; nothing for the others.
    pub(super) fn whole_sums(&self) -> Result<Vec<Option<u64>>, ExecError> {
        let sum = |leaf: &Leaf<'a>| match leaf.order {
            Order::Any => {
                let sum = checksum::of(leaf.bytes());
                leaf.check_intact().map(|()| Some(sum))
            }
            Order::Same | Order::Copies(_) => Ok(None),
        };
        self.leaves().map(sum).collect()
    }

    /// Reports bytes, but over the whole job never more than was announced.
    pub(super) fn report<D: Device>(&self, context: &Context<'a, D>, bytes: u64) {
        let total = self.job.input_bytes(&context.plan.inputs) * self.job.passes();
        let mut reported = locked(&self.reported);
        let bytes = bytes.min(total - *reported);
        *reported += bytes;
        context.observer.advance(bytes);
    }

    pub(super) fn check_intact(&self) -> Result<(), ExecError> {
        self.leaves().try_for_each(Leaf::check_intact)
    }
}
