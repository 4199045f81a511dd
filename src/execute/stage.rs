//! A tensor that another plan makes, block by block, while it is read.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::lens::{Desk, Eye, room};
use super::piece::Piece;
use super::run::{Context, Run};
use super::{Observer, Sealed, Sink};
use crate::device::Chunk;
use crate::device::cpu::Cpu;
use crate::plan::Plan;
use crate::problem::{Error, ExecError};

/// A job whose statistics are known, so that any of its blocks can be made.
pub(super) struct Making<'a> {
    context: Context<'a, Cpu>,
    run: Run<'a>,
}

impl<'a> Making<'a> {
    /// Begins a job of `plan` and measures what it needs, on this thread.
    ///
    /// The passes are repeated by each tensor that the stage goes into; what is kept is a few numbers.
    pub(super) fn open(eye: Eye<'a>, plan: &'a Plan, job: usize) -> Result<Self, Error> {
        let Eye { host, options } = eye;
        let context = Context {
            device: host,
            host,
            plan,
            options,
            sink: &Nowhere,
            observer: &Nowhere,
            left_device: AtomicBool::new(false),
        };
        let run = Run::open(&context, job)?;
        while run.measures() {
            let mut tallies = run.tallies();
            for unit in 0..run.units {
                run.measure(&context, unit, &mut tallies)?;
                if context.is_cancelled() {
                    return Err(ExecError::Interrupted.into());
                }
            }
            run.absorb(tallies);
            run.conclude(&context)?;
        }
        Ok(Self { context, run })
    }

    /// Elements as the stage would have written them.
    pub(super) fn chunk<'d>(
        &'d self,
        elements: Range<usize>,
        desk: &'d mut Desk,
    ) -> Result<Chunk<'d>, Error> {
        let job = self.run.job;
        // The stage's blocks are whole lines or rows, whatever is asked for.
        let grain = job.grain();
        let end = elements.end.next_multiple_of(grain).min(job.elements());
        let block = elements.start / grain * grain..end;
        let size = job.dtype.size();
        let Desk { block: made, below, .. } = desk;
        below.resize_with(self.run.lenses.len(), Desk::default);
        let bytes = room(made, block.len() * size);
        self.run.make(&self.context, block.clone(), below, bytes)?;
        let from = (elements.start - block.start) * size;
        Ok(Chunk { dtype: job.dtype, bytes: &bytes[from..from + elements.len() * size] })
    }
}

/// A stage's result goes to who asked for it, and only the plan that is merged counts.
struct Nowhere;

impl Sink for Nowhere {
    fn write(&self, _: usize, _: u64, _: Piece) -> Result<(), ExecError> {
        Ok(())
    }

    fn seal(&self, _: usize, _: Sealed) -> Result<(), ExecError> {
        Ok(())
    }
}

impl Observer for Nowhere {
    fn advance(&self, _: u64) {}
}
