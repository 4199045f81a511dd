//! What a worker reads of a source: stored bytes, or what a view makes of them.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::run::Context;
use crate::checkpoint::{DType, TensorInfo};
use crate::device::Chunk;
use crate::device::cpu::Cpu;
use crate::plan::Source;
use crate::problem::ExecError;
use crate::view::{Input, Tiling, View};

/// One source of a job.
pub(super) struct Lens<'a> {
    pub(super) source: Source,
    /// As it is seen.
    pub(super) info: &'a TensorInfo,
    bytes: &'a [u8],
    view: &'a View,
    /// Of a view's noise.
    scales: Vec<f32>,
}

/// A worker's memory for one source: what a view makes of a block.
#[derive(Default)]
pub(super) struct Desk {
    block: Vec<f32>,
    room: Vec<f32>,
}

impl<'a> Lens<'a> {
    /// Looks a source up, and measures what its view must know of the whole tensor.
    pub(super) fn open<D>(context: &Context<'a, D>, source: Source) -> Result<Self, ExecError> {
        let input: &'a Input = &context.plan.inputs[source.input];
        let (info, view) = (&input.tensors()[source.tensor], input.view(source.tensor));
        let mut lens = Self { source, info, bytes: input.bytes(source.tensor), view, scales: Vec::new() };
        if let View::Tiled(tiling @ Tiling { noise: Some(noise), .. }) = view {
            let go_on = || !context.options.cancel.load(Ordering::Relaxed);
            lens.scales = noise.scales(tiling, &context.host, lens.stored(), go_on);
            input.check_intact(source.tensor)?;
        }
        Ok(lens)
    }

    /// Whether its elements are 16-bit floats, as they are seen.
    pub(super) fn is_half(&self) -> bool {
        self.view.is_stored() && self.info.dtype.size() <= 2
    }

    /// All of the stored tensor.
    fn stored(&self) -> Chunk<'a> {
        Chunk { dtype: self.info.dtype, bytes: self.bytes }
    }

    /// Some elements as they are seen, f32 where the view does arithmetic.
    pub(super) fn chunk<'d>(&self, host: &Cpu, elements: Range<usize>, desk: &'d mut Desk) -> Chunk<'d>
    where
        'a: 'd,
    {
        let dtype = self.info.dtype;
        let size = dtype.size();
        match self.view {
            View::Plain => Chunk { dtype, bytes: plain(self.bytes, size, elements) },
            View::Tiled(tiling) if tiling.is_copy() => {
                let len = elements.len() * size;
                desk.block.resize(len.div_ceil(4), 0.0);
                let bytes = &mut bytemuck::cast_slice_mut(&mut desk.block)[..len];
                tiling.copy(self.bytes, size, elements, bytes);
                Chunk { dtype, bytes }
            }
            View::Tiled(tiling) => {
                desk.block.resize(elements.len(), 0.0);
                tiling.fill(host, self.stored(), elements, &self.scales, &mut desk.block, &mut desk.room);
                Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(&desk.block) }
            }
        }
    }

    /// The stored bytes that come up for the first time in a run of elements: over the tensor each of them
    /// does so once, in order, which is what a checksum needs.
    pub(super) fn first_bytes(&self, elements: Range<usize>) -> &'a [u8] {
        let size = self.info.dtype.size();
        match self.view {
            View::Plain => plain(self.bytes, size, elements),
            View::Tiled(tiling) => plain(self.bytes, size, tiling.first_copies(elements)),
        }
    }

    /// Where an element comes from: its place in the stored tensor, and the width of a row there.
    pub(super) fn origin(&self, element: usize) -> (usize, usize) {
        match self.view {
            View::Plain => (element, self.info.shape.last().copied().unwrap_or(1).max(1)),
            View::Tiled(tiling) => (tiling.origin(element), tiling.columns),
        }
    }
}

fn plain(bytes: &[u8], size: usize, elements: Range<usize>) -> &[u8] {
    bytes.get(elements.start * size..elements.end * size).unwrap_or_default()
}
