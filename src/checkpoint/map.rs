//! Mapped files: the only `mmap`.
//!
//! A file that is cut short while it is mapped makes the kernel answer reads beyond its new end with
//! SIGBUS, which would end the process. A handler puts a page of zeros there instead and marks the map
//! as poisoned; whoever reads asks [`Map::check`] afterwards and gets an error. A file that is changed
//! without becoming shorter is not noticed.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap};

use crate::problem::ExecError;

/// A file in memory, read-only.
#[derive(Debug)]
pub(super) struct Map {
    path: PathBuf,
    file: File,
    map: Mmap,
    guard: guard::Guard,
}

impl Map {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: other processes may change the file while it is mapped. All reads are of plain
        // numbers through byte slices, for which any byte is valid, so a change can spoil values but
        // break no invariant; shortening is handled by the guard below.
        let map = unsafe { Mmap::map(&file)? };
        let guard = guard::Guard::new(map.as_ptr() as usize, map.len());
        Ok(Self { path: path.to_owned(), file, map, guard })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Reads a range in and maps its pages at one stroke, which costs a fraction of a fault for every
    /// few of them. A refusal does not matter.
    pub(super) fn prefetch(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        let advice = Advice::PopulateRead;
        #[cfg(not(target_os = "linux"))]
        let advice = Advice::WillNeed;
        let _ = self.map.advise_range(advice, range.start, range.len());
    }

    /// Whether everything that was read so far came from the file.
    pub(super) fn check(&self) -> Result<(), ExecError> {
        let shorter = self.file.metadata().map(|m| m.len() < self.map.len() as u64);
        if self.guard.is_poisoned() || shorter.unwrap_or(true) {
            return Err(ExecError::InputShrank { path: self.path.clone() });
        }
        Ok(())
    }
}

mod guard {
    use std::sync::Once;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Maps that can be guarded at once; shards beyond go without.
    const SLOTS: usize = 4096;

    struct Slot {
        start: AtomicUsize,
        len: AtomicUsize,
        poisoned: AtomicBool,
    }

    static TABLE: [Slot; SLOTS] = [const {
        Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), poisoned: AtomicBool::new(false) }
    }; SLOTS];
    static INSTALL: Once = Once::new();
    static PAGE: AtomicUsize = AtomicUsize::new(4096);

    /// Keeps a range of addresses in the handler's table.
    #[derive(Debug)]
    pub(super) struct Guard(Option<usize>);

    impl Guard {
        pub(super) fn new(start: usize, len: usize) -> Self {
            INSTALL.call_once(install);
            let slot = (len > 0).then(|| {
                TABLE.iter().position(|s| {
                    s.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok()
                })
            });
            let slot = slot.flatten();
            if let Some(slot) = slot.and_then(|s| TABLE.get(s)) {
                slot.poisoned.store(false, Ordering::Release);
                slot.len.store(len, Ordering::Release);
            }
            Self(slot)
        }

        pub(super) fn is_poisoned(&self) -> bool {
            self.0.and_then(|s| TABLE.get(s)).is_some_and(|s| s.poisoned.load(Ordering::Acquire))
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            if let Some(slot) = self.0.and_then(|s| TABLE.get(s)) {
                slot.len.store(0, Ordering::Release);
                slot.start.store(0, Ordering::Release);
            }
        }
    }

    fn install() {
        // SAFETY: sysconf has no preconditions; the handler below only does what a signal handler may
        // (atomics, mmap, sigaction), and the zeroed sigaction is a valid value of that C struct.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE);
            if page > 0 {
                PAGE.store(page as usize, Ordering::Release);
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
        }
    }

    extern "C" fn on_sigbus(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
        // SAFETY: the kernel passes a valid siginfo to a handler installed with SA_SIGINFO, and for
        // SIGBUS its si_addr is set.
        let address = unsafe { (*info).si_addr() } as usize;
        let page = PAGE.load(Ordering::Acquire);
        for slot in &TABLE {
            let (start, len) = (slot.start.load(Ordering::Acquire), slot.len.load(Ordering::Acquire));
            if start != 0 && (start..start.saturating_add(len)).contains(&address) {
                slot.poisoned.store(true, Ordering::Release);
                // SAFETY: the page at the fault belongs to one of our own read-only maps and is not
                // backed by the file any more; replacing it by a private page of zeros at the same
                // address leaves the map's range mapped as long as the map lives.
                let replaced = unsafe {
                    libc::mmap(
                        (address & !(page - 1)) as *mut libc::c_void,
                        page,
                        libc::PROT_READ,
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                        -1,
                        0,
                    )
                };
                if replaced != libc::MAP_FAILED {
                    return;
                }
            }
        }
        // Not ours: back to the default, and the repeated fault ends the process as it should.
        // SAFETY: restoring the default action has no preconditions.
        unsafe {
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_is_an_error_and_no_crash() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7u8; 100_000]).unwrap();
        let map = Map::open(file.path()).unwrap();
        assert_eq!(map.bytes()[99_999], 7);
        map.check().unwrap();
        file.as_file().set_len(10).unwrap();
        let sum: u64 = map.bytes().iter().map(|b| u64::from(*b)).sum();
        assert_eq!(sum, 70, "beyond the new end there are zeros");
        assert!(matches!(map.check(), Err(ExecError::InputShrank { .. })));
        file.as_file().set_len(100_000).unwrap();
        assert!(map.check().is_err(), "growing again does not bring the bytes back");
    }
}
