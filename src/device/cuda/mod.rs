//! The CUDA device: primitives are recorded, and run as one kernel when their values are needed.
//!
//! | file | what it is |
//! |---|---|
//! | `primitives.rs` | [`Device`](super::Device): what each primitive notes |
//! | `results.rs`, `ranked.rs` | those that run a kernel |
//! | `node.rs`, `program.rs` | what was noted, and the kernel that becomes of it |
//! | `launch.rs` | compiled kernels, launches, results |
//! | `worker.rs`, `memory.rs` | a queue for each thread, and device memory |
//! | `resident.rs` | inputs that stay on the device |
//! | `runtime.rs` | what is asked of whatever runs kernels |
//! | `driver/` | NVIDIA's driver and compiler, the only unsafe code |

pub mod driver;
mod launch;
mod memory;
mod node;
mod primitives;
mod program;
mod ranked;
mod resident;
mod results;
pub mod runtime;
pub mod source;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use memory::{Budget, Queue};
use node::Node;
use program::Sink;
pub use resident::HeldFile;
use resident::Resident;
use runtime::{Kernel, Runtime};
use worker::Worker;

use super::UNIT;
use crate::problem::ExecError;

/// A device that runs CUDA kernels. Cheap to copy; threads share one, and each has a queue of its own, so that reading,
/// copying to the device, computing, copying back and writing overlap.
#[derive(Clone, Debug)]
pub struct Cuda {
    shared: Arc<Shared>,
    block_elements: usize,
}

struct Shared {
    /// Tells devices of one process apart.
    id: u64,
    runtime: Arc<dyn Runtime>,
    budget: Arc<Budget>,
    kernels: RwLock<HashMap<(Sink, String), Arc<dyn Kernel>>>,
    /// Of threads that are gone.
    idle: Mutex<Vec<Worker>>,
    /// Of all threads.
    queues: Mutex<Vec<Weak<Queue>>>,
    resident: Resident,
}

/// A block of f32 on the device, or how it comes about.
#[derive(Debug)]
pub struct CudaBuf {
    node: Arc<Node>,
    len: usize,
}

impl Cuda {
    /// On a device that is open, within `memory` bytes of it.
    pub fn new(runtime: Arc<dyn Runtime>, memory: u64) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let shared = Shared {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            runtime,
            budget: Arc::new(Budget::new(memory)),
            kernels: RwLock::default(),
            idle: Mutex::default(),
            queues: Mutex::default(),
            resident: Resident::default(),
        };
        Self { shared: Arc::new(shared), block_elements: UNIT }
    }

    /// The same with blocks of `block_elements`; results do not depend on it.
    #[must_use]
    pub fn with_block_elements(self, block_elements: usize) -> Self {
        Self { block_elements: block_elements.max(1), ..self }
    }

    /// What runs its kernels.
    pub fn runtime(&self) -> &dyn Runtime {
        self.shared.runtime.as_ref()
    }

    /// Bytes of device memory that it may take.
    pub fn memory(&self) -> u64 {
        self.shared.budget.limit()
    }

    /// Device memory of one thread that merges blocks of `elements` from so many inputs, in bytes. Whatever a method does
    /// between loading and storing takes none, but for drops by rank: these keep each model's difference.
    pub fn worker_memory(inputs: usize, elements: usize) -> u64 {
        let block = elements as u64 * 8;
        inputs as u64 * block + inputs as u64 * block / 2 + worker::scratch(elements) as u64
    }

    /// Some device memory. If there is none, what other threads leave idle goes first, then what is kept of inputs.
    fn block(&self, worker: &mut Worker, bytes: usize) -> Result<Arc<memory::Block>, ExecError> {
        let none = |tried: &Result<_, ExecError>| matches!(tried, Err(ExecError::DeviceMemory { .. }));
        let mut tried = worker.queue.block(bytes);
        if none(&tried) {
            self.shared.trim();
            tried = worker.queue.block(bytes);
        }
        if none(&tried) {
            worker.forget_pending();
            if self.shared.resident.evict() {
                tried = worker.queue.block(bytes);
            }
        }
        tried
    }
}

impl Shared {
    /// Gives the device back what all queues keep for later.
    fn trim(&self) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| queue.strong_count() > 0);
        let queues: Vec<_> = queues.iter().filter_map(Weak::upgrade).collect();
        queues.iter().for_each(|queue| queue.trim());
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, memory) = (self.runtime.name(), self.budget.limit());
        f.debug_struct("Shared").field("name", &name).field("memory", &memory).finish_non_exhaustive()
    }
}
