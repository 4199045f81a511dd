//! What a thread has on a device: a queue, room for results, and inputs on their way.

use std::cell::RefCell;
use std::sync::{Arc, PoisonError, Weak};

use super::memory::{Block, Queue};
use super::resident::Key;
use super::{Cuda, Shared};
use crate::problem::ExecError;

/// Room for results that any merge needs: sums, and a million counters.
const SCRATCH: usize = 8 << 20;

/// Room for the results of blocks of so many elements, in bytes.
pub(super) fn scratch(elements: usize) -> usize {
    SCRATCH.max(elements * 8 + (1 << 12))
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) queue: Arc<Queue>,
    /// Results lie here until they are copied back. Taken in the beginning, so that only loading can find no memory.
    pub(super) scratch: Arc<Block>,
    /// Uploads that others may use as soon as the queue is done with them.
    pub(super) pending: Vec<(Key, Arc<Block>)>,
}

thread_local! {
    static WORKERS: RefCell<Vec<Seat>> = const { RefCell::new(Vec::new()) };
}

/// A thread's worker for one device; another thread gets it when this one ends.
struct Seat {
    device: u64,
    shared: Weak<Shared>,
    worker: Option<Worker>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let (Some(shared), Some(worker)) = (self.shared.upgrade(), self.worker.take()) {
            shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        }
    }
}

impl Cuda {
    /// Does something with this thread's worker. Not to be nested.
    pub(super) fn with_worker<T>(
        &self,
        act: impl FnOnce(&mut Worker) -> Result<T, ExecError>,
    ) -> Result<T, ExecError> {
        WORKERS.with_borrow_mut(|seats| {
            seats.retain(|seat| seat.shared.strong_count() > 0);
            let found = seats.iter().position(|seat| seat.device == self.shared.id);
            let at = match found {
                Some(at) => at,
                None => {
                    let worker = Some(self.hire()?);
                    let shared = Arc::downgrade(&self.shared);
                    seats.push(Seat { device: self.shared.id, shared, worker });
                    seats.len() - 1
                }
            };
            match seats.get_mut(at).and_then(|seat| seat.worker.as_mut()) {
                Some(worker) => act(worker),
                None => Err(ExecError::Device { what: "a thread lost its queue".into() }),
            }
        })
    }

    fn hire(&self) -> Result<Worker, ExecError> {
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(worker) = idle {
            return Ok(worker);
        }
        let queue = Queue::new(self.shared.runtime.lane()?, self.shared.budget.clone());
        let bytes = scratch(self.block_elements);
        let scratch = loop {
            match queue.block(bytes) {
                Err(ExecError::DeviceMemory { .. }) if self.shared.resident.evict(bytes) => {}
                done => break done?,
            }
        };
        Ok(Worker { queue, scratch, pending: Vec::new() })
    }
}

impl Worker {
    /// Room for results of so many bytes.
    pub(super) fn room(&mut self, bytes: usize) -> Result<u64, ExecError> {
        if self.scratch.size() < bytes {
            self.scratch = self.queue.block(bytes)?;
        }
        Ok(self.scratch.at())
    }
}
