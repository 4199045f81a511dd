//! Copies by way of memory that stays in place: a few slots, used in turn, so that the card copies one while the host fills
//! or empties another.

use std::collections::VecDeque;
use std::sync::Arc;

use super::calls::Context;
use super::queue::{Direction, Slot, Stream};
use crate::device::cuda::runtime::Address;
use crate::problem::ExecError;

/// Bytes of a slot: long enough for the bus to be at its full speed.
const SLOT: usize = 4 << 20;

/// Slots in one direction at most. A lane that never has so many copies under way makes fewer.
const SLOTS: usize = 4;

/// A lane's way to the card.
#[derive(Debug)]
pub(super) struct Uploads {
    context: Arc<Context>,
    /// The last is being filled; those before it were, the oldest first.
    slots: VecDeque<Slot>,
}

impl Uploads {
    /// Without a slot yet.
    pub(super) fn new(context: &Arc<Context>) -> Self {
        Self { context: Arc::clone(context), slots: VecDeque::new() }
    }

    /// Queues a copy; the bytes have been taken when this returns.
    pub(super) fn copy(&mut self, stream: &Stream, to: Address, bytes: &[u8]) -> Result<(), ExecError> {
        let mut sent = 0;
        while sent < bytes.len() {
            if self.slots.back().is_none_or(|slot| slot.space() == 0) {
                self.advance()?;
            }
            if let Some(slot) = self.slots.back_mut() {
                sent += slot.send(stream, to + sent as Address, &bytes[sent..])?;
            }
        }
        Ok(())
    }

    /// Puts an empty slot last: the oldest if its copies are done, a new one while there may be more, else the oldest when
    /// its copies are done.
    fn advance(&mut self) -> Result<(), ExecError> {
        let busy = self.slots.front().is_none_or(|oldest| !oldest.is_done());
        if busy && self.slots.len() < SLOTS {
            match Slot::new(&self.context, SLOT, Direction::Upload) {
                Ok(slot) => {
                    self.slots.push_back(slot);
                    return Ok(());
                }
                Err(error) if self.slots.is_empty() => return Err(error),
                // The system has no more such memory; those that there are will do.
                Err(_) => {}
            }
        }
        self.slots.rotate_left(1);
        self.slots.back_mut().map_or(Ok(()), Slot::reclaim)
    }
}

/// A lane's way from the card.
#[derive(Debug)]
pub(super) struct Downloads {
    context: Arc<Context>,
    slots: Vec<Slot>,
}

impl Downloads {
    /// Without a slot yet.
    pub(super) fn new(context: &Arc<Context>) -> Self {
        Self { context: Arc::clone(context), slots: Vec::new() }
    }

    /// Copies from the card, behind everything in the queue.
    pub(super) fn copy(&mut self, stream: &Stream, from: Address, bytes: &mut [u8]) -> Result<(), ExecError> {
        let parts = bytes.len().div_ceil(SLOT);
        while self.slots.len() < parts.min(SLOTS) {
            match Slot::new(&self.context, SLOT, Direction::Download) {
                Ok(slot) => self.slots.push(slot),
                Err(error) if self.slots.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        let ahead = self.slots.len();
        // A part is queued as soon as the one before it in the same slot was taken out.
        for part in 0..parts + ahead {
            if part >= ahead
                && let Some(into) = bytes.chunks_mut(SLOT).nth(part - ahead)
            {
                self.slots[part % ahead].take(into)?;
            }
            if part < parts {
                let at = part * SLOT;
                let length = SLOT.min(bytes.len() - at);
                self.slots[part % ahead].fetch(stream, from + at as Address, length)?;
            }
        }
        Ok(())
    }
}
