//! Runs the jobs of a plan: statistics first where a method needs them, then the merge, unit by unit.
//!
//! A *unit* is a fixed run of [`UNIT`] elements of one tensor. A worker does everything with a unit
//! while it is in the cache: check and sum the inputs, merge them block by block, write the result.
//! Workers take units of different tensors as long as there are tensors, then help each other, so
//! that reading, computing, hashing and writing overlap and one huge tensor does not end up on one
//! core. Only the hash of a tensor must see its units in order; units that are early wait for it.

mod beside;
mod board;
mod cut;
mod guess;
mod lens;
mod measure;
mod non_finite;
mod output;
mod piece;
mod reader;
mod rows;
mod run;
mod search;
mod stage;
mod statistics;

pub use piece::{ALIGN, Piece};
pub use reader::{Reader, Room};

use std::sync::atomic::AtomicBool;

use sha2::Sha256;
use sha2::digest::Output;

use crate::device::Device;
pub use crate::device::UNIT;
use crate::device::cpu::Cpu;
use crate::method::{AnyOperator, RunsOn};
use crate::plan::{Input, Job, Plan};
use crate::problem::{Error, ExecError};

/// Pieces that a sink may keep before it lets workers wait.
pub const WRITE_BEHIND: usize = 4;

/// Where merged bytes go: files, or memory.
pub trait Sink: Sync {
    /// Room for `len` bytes of a job's tensor from byte `at` on.
    fn piece(&self, job: usize, at: u64, len: usize) -> Piece {
        let _ = (job, at);
        Piece::new(Vec::new(), len, 0)
    }

    /// Takes bytes of a job's tensor from byte `at` on. Called from many threads, in any order, once
    /// for each byte.
    ///
    /// # Errors
    /// When they cannot be kept; a sink that writes later may report it with a later call.
    fn write(&self, job: usize, at: u64, piece: Piece) -> Result<(), ExecError>;

    /// The tensor is complete: every byte of it was taken.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn seal(&self, job: usize, sealed: Sealed) -> Result<(), ExecError>;
}

/// What is known of a tensor when its last byte was written.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Of the tensor's bytes in the output.
    pub sha256: Output<Sha256>,
    /// CRC-64/NVME of each stored tensor that was read for it, in the order of [`Job::leaves`].
    pub inputs: Vec<u64>,
}

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Set from outside to stop between two units.
    pub cancel: &'a AtomicBool,
}

/// Is told how far the work is: in bytes of inputs for a merge, in tokens for an evaluation.
pub trait Observer: Sync {
    /// There is so much to deal with; of a merge, [`total_bytes`].
    fn begin(&self, total: u64) {
        let _ = total;
    }

    /// So much was dealt with; over a run it adds up to the total.
    fn advance(&self, amount: u64);

    /// Something that the user should know, and that changes no result.
    fn note(&self, what: &str) {
        let _ = what;
    }
}

/// Elements in a unit of a job: [`UNIT`], and as many more as complete a row where rows count.
fn unit(job: &Job) -> usize {
    UNIT.next_multiple_of(job.grain())
}

/// Input bytes that jobs read, passes included.
pub fn total_bytes(plan: &Plan, jobs: &[usize]) -> u64 {
    jobs.iter().map(|j| &plan.jobs[*j]).map(|j| j.input_bytes(&plan.inputs) * j.passes()).sum()
}

/// Where a device keeps the blocks it computes with, and how many elements they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// In the host's memory.
    OnHost(usize),
    /// In memory of its own; what is on its way there and back is in the host's.
    OnDevice(usize),
}

/// Of the host's memory for what is on its way to a device and back, in bytes for each thread.
const STAGING: usize = 32 << 20;

/// An upper bound of the host's memory that a run allocates, in bytes: blocks, counters and output units.
/// Mapped inputs are not counted; the system takes their pages back when it needs them.
pub fn memory(plan: &Plan, threads: usize, blocks: Blocks) -> u64 {
    let width = plan.jobs.iter().map(|j| j.dtype.size()).max().unwrap_or(0);
    // A unit in work, those that wait for their turn to be hashed, and of all threads those that wait to
    // be written.
    let unit = plan.jobs.iter().map(unit).max().unwrap_or(0);
    let units = (1 + board::AHEAD) * unit * width;
    let written = (1 + WRITE_BEHIND) * unit * width;
    let work = plan.jobs.iter().map(|j| job_memory(plan, j, blocks)).max().unwrap_or(0);
    (threads * (work + units) + written + (8 << 20)) as u64
}

/// What one thread needs for one job, in bytes.
fn job_memory(plan: &Plan, job: &Job, blocks: Blocks) -> usize {
    let (Blocks::OnHost(block) | Blocks::OnDevice(block)) = blocks;
    let block = block.max(job.grain());
    let sources = job.sources().map(|s| source_memory(&plan.inputs[s.input], s.tensor, block));
    let computing = match blocks {
        Blocks::OnHost(_) => (2 * job.sources().count() + 4) * block * 4,
        Blocks::OnDevice(_) => STAGING,
    };
    // Counters of a worker, of the tensor it measures (twice as wide), and the samples that they start from.
    let searches = statistics::searches(job);
    let counters = if searches > 0 { searches.min(16) * cut::MAX_BINS * 12 + (1 << 22) } else { 0 };
    // The factor of what is read whole, and its rows in f64.
    let whole = job.whole().first().map_or(0, |s| s.info(&plan.inputs).elements() * 8 + block * 16);
    sources.sum::<usize>() + computing + counters + measure::value_bytes(job) + whole
}

/// What is needed to see a block of a source.
fn source_memory(input: &Input, tensor: usize, block: usize) -> usize {
    match (input, input.origin(tensor)) {
        (Input::Stage(stage), _) => stage
            .plan
            .jobs
            .get(tensor)
            .map_or(0, |job| block * 4 + job_memory(&stage.plan, job, Blocks::OnHost(block))),
        (_, Some(origin)) => {
            let below = origin.of.iter().map(|(input, tensor)| source_memory(input, *tensor, block));
            below.sum::<usize>() + origin.view.memory(block)
        }
        (_, None) => 0,
    }
}

/// Merges the tensors `jobs` of a plan.
///
/// # Errors
/// [`Error::Input`] for NaN or infinity in an input or the result, [`Error::Exec`] for the machine.
pub fn run<D: Device>(
    device: &D,
    plan: &Plan,
    jobs: &[usize],
    options: &Options<'_>,
    sink: &dyn Sink,
    observer: &dyn Observer,
) -> Result<(), Error>
where
    dyn AnyOperator: RunsOn<D>,
{
    let threads = options.threads.max(1);
    if let Some(absent) = plan.needed().into_iter().find(|file| !file.is_here()) {
        return Err(ExecError::Absent { path: absent.path.clone() }.into());
    }
    observer.begin(total_bytes(plan, jobs));
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("merge-{i}"))
        .build()
        .map_err(|e| ExecError::Memory { what: format!("cannot start {threads} threads: {e}") })?;
    tracing::info!(tensors = jobs.len(), threads, block = device.block_elements(), "merging");
    let host = Cpu::new();
    let left_device = AtomicBool::new(false);
    let context = run::Context { device, host: &host, plan, options, sink, observer, left_device };
    let board = board::Board::new(plan, jobs);
    pool.broadcast(|_| {
        board.work(&context);
        // The pool's threads may outlive it for a while.
        device.leave();
    });
    board.finish()
}
