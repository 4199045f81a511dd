//! Inputs that stay on the device: for the second pass over a tensor, and for the next merge of the same models.
//!
//! They lie in slabs, because a driver is slow to allocate. What came first stays: passes and members of a grid read the same
//! things in the same order, and whatever went in favour of something later would be what is needed next.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::Cuda;
use super::memory::{Block, GRAIN, Queue, Slab};

/// Bytes of a slab, or as many as a single input takes.
const SLAB: usize = 64 << 20;

/// Some bytes of a file: which file, from where, how many.
pub(super) type Key = (u64, usize, usize);

/// A mapped file whose bytes do not change while it is held.
#[derive(Clone, Copy, Debug)]
pub struct HeldFile<'a> {
    /// The same for the same contents, for as long as the device lives: of path, length and time of change, say.
    pub identity: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
}

#[derive(Debug, Default)]
pub(super) struct Resident {
    /// Where the files that are held lie in the host's memory.
    files: RwLock<Vec<(Range<usize>, u64)>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    blocks: HashMap<Key, Arc<Block>>,
    /// The slab that is being filled, and how far it is.
    slab: Option<(Arc<Slab>, usize)>,
    /// Bytes of all slabs, and how many they may be.
    bytes: u64,
    limit: u64,
}

impl Cuda {
    /// Runs something during which what is read of these files stays on the device, up to `limit` bytes, for later calls with
    /// the same files too. One call at a time.
    pub fn holding<'a, T>(
        &self,
        files: impl IntoIterator<Item = HeldFile<'a>>,
        limit: u64,
        act: impl FnOnce() -> T,
    ) -> T {
        /// Forgets addresses also where `act` panics: other bytes may lie there later.
        struct Held<'d>(&'d Resident);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.files.write().unwrap_or_else(PoisonError::into_inner).clear();
            }
        }
        let resident = &self.shared.resident;
        let place = |file: HeldFile<'a>| {
            let from = file.bytes.as_ptr().addr();
            (from..from + file.bytes.len(), file.identity)
        };
        let places = files.into_iter().map(place).collect();
        let _held = Held(resident);
        resident.kept().limit = limit;
        *resident.files.write().unwrap_or_else(PoisonError::into_inner) = places;
        act()
    }
}

impl Resident {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What some bytes are known by, if they are of a file that is held.
    pub(super) fn key(&self, bytes: &[u8]) -> Option<Key> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let (from, len) = (bytes.as_ptr().addr(), bytes.len());
        let (file, identity) =
            files.iter().find(|(file, _)| file.contains(&from) && from + len <= file.end)?;
        Some((*identity, from - file.start, len))
    }

    pub(super) fn find(&self, key: Key) -> Option<Arc<Block>> {
        self.kept().blocks.get(&key).cloned()
    }

    /// Memory for something that is to stay, if there is any.
    pub(super) fn room(&self, queue: &Arc<Queue>, bytes: usize) -> Option<Arc<Block>> {
        let size = bytes.next_multiple_of(GRAIN);
        let mut kept = self.kept();
        if kept.slab.as_ref().is_none_or(|(slab, used)| used + size > slab.size()) {
            let slab =
                size.max(SLAB.min(usize::try_from(kept.limit.saturating_sub(kept.bytes)).unwrap_or(SLAB)));
            if kept.bytes + slab as u64 > kept.limit {
                return None;
            }
            let slab = queue.slab(slab).ok()?;
            kept.bytes += slab.size() as u64;
            kept.slab = Some((slab, 0));
        }
        let (slab, used) = kept.slab.as_mut()?;
        let block = slab.part(*used, size);
        *used += size;
        Some(block)
    }

    /// Takes what is complete on the device.
    pub(super) fn insert(&self, of: impl IntoIterator<Item = (Key, Arc<Block>)>) {
        self.kept().blocks.extend(of);
    }

    /// Gives everything up, and takes nothing more until the next [`Cuda::holding`]; false if there was nothing.
    pub(super) fn evict(&self) -> bool {
        let mut kept = self.kept();
        let (blocks, slab) = (std::mem::take(&mut kept.blocks), kept.slab.take());
        kept.bytes = 0;
        kept.limit = 0;
        drop(kept);
        let had = slab.is_some() || !blocks.is_empty();
        drop((blocks, slab));
        had
    }
}
