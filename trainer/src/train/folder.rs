//! The folder of a run: one run at a time, and never another one's.

use std::fs::File;
use std::path::{Path, PathBuf};

use growmerge::problem::{Error, ExecError, Problem};

use super::config::Run;
use super::finished::Finished;
use crate::files;

/// A folder in which no other process trains.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The system drops it with the process.
    _lock: File,
}

/// What is in a folder.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing of a run.
    Nothing,
    /// This run, not complete.
    Unfinished,
    /// This run, complete.
    Finished(Finished),
}

/// The file that is written last.
const FINISHED: &str = "training.json";
/// The file that is written first: whose the folder is.
const IDENTITY: &str = "run.identity";
const LOCK: &str = "run.lock";
const STATE: &str = "state.safetensors";
const METRICS: &str = "metrics.jsonl";
const DESCRIPTION: &str = "run.yaml";
/// What is not written over without knowing whose it is.
const KEPT: [&str; 6] =
    ["model.safetensors", "model.safetensors.index.json", STATE, METRICS, "config.json", "curves.svg"];

impl Folder {
    /// Makes the folder, if it is not there, and keeps others out of it.
    pub(super) fn lock(path: &Path) -> Result<Self, Error> {
        files::folder(path)?;
        let lock = path.join(LOCK);
        let file = File::create(&lock).map_err(ExecError::io("create", &lock))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(std::fs::TryLockError::WouldBlock) => {
                let problem =
                    Problem::error(path.display().to_string(), "another process trains in this folder");
                Err(problem.into())
            }
            Err(std::fs::TryLockError::Error(e)) => Err(ExecError::io("lock", &lock)(e).into()),
        }
    }

    /// What is there of a run with this identity.
    ///
    /// # Errors
    /// If there is something of another run, or of nobody knows what.
    pub(super) fn look(&self, identity: &str, run: &Run) -> Result<Found, Error> {
        if let Some(bytes) = self.read(FINISHED)? {
            let finished = serde_json::from_slice::<Finished>(&bytes).ok();
            let Some(finished) = finished.filter(|f| f.identity == identity) else {
                return Err(self.refuse("a run with another configuration ended here"));
            };
            self.clean();
            return Ok(Found::Finished(finished));
        }
        match self.read(IDENTITY)? {
            Some(bytes) if bytes.trim_ascii() == identity.as_bytes() => Ok(Found::Unfinished),
            Some(_) => Err(self.refuse("an unfinished run with another configuration is here")),
            None => {
                let there = |name: &&str| self.path.join(name).exists();
                let description = [DESCRIPTION].into_iter().filter(|_| !self.describes(run));
                match KEPT.into_iter().chain(description).find(there) {
                    Some(name) => Err(self.refuse(&format!("there is a {name} already, of no known run"))),
                    None => Ok(Found::Nothing),
                }
            }
        }
    }

    /// Whether the user's own description of the run is there, which may have comments.
    fn describes(&self, run: &Run) -> bool {
        Run::read(&self.path.join(DESCRIPTION)).is_ok_and(|there| there.resolved() == *run)
    }

    fn refuse(&self, what: &str) -> Error {
        let problem = Problem::error(self.path.display().to_string(), what);
        problem.hint("choose another folder, or remove this one").into()
    }

    /// Says from now on whose the folder is.
    pub(super) fn claim(&self, identity: &str, run: &Run) -> Result<(), ExecError> {
        files::write(&self.path.join(IDENTITY), format!("{identity}\n"))?;
        if self.describes(run) {
            return Ok(());
        }
        files::write(&self.path.join(DESCRIPTION), serde_yaml::to_string(run).unwrap_or_default())
    }

    /// Says that the run is complete.
    pub(super) fn finish(&self, finished: &Finished, curves: &str) -> Result<(), ExecError> {
        files::write(&self.path.join("curves.svg"), curves)?;
        let text = serde_json::to_string_pretty(finished).unwrap_or_default() + "\n";
        files::write(&self.path.join(FINISHED), text)?;
        self.clean();
        Ok(())
    }

    /// Removes what only a continuation needs.
    fn clean(&self) {
        for left in [STATE, IDENTITY, LOCK] {
            let _ = std::fs::remove_file(self.path.join(left));
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ExecError> {
        let path = self.path.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(ExecError::io("read", &path)(e)),
        }
    }

    /// Where the model goes.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a model goes that is kept on the way.
    pub(super) fn of_step(&self, step: u64) -> PathBuf {
        self.path.join(format!("step-{step}"))
    }

    /// Where the last model goes that was good, if the loss runs away.
    pub(super) fn last_good(&self) -> PathBuf {
        self.path.join("last-good")
    }

    /// What a continuation begins with.
    pub(super) fn state(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// Losses and measurements.
    pub(super) fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }
}
