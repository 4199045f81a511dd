//! Weight files while they are written: laid out at full length, filled at offsets, flushed on the way.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::draft::Sync;
use super::flusher::Flusher;
use crate::execute::ALIGN;
use crate::plan::Layout;
use crate::problem::ExecError;

/// Written bytes after which a file is flushed in the background: the disk then works while tensors
/// are still being merged, and the sync at the end finds little left to do.
const FLUSH: u64 = 64 << 20;

#[derive(Debug)]
struct Shard {
    /// `*.partial` until the end.
    path: PathBuf,
    last: PathBuf,
    file: Arc<File>,
    /// The same file, opened to write past the page cache, where the file system allows that.
    direct: Option<File>,
    unflushed: AtomicU64,
}

/// Shorter runs are not worth a trip to the disk.
const DIRECT: usize = 128 << 10;

/// The weight files of a draft.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Vec<Shard>,
    sync: Sync,
    flusher: Flusher,
    /// Whether a direct write was refused; then none is tried again.
    refused: AtomicBool,
}

impl Shards {
    /// Creates every shard at its full length, with its header. What is there already stays.
    pub(super) fn lay_out(layout: &Layout, folder: &Path, sync: Sync) -> Result<Self, ExecError> {
        let name = |file: &str| (folder.join(format!("{file}.partial")), folder.join(file));
        let mut needed = 0;
        for shard in &layout.shards {
            let (path, last) = name(&shard.file);
            // A merge that was ended between renaming and the manifest left the final name.
            if !path.exists() && last.exists() {
                std::fs::rename(&last, &path).map_err(ExecError::io("rename", &last))?;
            }
            let present = path.metadata().map(|m| m.len()).ok();
            needed +=
                if present == Some(shard.len) { 0 } else { shard.len - present.unwrap_or(0).min(shard.len) };
        }
        check_space(folder, needed)?;
        let mut shards = Vec::new();
        for shard in &layout.shards {
            let (path, last) = name(&shard.file);
            let file = create(&path, shard.len)?;
            file.write_all_at(&shard.header, 0).map_err(ExecError::io("write", &path))?;
            let direct = open_direct(&path);
            let (file, unflushed) = (Arc::new(file), AtomicU64::new(0));
            shards.push(Shard { path, last, file, direct, unflushed });
        }
        let flusher = match sync {
            Sync::Disk => Flusher::start(shards.iter().map(|s| s.file.clone()).collect()),
            Sync::System => Flusher::idle(),
        };
        Ok(Self { shards, sync, flusher, refused: AtomicBool::new(false) })
    }

    /// Writes bytes at an offset of a shard; what is aligned in memory and file straight to the disk.
    ///
    /// A model is larger than caches and not read again soon. Copying it into the page cache would cost
    /// more than the merge's arithmetic, and throw out the inputs that other merges are about to read.
    pub(super) fn write(&self, shard: usize, at: u64, bytes: &[u8]) -> Result<(), ExecError> {
        let Shard { path, direct, .. } = &self.shards[shard];
        let head = (at.next_multiple_of(ALIGN as u64) - at) as usize;
        let whole = bytes.len().saturating_sub(head) / ALIGN * ALIGN;
        let fits = (bytes.as_ptr() as usize + head).is_multiple_of(ALIGN);
        let Some(direct) = direct else { return self.write_cached(shard, at, bytes) };
        if whole < DIRECT || !fits || self.refused.load(Ordering::Relaxed) {
            return self.write_cached(shard, at, bytes);
        }
        let (head, rest) = bytes.split_at(head);
        let (whole, tail) = rest.split_at(whole);
        let start = at + head.len() as u64;
        match direct.write_all_at(whole, start) {
            Ok(()) => {}
            // Some file systems only say at the first write that they cannot.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                tracing::info!(path = %path.display(), "no direct writes here: through the page cache");
                self.refused.store(true, Ordering::Relaxed);
                return self.write_cached(shard, at, bytes);
            }
            Err(e) => return Err(ExecError::io("write", path)(e)),
        }
        self.write_cached(shard, at, head)?;
        self.write_cached(shard, start + whole.len() as u64, tail)
    }

    fn write_cached(&self, shard: usize, at: u64, bytes: &[u8]) -> Result<(), ExecError> {
        let Shard { path, file, unflushed, .. } = &self.shards[shard];
        file.write_all_at(bytes, at).map_err(ExecError::io("write", path))?;
        let before = unflushed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // Of all workers exactly one crosses each multiple.
        if before / FLUSH != (before + bytes.len() as u64) / FLUSH {
            self.flusher.flush(shard);
        }
        Ok(())
    }

    /// Reads bytes at an offset of a shard.
    pub(super) fn read(&self, shard: usize, at: u64, bytes: &mut [u8]) -> Result<(), ExecError> {
        let Shard { path, file, .. } = &self.shards[shard];
        file.read_exact_at(bytes, at).map_err(ExecError::io("read", path))
    }

    /// Brings everything to the disk and gives the files their final names.
    pub(super) fn finish(&self) -> Result<(), ExecError> {
        self.flusher.join().map_err(|(shard, e)| ExecError::io("sync", &self.shards[shard].path)(e))?;
        for Shard { path, last, file, .. } in &self.shards {
            if self.sync == Sync::Disk {
                file.sync_all().map_err(ExecError::io("sync", path))?;
            }
            std::fs::rename(path, last).map_err(ExecError::io("rename", path))?;
        }
        Ok(())
    }
}

fn check_space(folder: &Path, needed: u64) -> Result<(), ExecError> {
    match rustix::fs::statvfs(folder) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < needed => {
            Err(ExecError::DiskFull { path: folder.to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flag = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(flag).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> Option<File> {
    None
}

fn create(path: &Path, len: u64) -> Result<File, ExecError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(path).map_err(ExecError::io("create", path))?;
    if file.metadata().map_err(ExecError::io("read", path))?.len() != len {
        file.set_len(0).and_then(|()| allocate(&file, len)).map_err(ExecError::io("write", path))?;
    }
    Ok(file)
}

/// Reserves the file's blocks, so that a full disk is noticed now; on file systems that cannot
/// reserve, the file is only made that long.
fn allocate(file: &File, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), 0, len.max(1)) {
        Ok(()) => Ok(()),
        Err(Errno::NOSPC | Errno::DQUOT) => Err(io::ErrorKind::StorageFull.into()),
        Err(_) => file.set_len(len),
    }
}
