//! Compiled kernels, launches, and results on their way back.

use std::sync::{Arc, PoisonError};

use super::node::{MOST_WORDS, Node};
use super::program::{Program, Sink};
use super::runtime::{Kernel, Shape};
use super::worker::Worker;
use super::{Cuda, CudaBuf};
use crate::checkpoint::DType;
use crate::device::Chunk;
use crate::problem::ExecError;

/// Threads of a block.
const THREADS: u32 = 256;
/// Threads of a block that sums lines: four lines of 32 lanes.
const LINE_THREADS: u32 = 128;
/// Blocks for each multiprocessor that a grid has at most.
const WAVES: u32 = 16;

impl Cuda {
    /// The kernel of a program, compiled at its first use.
    fn kernel(&self, program: &Program) -> Result<Arc<dyn Kernel>, ExecError> {
        let key = (program.sink, program.body.clone());
        let known = self.shared.kernels.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(kernel) = known {
            return Ok(kernel);
        }
        let kernel = self.shared.runtime.compile(&program.source()?)?;
        let mut kernels = self.shared.kernels.write().unwrap_or_else(PoisonError::into_inner);
        Ok(kernels.entry(key).or_insert(kernel).clone())
    }

    /// Queues a kernel over `work` threads, or lines.
    pub(super) fn queue(
        &self,
        worker: &Worker,
        sink: Sink,
        work: usize,
        words: &[u64],
        outputs: &[&Arc<Node>],
    ) -> Result<(), ExecError> {
        let program = Program::new(sink, words, outputs)?;
        let kernel = self.kernel(&program)?;
        let (threads, each) = match sink {
            Sink::LineDots | Sink::LineAbsSums | Sink::EqualCounts | Sink::Divergences => (LINE_THREADS, 4),
            Sink::Store(_) | Sink::Keep => (THREADS, 4 * THREADS as usize),
            _ => (THREADS, THREADS as usize),
        };
        let most = (self.shared.runtime.processors().max(1) * WAVES) as usize;
        let blocks = work.div_ceil(each).clamp(1, most) as u32;
        worker.queue.with(|lane| lane.launch(kernel.as_ref(), Shape { blocks, threads }, &program.words))
    }

    /// Copies results back, when all that was queued is done; what was uploaded before it is there for others then.
    pub(super) fn results(&self, worker: &mut Worker, from: u64, out: &mut [u8]) -> Result<(), ExecError> {
        worker.queue.with(|lane| lane.download(from, out))?;
        self.shared.resident.insert(worker.pending.drain(..));
        Ok(())
    }

    /// Stored elements on the device.
    pub(super) fn stored(&self, x: Chunk<'_>) -> Result<Arc<Node>, ExecError> {
        if !x.dtype.is_mergeable() {
            return Err(ExecError::NoArithmetic { dtype: x.dtype.name() });
        }
        if x.is_empty() {
            return Ok(Node::made("zero", Vec::new()));
        }
        let key = self.shared.resident.key(x.bytes);
        if let Some(block) = key.and_then(|key| self.shared.resident.find(key)) {
            return Ok(Node::stored(block, x.dtype));
        }
        self.with_worker(|worker| {
            let stays =
                key.and_then(|key| Some((key, self.shared.resident.room(&worker.queue, x.bytes.len())?)));
            let block = match &stays {
                Some((_, block)) => block.clone(),
                None => self.block(worker, x.bytes.len())?,
            };
            worker.queue.with(|lane| lane.upload(block.at(), x.bytes))?;
            worker.pending.extend(stays);
            Ok(Node::stored(block, x.dtype))
        })
    }

    /// Floats on the device, for rows or columns.
    pub(super) fn table(&self, x: &[f32]) -> Result<Arc<super::memory::Block>, ExecError> {
        self.with_worker(|worker| {
            let block = self.block(worker, size_of_val(x))?;
            worker.queue.with(|lane| lane.upload(block.at(), bytemuck::cast_slice(x)))?;
            Ok(block)
        })
    }

    /// A buffer whose values lie in memory.
    pub(super) fn settled(&self, node: &Arc<Node>, len: usize) -> Result<Arc<Node>, ExecError> {
        if matches!(node.as_ref(), Node::Stored { dtype: DType::F32, .. }) {
            return Ok(node.clone());
        }
        self.with_worker(|worker| {
            let block = self.block(worker, len * 4)?;
            self.queue(worker, Sink::Keep, len, &[block.at(), len as u64, block.at()], &[node])?;
            // What it was made of may be another thread's and go when the last value that needs it does.
            worker.queue.with(|lane| lane.wait())?;
            Ok(Node::stored(block, DType::F32))
        })
    }

    /// Values for a kernel of several, none of which is too large for that.
    pub(super) fn small(&self, bufs: &[&CudaBuf]) -> Result<Vec<Arc<Node>>, ExecError> {
        let words: usize = bufs.iter().map(|buf| buf.node.words()).sum();
        let each = |buf: &&CudaBuf| match words > MOST_WORDS {
            true => self.settled(&buf.node, buf.len),
            false => Ok(buf.node.clone()),
        };
        bufs.iter().map(each).collect()
    }
}
