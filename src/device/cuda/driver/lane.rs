//! A thread's queue on a card.

use std::sync::Arc;

use super::Shared;
use super::calls::Function;
use super::queue::Stream;
use super::staging::{Downloads, Uploads};
use crate::device::cuda::runtime::{self, Address, Kernel, Shape};
use crate::problem::ExecError;

/// A queue with its own ways to and from the card.
#[derive(Debug)]
pub(super) struct Lane {
    // Fields are dropped in this order: the queue waits for its work, then what the work uses may go.
    stream: Stream,
    uploads: Uploads,
    downloads: Downloads,
    /// Keeps the kernels that were queued.
    shared: Arc<Shared>,
}

impl Lane {
    pub(super) fn new(shared: &Arc<Shared>) -> Result<Self, ExecError> {
        Ok(Self {
            stream: Stream::new(&shared.context)?,
            uploads: Uploads::new(&shared.context),
            downloads: Downloads::new(&shared.context),
            shared: Arc::clone(shared),
        })
    }
}

impl runtime::Lane for Lane {
    fn allocate(&mut self, bytes: usize) -> Result<Address, ExecError> {
        self.shared.context.allocate(bytes)
    }

    fn free(&mut self, at: Address) {
        self.shared.context.free(at);
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), ExecError> {
        self.uploads.copy(&self.stream, to, bytes)
    }

    fn clear(&mut self, at: Address, bytes: usize) -> Result<(), ExecError> {
        match bytes {
            0 => Ok(()),
            _ => self.stream.clear(at, bytes),
        }
    }

    fn launch(&mut self, kernel: &dyn Kernel, shape: Shape, words: &[u64]) -> Result<(), ExecError> {
        match kernel.as_any().downcast_ref::<Function>() {
            Some(function) if function.is_of(&self.shared.context) => {
                self.stream.launch(function, shape, words)
            }
            _ => Err(ExecError::Device { what: "a kernel was compiled for another device".into() }),
        }
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), ExecError> {
        match bytes {
            [] => self.stream.wait(),
            _ => self.downloads.copy(&self.stream, from, bytes),
        }
    }

    fn wait(&mut self) -> Result<(), ExecError> {
        self.stream.wait()
    }
}

impl Kernel for Function {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
