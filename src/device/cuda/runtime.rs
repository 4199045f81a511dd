//! What the CUDA device asks of whatever runs its kernels: a driver with its card, or for tests the host.
//!
//! Everything that decides a result lies above this line, so tests that run kernels compiled for the host run the same graphs,
//! sources, launches and reductions as a card does.

use std::fmt::Debug;
use std::sync::Arc;

use super::source::Source;
use crate::problem::ExecError;

/// An address in the device's memory.
pub type Address = u64;

/// How often a kernel's body runs. Kernels walk their work in strides of the whole grid, so any shape gives the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Blocks of the grid.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
}

/// Memory of a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Nobody uses it at the moment.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

/// A device that compiles and runs kernels. Shared by all threads.
pub trait Runtime: Debug + Send + Sync {
    /// What the device calls itself.
    fn name(&self) -> String;

    /// How much memory it has, and how much is free.
    ///
    /// # Errors
    /// What the driver reports.
    fn memory(&self) -> Result<Memory, ExecError>;

    /// Multiprocessors: blocks of a grid beyond a few for each only wait.
    fn processors(&self) -> u32;

    /// Compiles a source, or finds what was compiled before.
    ///
    /// # Errors
    /// If the compiler is missing or refuses.
    fn compile(&self, source: &Source) -> Result<Arc<dyn Kernel>, ExecError>;

    /// A queue of its own for one thread.
    ///
    /// # Errors
    /// What the driver reports.
    fn lane(&self) -> Result<Box<dyn Lane>, ExecError>;
}

/// A compiled kernel.
pub trait Kernel: Debug + Send + Sync {
    /// Itself, for the runtime that made it.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// A queue of work, done in the order it was put in; queues of different threads overlap.
pub trait Lane: Debug + Send {
    /// Memory of its own, whose address is a multiple of 256.
    ///
    /// # Errors
    /// [`ExecError::DeviceMemory`] if there is none left.
    fn allocate(&mut self, bytes: usize) -> Result<Address, ExecError>;

    /// Gives memory back that this or another lane of the same device allocated, once nothing that was put into any queue uses it.
    fn free(&mut self, at: Address);

    /// Queues a copy to the device. `bytes` may be changed as soon as this returns.
    ///
    /// # Errors
    /// What the driver reports.
    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), ExecError>;

    /// Queues zeros.
    ///
    /// # Errors
    /// What the driver reports.
    fn clear(&mut self, at: Address, bytes: usize) -> Result<(), ExecError>;

    /// Queues a kernel; `words` are its arguments in the order of the source.
    ///
    /// # Errors
    /// What the driver reports.
    fn launch(&mut self, kernel: &dyn Kernel, shape: Shape, words: &[u64]) -> Result<(), ExecError>;

    /// Waits for everything in the queue, and copies from the device.
    ///
    /// # Errors
    /// What the driver reports, also of what was queued before.
    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), ExecError>;

    /// Waits for everything in the queue.
    ///
    /// # Errors
    /// What the driver reports of it.
    fn wait(&mut self) -> Result<(), ExecError>;
}
