//! Stored tensors, and what of them a run of seen elements is made of.

use std::ops::Range;

use super::Origin;
use crate::checkpoint::{Checkpoint, DType, TensorInfo};
use crate::device::Chunk;
use crate::problem::ExecError;
use crate::view::{Tiling, View};

/// A stored tensor that a seen one is made of.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// Where it is stored.
    pub checkpoint: &'a Checkpoint,
    /// Its position there.
    pub tensor: usize,
    /// How it is read.
    pub order: Order<'a>,
}

/// In which order a stored tensor's elements are read as the seen tensor's are.
#[derive(Clone, Copy, Debug)]
pub enum Order<'a> {
    /// One for one.
    Same,
    /// As copies.
    Copies(&'a Tiling),
    /// In no order, and perhaps not all: its checksum is taken before.
    Any,
}

impl<'a> Leaf<'a> {
    /// A tensor of a checkpoint, read as it is.
    pub fn new(checkpoint: &'a Checkpoint, tensor: usize) -> Self {
        Self { checkpoint, tensor, order: Order::Same }
    }

    /// Its description, as it is stored.
    pub fn info(&self) -> &'a TensorInfo {
        &self.checkpoint.tensors()[self.tensor]
    }

    /// Its bytes. Ask [`Leaf::check_intact`] after using them.
    pub fn bytes(&self) -> &'a [u8] {
        self.checkpoint.bytes(self.info())
    }

    /// All of it.
    pub fn chunk(&self) -> Chunk<'a> {
        Chunk { dtype: self.dtype(), bytes: self.bytes() }
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.info().dtype
    }

    /// What tells it from all other stored tensors of this process.
    pub fn identity(&self) -> (usize, usize) {
        (std::ptr::from_ref(self.checkpoint).addr(), self.tensor)
    }

    /// The stored bytes that come up for the first time in a run of seen elements: over the tensor each of
    /// them does so once, in order, which is what a checksum needs. Nothing for what is not read in order.
    pub fn first_bytes(&self, elements: Range<usize>) -> &'a [u8] {
        let range = match self.order {
            Order::Same => elements,
            Order::Copies(tiling) => tiling.first_copies(elements),
            Order::Any => return &[],
        };
        let size = self.dtype().size();
        self.bytes().get(range.start * size..range.end * size).unwrap_or_default()
    }

    /// Where a seen element comes from: its place in the stored tensor, and the width of a row there.
    pub fn place(&self, element: usize) -> (usize, usize) {
        match self.order {
            Order::Copies(tiling) => (tiling.origin(element), tiling.columns),
            _ => (element, self.info().shape.last().copied().unwrap_or(1).max(1)),
        }
    }

    /// Brings what some seen elements are made of into memory before they are used.
    pub fn prefetch(&self, elements: Range<usize>) {
        let size = self.dtype().size();
        let ranges = match self.order {
            Order::Same => [elements, 0..0],
            Order::Copies(tiling) => tiling.origins(elements),
            Order::Any => return,
        };
        for range in ranges.into_iter().filter(|r| !r.is_empty()) {
            self.checkpoint.prefetch(self.info(), range.start * size..range.end * size);
        }
    }

    /// Whether its file still is what it was when it was opened.
    ///
    /// # Errors
    /// [`ExecError::InputShrank`]; bytes that were read from it may be zeros.
    pub fn check_intact(&self) -> Result<(), ExecError> {
        self.checkpoint.check_intact(self.info())
    }
}

impl Origin {
    pub(super) fn leaves(&self) -> Vec<Leaf<'_>> {
        let mut leaves = Vec::new();
        for (i, (input, tensor)) in self.of.iter().enumerate() {
            for leaf in input.leaves(*tensor) {
                let order = match (&self.view, leaf.order) {
                    (View::Tiled(tiling), Order::Same) => Order::Copies(tiling),
                    (view, order) if view.is_elementwise() && i == 0 => order,
                    _ => Order::Any,
                };
                leaves.push(Leaf { order, ..leaf });
            }
        }
        leaves
    }
}
