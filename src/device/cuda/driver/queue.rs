//! A card's queue of work, and the memory through which copies go: the other half of the calls into the driver.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::calls::{Context, Function, failed};
use crate::device::cuda::runtime::{Address, Shape};
use crate::problem::ExecError;

/// A queue of work.
#[derive(Debug)]
pub(super) struct Stream {
    context: Arc<Context>,
    raw: sys::CUstream,
}

// SAFETY: a handle of the driver, usable from any thread in which its context is current.
unsafe impl Send for Stream {}

impl Stream {
    /// One that waits for no other.
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, ExecError> {
        context.enter()?;
        let raw = result::stream::create(result::stream::StreamKind::NonBlocking);
        Ok(Self { context: Arc::clone(context), raw: raw.map_err(failed("make a queue"))? })
    }

    /// Waits for everything in it.
    pub(super) fn wait(&self) -> Result<(), ExecError> {
        self.context.enter()?;
        // SAFETY: not destroyed before `drop`.
        unsafe { result::stream::synchronize(self.raw) }.map_err(failed("finish its work"))
    }

    /// Queues zeros.
    pub(super) fn clear(&self, at: Address, bytes: usize) -> Result<(), ExecError> {
        self.context.enter()?;
        // SAFETY: the card's memory alone is written; addresses that are not its are an error of the driver.
        unsafe { result::memset_d8_async(at, 0, bytes, self.raw) }.map_err(failed("clear memory"))
    }

    /// Queues a kernel.
    pub(super) fn launch(&self, function: &Function, shape: Shape, words: &[u64]) -> Result<(), ExecError> {
        let (function, taken) = function.parts();
        if words.len() != taken {
            let what = format!("a kernel of {taken} words was given {}", words.len());
            return Err(ExecError::Device { what });
        }
        self.context.enter()?;
        // A copy, because the driver asks for pointers through which it could write.
        let mut words = words.to_vec();
        let mut parameters = [words.as_mut_ptr().cast::<c_void>()];
        let (grid, block) = ((shape.blocks, 1, 1), (shape.threads, 1, 1));
        // SAFETY: `Function::load` checked that there is one parameter, as long as `words`, and it is copied before this returns.
        unsafe { result::launch_kernel(function, grid, block, 0, self.raw, &mut parameters) }
            .map_err(failed("start a kernel"))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: made once, destroyed once, after its work.
            unsafe {
                let _ = result::stream::synchronize(self.raw);
                let _ = result::stream::destroy(self.raw);
            }
        }
    }
}

/// What a slot is for, which decides how the host sees its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Written by the host alone, past its caches.
    Upload,
    /// Read by the host.
    Download,
}

/// Memory of the host that stays where it is, so that the card copies by itself, and an event that says when it has.
///
/// The first `used` bytes belong to copies that were queued, and the host leaves them alone until the event.
#[derive(Debug)]
pub(super) struct Slot {
    context: Arc<Context>,
    memory: NonNull<u8>,
    event: sys::CUevent,
    bytes: usize,
    used: usize,
}

// SAFETY: it owns its memory and event; both may be used from any thread in which the context is current.
unsafe impl Send for Slot {}

/// The system gives no memory that stays where it is.
fn no_place(bytes: usize) -> ExecError {
    let what =
        format!("the system has no {bytes} bytes of memory to keep in place for copies to a CUDA device");
    ExecError::Memory { what }
}

impl Slot {
    /// Of so many bytes.
    pub(super) fn new(context: &Arc<Context>, bytes: usize, direction: Direction) -> Result<Self, ExecError> {
        context.enter()?;
        let flags = match direction {
            Direction::Upload => sys::CU_MEMHOSTALLOC_WRITECOMBINED,
            Direction::Download => 0,
        };
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        let event = event.map_err(failed("make an event"))?;
        // SAFETY: not of length zero; freed in `drop`, once.
        let memory = unsafe { result::malloc_host(bytes.max(1), flags) };
        let memory = memory.map_err(|error| match failed("keep memory in place for copies")(error) {
            // Of the host's.
            ExecError::DeviceMemory { .. } => no_place(bytes),
            other => other,
        });
        let memory =
            memory.and_then(|memory| NonNull::new(memory.cast::<u8>()).ok_or_else(|| no_place(bytes)));
        let memory = memory.inspect_err(|_| {
            // SAFETY: made above, and used by nothing.
            let _ = unsafe { result::event::destroy(event) };
        })?;
        Ok(Self { context: Arc::clone(context), memory, event, bytes, used: 0 })
    }

