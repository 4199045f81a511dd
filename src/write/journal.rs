//! The journal of an unfinished merge: a line for the plan, then one for each completed tensor.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::JOURNAL;
use crate::problem::{Error, ExecError, Problem};

/// First line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    growmerge: String,
    plan: String,
    /// Of the inputs' times of change.
    stamp: String,
}

/// A completed tensor.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tensor: String,
    pub(super) sha256: String,
    /// Checksum of each stored tensor that was read, in the order of `Job::leaves`.
    pub(super) inputs: Vec<String>,
}

/// The open journal; holding it keeps other merges out of the folder.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

/// Closing the file would release the lock too, but not at once where the process is starting another
/// just then: until that one has its own program, it holds a copy of every open file.
impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.file.get_mut().unwrap_or_else(PoisonError::into_inner).unlock();
    }
}

impl Journal {
    /// Opens or creates the journal of a folder and locks it.
    pub(super) fn lock(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(JOURNAL);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(&path)
                .map_err(ExecError::io("create", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Problem::error(
                        folder.display().to_string(),
                        "another merge is writing into this folder",
                    )
                    .hint("wait for it, or choose another folder")
                    .into());
                }
                Err(TryLockError::Error(e)) => return Err(ExecError::io("lock", &path)(e).into()),
            }
            // The merge that held the lock may just have finished and removed the file.
            if path.exists() {
                return Ok(Self { path, file: Mutex::new(file) });
            }
        }
    }

    /// The plan's digest and stamp, if the journal was begun, and the completed tensors. A last line that
    /// was cut off in the middle counts as not written.
    #[allow(clippy::type_complexity)]
    pub(super) fn read(&self) -> Result<(Option<(String, String)>, BTreeMap<String, Entry>), ExecError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .map_err(ExecError::io("read", &self.path))?;
        let text = String::from_utf8_lossy(&bytes);
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut lines = whole.lines();
        let head: Option<Head> = lines.next().and_then(|l| serde_json::from_str(l).ok());
        let entries = lines.filter_map(|l| serde_json::from_str::<Entry>(l).ok());
        let entries = entries.map(|e| (e.tensor.clone(), e)).collect();
        Ok((head.map(|h| (h.plan, h.stamp)), entries))
    }

    /// Starts anew with a plan and what is known to be complete.
    pub(super) fn start<'e>(
        &self,
        (plan, stamp): (&str, &str),
        entries: impl IntoIterator<Item = &'e Entry>,
    ) -> Result<(), ExecError> {
        let head =
            Head { growmerge: env!("CARGO_PKG_VERSION").into(), plan: plan.into(), stamp: stamp.into() };
        {
            let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.set_len(0).map_err(ExecError::io("write", &self.path))?;
        }
        self.line(&head)?;
        entries.into_iter().try_for_each(|e| self.add(e))
    }

    /// Adds a completed tensor.
    pub(super) fn add(&self, entry: &Entry) -> Result<(), ExecError> {
        self.line(entry)
    }

    /// One write for each line, so that a kill leaves whole lines and at most one part of one.
    fn line(&self, value: &impl Serialize) -> Result<(), ExecError> {
        let mut line = serde_json::to_vec(value).unwrap_or_default();
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).map_err(ExecError::io("write", &self.path))
    }

    /// Removes the journal: the merge is complete.
    pub(super) fn remove(&self) -> Result<(), ExecError> {
        std::fs::remove_file(&self.path).map_err(ExecError::io("remove", &self.path))
    }
}
