//! Inputs that stay on the device: for the second pass over a tensor, and for the next merge of the same models.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::Shared;
use super::memory::Block;

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

/// While it lives, the bytes of its files are known by their addresses.
#[derive(Debug)]
pub struct Held<'a> {
    shared: Arc<Shared>,
    files: PhantomData<&'a [u8]>,
}

#[derive(Debug, Default)]
pub(super) struct Resident {
    /// Where the files that are held lie in the host's memory.
    files: RwLock<Vec<(Range<usize>, u64)>>,
    kept: Mutex<HashMap<Key, Entry>>,
    clock: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    block: Arc<Block>,
    used: u64,
}

impl<'a> Held<'a> {
    pub(super) fn new(shared: Arc<Shared>, files: impl IntoIterator<Item = HeldFile<'a>>) -> Self {
        let place = |file: HeldFile<'a>| {
            let from = file.bytes.as_ptr().addr();
            (from..from + file.bytes.len(), file.identity)
        };
        let files = files.into_iter().map(place).collect();
        *shared.resident.files.write().unwrap_or_else(PoisonError::into_inner) = files;
        Self { shared, files: PhantomData }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.resident.files.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Resident {
    fn kept(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
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
        let mut kept = self.kept();
        let entry = kept.get_mut(&key)?;
        entry.used = self.clock.fetch_add(1, Ordering::Relaxed);
        Some(entry.block.clone())
    }

    /// Takes what is complete on the device.
    pub(super) fn insert(&self, of: impl IntoIterator<Item = (Key, Arc<Block>)>) {
        let mut kept = self.kept();
        for (key, block) in of {
            let used = self.clock.fetch_add(1, Ordering::Relaxed);
            kept.insert(key, Entry { block, used });
        }
    }

    /// Gives up what was not used for longest, at least so many bytes; false if there was nothing.
    pub(super) fn evict(&self, bytes: usize) -> bool {
        let mut kept = self.kept();
        let mut oldest: Vec<(u64, Key, usize)> =
            kept.iter().map(|(key, entry)| (entry.used, *key, entry.block.size())).collect();
        oldest.sort_unstable();
        let (mut freed, mut gone) = (0, Vec::new());
        for (_, key, size) in oldest {
            // Some more than needed, since looking for the oldest takes a while.
            if freed >= bytes.max(64 << 20) {
                break;
            }
            freed += size;
            gone.extend(kept.remove(&key).map(|entry| entry.block));
        }
        drop(kept);
        gone.into_iter().map(Block::give_up).count() > 0
    }
}
