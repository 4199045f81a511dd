//! Device memory that goes back to the thread that allocated it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::runtime::{Address, Lane};
use crate::problem::ExecError;

/// Blocks begin at such addresses, and are padded to whole fours of the largest type.
pub(super) const GRAIN: usize = 256;

/// Bytes that a device may take, and has taken.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    taken: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, taken: AtomicU64::new(0) }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn take(&self, bytes: u64) -> bool {
        let within = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= self.limit());
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn give(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One thread's queue, and memory that waits to be used again.
///
/// Memory goes back to the queue it came from: work is done in order there, so whatever still reads it is done before
/// anything that is queued later writes it.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct Inner {
    lane: Box<dyn Lane>,
    /// By size.
    idle: HashMap<usize, Vec<Address>>,
}

/// Some bytes of the device's memory.
#[derive(Debug)]
pub(super) struct Block {
    at: Address,
    /// With padding.
    size: usize,
    home: Home,
}

/// Where a block's memory is when nobody needs it.
#[derive(Debug)]
enum Home {
    /// In the queue that allocated it.
    Queue(Arc<Queue>),
    /// A part of something larger, which goes as a whole.
    Slab { _of: Arc<Slab> },
}

/// Memory that is cut into blocks and given back when the last of them is gone.
#[derive(Debug)]
pub(super) struct Slab {
    at: Address,
    size: usize,
    queue: Arc<Queue>,
}

impl Slab {
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// A block of it, from a byte on that is a multiple of 256; it must end within.
    pub(super) fn part(self: &Arc<Self>, from: usize, bytes: usize) -> Arc<Block> {
        let (at, size) = (self.at + from as Address, bytes);
        Arc::new(Block { at, size, home: Home::Slab { _of: self.clone() } })
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // Whoever read a part of it had waited for what was queued before letting go of the part.
        self.queue.with(|lane| lane.free(self.at));
        self.queue.budget.give(self.size as u64);
    }
}

impl Block {
    pub(super) fn at(&self) -> Address {
        self.at
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Home::Queue(queue) = &self.home {
            queue.lock().idle.entry(self.size).or_default().push(self.at);
        }
    }
}

/// Few sizes, so that what one block leaves fits the next: steps of an eighth.
fn class(bytes: usize) -> usize {
    let bytes = bytes.max(1).next_multiple_of(GRAIN);
    let step = (bytes.next_power_of_two() / 16).max(GRAIN);
    bytes.next_multiple_of(step)
}

impl Queue {
    pub(super) fn new(lane: Box<dyn Lane>, budget: Arc<Budget>) -> Arc<Self> {
        let inner = Inner { lane, idle: HashMap::new() };
        Arc::new(Self { inner: Mutex::new(inner), budget })
    }

    /// Threads do not share queues, so nobody waits; a poisoned lock means that another thread panicked.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the lane.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut dyn Lane) -> T) -> T {
        act(self.lock().lane.as_mut())
    }

    /// Memory with any content.
    pub(super) fn block(self: &Arc<Self>, bytes: usize) -> Result<Arc<Block>, ExecError> {
        let size = class(bytes);
        let mut inner = self.lock();
        let at = match inner.idle.get_mut(&size).and_then(Vec::pop) {
            Some(at) => at,
            None => self.allocate(&mut inner, size)?,
        };
        Ok(Arc::new(Block { at, size, home: Home::Queue(self.clone()) }))
    }

    /// Memory that is to be cut.
    pub(super) fn slab(self: &Arc<Self>, bytes: usize) -> Result<Arc<Slab>, ExecError> {
        let size = bytes.next_multiple_of(GRAIN);
        let at = self.allocate(&mut self.lock(), size)?;
        Ok(Arc::new(Slab { at, size, queue: self.clone() }))
    }

    /// New memory; if there is none, what is idle here goes first.
    fn allocate(&self, inner: &mut Inner, size: usize) -> Result<Address, ExecError> {
        let attempt = |inner: &mut Inner| {
            if !self.budget.take(size as u64) {
                return Err(ExecError::DeviceMemory { bytes: size });
            }
            inner.lane.allocate(size).inspect_err(|_| self.budget.give(size as u64))
        };
        match attempt(inner) {
            Err(ExecError::DeviceMemory { .. }) => {
                self.release(inner);
                attempt(inner)
            }
            done => done,
        }
    }

    /// Gives idle memory back to the device.
    pub(super) fn trim(&self) {
        self.release(&mut self.lock());
    }

    fn release(&self, inner: &mut Inner) {
        if inner.idle.values().all(Vec::is_empty) {
            return;
        }
        // What is idle may still be read by what is queued. A failure shows with the next call.
        let _: Result<(), ExecError> = inner.lane.wait();
        for (size, addresses) in std::mem::take(&mut inner.idle) {
            for at in addresses {
                inner.lane.free(at);
                self.budget.give(size as u64);
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_hold_what_was_asked_for_and_are_few() {
        let mut sizes = std::collections::BTreeSet::new();
        for bytes in (0..3 << 20).step_by(97) {
            let size = class(bytes);
            assert!(
                size >= bytes && size.is_multiple_of(GRAIN) && size <= bytes + bytes / 8 + GRAIN,
                "{bytes} {size}"
            );
            sizes.insert(size);
        }
        assert!(sizes.len() < 130, "{}", sizes.len());
    }
}
