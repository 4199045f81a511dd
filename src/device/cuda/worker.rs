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
    pub(super) scratch: Option<Arc<Block>>,
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
        self.shared.queues.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&queue));
        let mut worker = Worker { queue, scratch: None, pending: Vec::new() };
        worker.scratch = Some(self.block(&mut worker, scratch(self.block_elements))?);
        Ok(worker)
    }

    /// Room for results of so many bytes.
    pub(super) fn room(&self, worker: &mut Worker, bytes: usize) -> Result<u64, ExecError> {
        let scratch = match worker.scratch.take() {
            Some(scratch) if scratch.size() >= bytes => scratch,
            small => {
                drop(small);
                self.block(worker, bytes.max(scratch(self.block_elements)))?
            }
        };
        let at = scratch.at();
        worker.scratch = Some(scratch);
        Ok(at)
    }

    /// Ends this thread's part: another one may take its queue.
    pub(super) fn leave(&self) {
        WORKERS.with_borrow_mut(|seats| seats.retain(|seat| seat.device != self.shared.id));
    }
}

impl Worker {
    /// Gives up what others might have used. It is uploaded again when it is needed again.
    pub(super) fn forget_pending(&mut self) {
        if !self.pending.is_empty() {
            // It may be on its way still. A failure shows with the next call.
            let _: Result<(), ExecError> = self.queue.with(|lane| lane.wait());
            self.pending.clear();
        }
    }
}
