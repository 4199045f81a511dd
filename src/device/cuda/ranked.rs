//! Drops by rank within a row.

use super::node::Node;
use super::program::Sink;
use super::{Cuda, CudaBuf};
use crate::checkpoint::DType;
use crate::device::cpu::Cpu;
use crate::device::ranks::Limits;
use crate::device::{Chunk, Device, RankedDraw};
use crate::problem::ExecError;

/// In rows up to this length a rank is counted element by element; longer ones are ranked on the host.
const LONGEST_RANKED: usize = 1 << 15;

impl Cuda {
    /// Sets to zero what a draw drops, in rows of `width` elements.
    pub(super) fn rank(
        &self,
        x: &mut CudaBuf,
        width: usize,
        draw: RankedDraw,
        first: u64,
    ) -> Result<(), ExecError> {
        if x.len == 0 {
            return Ok(());
        }
        if width.min(x.len) > LONGEST_RANKED {
            return self.rank_on_host(x, width, draw, first);
        }
        let Limits { always, never, lowest, ranks } = Limits::of(width, draw);
        let node = self.settled(&x.node, x.len)?;
        let kept = self.with_worker(|worker| {
            let block = self.block(worker, x.len * 4)?;
            let words = [
                block.at(),
                x.len as u64,
                width as u64,
                draw.key,
                first,
                u64::from(always),
                u64::from(never),
                lowest.to_bits(),
                ranks.to_bits(),
            ];
            self.queue(worker, Sink::Ranked, x.len, &words, &[&node])?;
            worker.queue.with(|lane| lane.wait())?;
            Ok(block)
        })?;
        x.node = Node::stored(kept, DType::F32);
        Ok(())
    }

    /// By rank on the host.
    fn rank_on_host(
        &self,
        x: &mut CudaBuf,
        width: usize,
        draw: RankedDraw,
        first: u64,
    ) -> Result<(), ExecError> {
        let mut bytes = vec![0; x.len * 4];
        let node = self.settled(&x.node, x.len)?;
        if let Node::Stored { block, .. } = node.as_ref() {
            self.with_worker(|worker| self.results(worker, block.at(), &mut bytes))?;
        }
        let host = Cpu::new();
        let mut values = host.load(Chunk { dtype: DType::F32, bytes: &bytes })?;
        host.keep_ranked(&mut values, width, draw, first)?;
        x.node = self.stored(Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(values.values()) })?;
        Ok(())
    }
}
