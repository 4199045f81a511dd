//! What comes back of a block: its values, sums and counts.

use super::program::Sink;
use super::{Cuda, CudaBuf};
use crate::checkpoint::DType;
use crate::device::{Finiteness, Outside, Overlap, Window};
use crate::problem::ExecError;

impl Cuda {
    /// Sums of lines.
    pub(super) fn lines<T: bytemuck::Pod>(
        &self,
        sink: Sink,
        bufs: &[&CudaBuf],
        line: usize,
        key: u32,
    ) -> Result<Vec<T>, ExecError> {
        let len = bufs.first().map_or(0, |buf| buf.len);
        let line = line.max(1);
        let lines = len.div_ceil(line);
        let mut sums = vec![T::zeroed(); lines];
        if lines == 0 {
            return Ok(sums);
        }
        let nodes = self.small(bufs)?;
        self.with_worker(|worker| {
            let room = self.room(worker, size_of_val(sums.as_slice()))?;
            let mut words = vec![room, len as u64, line as u64, lines as u64];
            if sink != Sink::Divergences {
                words.push(u64::from(key));
            }
            self.queue(worker, sink, lines, &words, &nodes.iter().collect::<Vec<_>>())?;
            self.results(worker, room, bytemuck::cast_slice_mut(&mut sums))
        })?;
        Ok(sums)
    }

    /// Adds sums of columns.
    pub(super) fn columns(&self, x: &CudaBuf, y: &CudaBuf, sums: &mut [f64]) -> Result<(), ExecError> {
        if x.len == 0 || sums.is_empty() {
            return Ok(());
        }
        let (nodes, width) = (self.small(&[x, y])?, sums.len());
        self.with_worker(|worker| {
            let room = self.room(worker, size_of_val(sums))?;
            worker.queue.with(|lane| lane.upload(room, bytemuck::cast_slice(sums)))?;
            let words = [room, x.len as u64, width as u64];
            self.queue(worker, Sink::ColumnDots, width, &words, &nodes.iter().collect::<Vec<_>>())?;
            self.results(worker, room, bytemuck::cast_slice_mut(sums))
        })
    }

    /// Counts magnitudes.
    pub(super) fn counts(&self, x: &CudaBuf, window: Window, bins: &mut [u32]) -> Result<Outside, ExecError> {
        if x.len == 0 {
            return Ok(Outside::default());
        }
        // First how many lie above and the offsets' bits, then the bins.
        const BINS: usize = 256;
        let mut counted = vec![0u64; (BINS + window.bins * 4).div_ceil(8)];
        self.with_worker(|worker| {
            let bytes = size_of_val(counted.as_slice());
            let room = self.room(worker, bytes)?;
            worker.queue.with(|lane| lane.clear(room, bytes))?;
            let high = u32::try_from(window.high()).unwrap_or(u32::MAX);
            let [low, high, shift] = [window.low, high, window.shift].map(u64::from);
            let words = [room + BINS as u64, x.len as u64, low, high, shift, room];
            self.queue(worker, Sink::AbsCounts, x.len, &words, &[&x.node])?;
            self.results(worker, room, bytemuck::cast_slice_mut(&mut counted))
        })?;
        let of_window: &[u32] = bytemuck::cast_slice(&counted[BINS / 8..]);
        for (bin, count) in bins.iter_mut().zip(of_window) {
            *bin += count;
        }
        Ok(Outside { above: counted[0], residue: counted[1] as u32 & ((1 << window.shift) - 1) })
    }

    /// Counts changes.
    pub(super) fn shared_changes(&self, deltas: &[CudaBuf], epsilon: f32) -> Result<Vec<Overlap>, ExecError> {
        let mut counts = vec![[0u64; 2]; deltas.len()];
        let Some(len) = deltas.first().map(|x| x.len).filter(|len| *len > 0) else {
            return Ok(vec![Overlap::default(); deltas.len()]);
        };
        let nodes = self.small(&deltas.iter().collect::<Vec<_>>())?;
        self.with_worker(|worker| {
            let bytes = size_of_val(counts.as_slice());
            let room = self.room(worker, bytes)?;
            worker.queue.with(|lane| lane.clear(room, bytes))?;
            let words = [room, len as u64, u64::from(epsilon.to_bits())];
            self.queue(worker, Sink::Overlaps, len, &words, &nodes.iter().collect::<Vec<_>>())?;
            self.results(worker, room, bytemuck::cast_slice_mut(&mut counts))
        })?;
        Ok(counts.into_iter().map(|[shared, alone]| Overlap { shared, alone }).collect())
    }

    /// Stores a block in a type, and brings it back.
    pub(super) fn bring(&self, x: &CudaBuf, dtype: DType, out: &mut [u8]) -> Result<Finiteness, ExecError> {
        if x.len == 0 {
            return Ok(Finiteness::Finite);
        }
        let mut flag = [0; 4];
        self.with_worker(|worker| {
            let bytes = (x.len * dtype.size()).next_multiple_of(256);
            let room = self.room(worker, bytes + 256)?;
            let at = room + bytes as u64;
            worker.queue.with(|lane| lane.clear(at, flag.len()))?;
            self.queue(worker, Sink::Store(dtype), x.len, &[room, x.len as u64, at], &[&x.node])?;
            self.results(worker, room, out)?;
            self.results(worker, at, &mut flag)
        })?;
        Ok(if flag == [0; 4] { Finiteness::Finite } else { Finiteness::NonFinite })
    }
}
