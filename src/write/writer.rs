//! The thread that writes: workers hand bytes over and go on.
//!
//! Writes and journal lines go through one queue, so a tensor's line is written after its bytes. One
//! writer is enough: an output is a fraction of its inputs, and two writers of one file would wait for
//! each other inside the system.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::journal::{Entry, Journal};
use super::shards::Shards;
use crate::execute::{Piece, WRITE_BEHIND};
use crate::problem::ExecError;

enum Order {
    Write { shard: usize, at: u64, piece: Piece },
    Seal(Entry),
}

/// What the writer and those who give orders share.
#[derive(Debug, Default)]
struct Shared {
    failure: Mutex<Option<ExecError>>,
    /// Memory of pieces that were written.
    free: Mutex<Vec<Vec<u8>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A writer at work. Dropping it writes what was ordered and waits for that.
#[derive(Debug)]
pub(super) struct Writer {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(shards: Arc<Shards>, journal: Arc<Journal>) -> Result<Self, ExecError> {
        let (orders, queue) = mpsc::sync_channel(WRITE_BEHIND);
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let work = move || {
            if let Err(error) = write(&queue, &shards, &journal, &theirs) {
                *locked(&theirs.failure) = Some(error);
            }
        };
        let thread = std::thread::Builder::new()
            .name("write".into())
            .spawn(work)
            .map_err(|e| ExecError::Memory { what: format!("cannot start the thread that writes: {e}") })?;
        Ok(Self { orders: Some(orders), thread: Some(thread), shared })
    }

    /// Memory for a piece.
    pub(super) fn storage(&self) -> Vec<u8> {
        locked(&self.shared.free).pop().unwrap_or_default()
    }

    /// Orders a write; waits while too many are under way.
    pub(super) fn write(&self, shard: usize, at: u64, piece: Piece) -> Result<(), ExecError> {
        self.order(Order::Write { shard, at, piece })
    }

    /// Orders a line of the journal.
    pub(super) fn seal(&self, entry: Entry) -> Result<(), ExecError> {
        self.order(Order::Seal(entry))
    }

    fn order(&self, order: Order) -> Result<(), ExecError> {
        match self.orders.as_ref().map(|orders| orders.send(order)) {
            Some(Ok(())) => Ok(()),
            // The writer has ended. The first to notice says why; the merge is over anyway.
            _ => Err(locked(&self.shared.failure).take().unwrap_or(ExecError::Interrupted)),
        }
    }

    /// Waits until everything ordered is written.
    pub(super) fn finish(mut self) -> Result<(), ExecError> {
        self.end();
        locked(&self.shared.failure).take().map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

fn write(
    queue: &Receiver<Order>,
    shards: &Shards,
    journal: &Journal,
    shared: &Shared,
) -> Result<(), ExecError> {
    for order in queue {
        match order {
            Order::Write { shard, at, piece } => {
                shards.write(shard, at, piece.bytes())?;
                locked(&shared.free).push(piece.into_storage());
            }
            Order::Seal(entry) => journal.add(&entry)?,
        }
    }
    Ok(())
}