    /// Bytes that no queued copy uses.
    pub(super) fn space(&self) -> usize {
        self.bytes - self.used
    }

    /// Whether the copies that use it are done.
    pub(super) fn is_done(&self) -> bool {
        // SAFETY: the event lives as long as `self`; one that nothing was recorded in is done.
        self.used == 0 || self.context.enter().is_ok() && unsafe { result::event::query(self.event) }.is_ok()
    }

    /// Waits for the copies that use it; all of it is then free.
    pub(super) fn reclaim(&mut self) -> Result<(), ExecError> {
        if self.used > 0 {
            self.context.enter()?;
            // SAFETY: the event lives as long as `self`.
            unsafe { result::event::synchronize(self.event) }.map_err(failed("finish a copy"))?;
            self.used = 0;
        }
        Ok(())
    }

    /// Queues a copy of as many of these bytes as there is space for, and says how many.
    pub(super) fn send(&mut self, stream: &Stream, to: Address, bytes: &[u8]) -> Result<usize, ExecError> {
        let take = bytes.len().min(self.space());
        self.context.enter()?;
        // SAFETY: `used + take` is at most `self.bytes`, and no copy that is queued uses what lies beyond `used`.
        let from = unsafe {
            let from = self.memory.add(self.used);
            ptr::copy_nonoverlapping(bytes.as_ptr(), from.as_ptr(), take);
            from
        };
        // The next copy begins at a multiple of 256, as the hardware likes it.
        self.used = (self.used + take).next_multiple_of(256).min(self.bytes);
        // SAFETY: those bytes stay as they are until the event, which is behind the copy in the same queue.
        unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), take, stream.raw) }
            .result()
            .map_err(failed("copy to its memory"))?;
        self.record(stream)?;
        Ok(take)
    }

    /// Queues a copy from the card, of at most as much as there is space for in all of it.
    pub(super) fn fetch(&mut self, stream: &Stream, from: Address, bytes: usize) -> Result<usize, ExecError> {
        self.reclaim()?;
        let take = bytes.min(self.bytes);
        self.context.enter()?;
        self.used = take;
        // SAFETY: `take` is at most `self.bytes`; the host reads nothing of it before the event.
        unsafe { sys::cuMemcpyDtoHAsync_v2(self.memory.as_ptr().cast(), from, take, stream.raw) }
            .result()
            .map_err(failed("copy from its memory"))?;
        self.record(stream)?;
        Ok(take)
    }

    /// Waits for what was fetched, and hands it out.
    pub(super) fn take(&mut self, into: &mut [u8]) -> Result<(), ExecError> {
        let there = self.used.min(into.len());
        self.reclaim()?;
        // SAFETY: the copy of `there` bytes into this memory is done, and `into` is elsewhere.
        unsafe { ptr::copy_nonoverlapping(self.memory.as_ptr(), into.as_mut_ptr(), there) };
        Ok(())
    }

    /// Queues a copy of the whole slot, whatever is in it: to time it.
    pub(super) fn send_all(&mut self, stream: &Stream, to: Address) -> Result<(), ExecError> {
        self.context.enter()?;
        self.used = self.bytes;
        // SAFETY: as in `send`; the driver allocated these bytes, and none is read by the host.
        unsafe { sys::cuMemcpyHtoDAsync_v2(to, self.memory.as_ptr().cast(), self.bytes, stream.raw) }
            .result()
            .map_err(failed("copy to its memory"))?;
        self.record(stream)
    }

    /// Puts the event behind what was queued. Where that fails, the queue is waited for instead.
    fn record(&self, stream: &Stream) -> Result<(), ExecError> {
        // SAFETY: event and stream live, and are of the same context.
        unsafe { result::event::record(self.event, stream.raw) }.map_err(|error| {
            let _ = stream.wait();
            failed("mark the end of a copy")(error)
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = self.reclaim();
        if self.context.enter().is_ok() {
            // SAFETY: made once, freed once, after the last copy that uses it.
            unsafe {
                let _ = result::event::destroy(self.event);
                let _ = result::free_host(self.memory.as_ptr().cast());
            }
        }
    }
}
