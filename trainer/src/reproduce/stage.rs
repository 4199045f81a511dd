//! Folders that are named after what decides them and say when they are complete.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use growmerge::problem::{Error, ExecError};
use growmerge::write::sha256_hex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Status, Watch};
use crate::files;

/// A folder that is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// For people.
    pub name: String,
    /// Of everything that decides it, in hex.
    pub digest: String,
    /// How long it took to make, or the last part of it after an interruption.
    pub seconds: f64,
    /// Where it is.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// The file that says that a folder is complete.
const DONE: &str = "stage.json";

/// Changes whenever the same description would give another model.
const NUMBERS: &str = "study 1";

/// Finds stages, or has them made.
pub(crate) struct Stages<'a> {
    /// Where they are.
    pub folder: &'a Path,
    /// Set from outside to stop between two stages.
    pub cancel: &'a AtomicBool,
    /// Is told of stages.
    pub watch: &'a dyn Watch,
}

impl Stages<'_> {
    /// A stage whose maker goes on in the folder where it was interrupted.
    ///
    /// # Errors
    /// What the maker says; [`ExecError::Interrupted`]; what the machine does.
    pub(crate) fn continued(
        &self,
        name: &str,
        identity: &Value,
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Stage, Error> {
        self.made(name, identity, |stage| make(&stage.folder), |stage| stage.write(&stage.folder))
    }

    /// A stage whose maker wants a new folder: it is made aside and renamed when it is complete.
    ///
    /// # Errors
    /// As [`Stages::continued`].
    pub(crate) fn new_folder(
        &self,
        name: &str,
        identity: &Value,
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Stage, Error> {
        let aside = |stage: &Stage| stage.folder.with_extension("partial");
        let make = |stage: &Stage| {
            // A folder under its own name that does not say that it is complete is one that cannot be gone on with
            // either.
            for left in [&aside(stage), &stage.folder] {
                if left.exists() {
                    std::fs::remove_dir_all(left).map_err(ExecError::io("remove", left))?;
                }
            }
            make(&aside(stage))
        };
        self.made(name, identity, make, |stage| {
            stage.write(&aside(stage))?;
            std::fs::rename(aside(stage), &stage.folder).map_err(ExecError::io("rename", &stage.folder))?;
            crate::files::sync_folder_of(&stage.folder)
        })
    }

    /// The stage if it is there; else makes it, and has `keep` say that it is complete.
    fn made(
        &self,
        name: &str,
        identity: &Value,
        make: impl FnOnce(&Stage) -> Result<(), Error>,
        keep: impl FnOnce(&Stage) -> Result<(), ExecError>,
    ) -> Result<Stage, Error> {
        let mut stage = match self.find(name, identity)? {
            Found::Complete(stage) => return Ok(stage),
            Found::Wanted(stage) => stage,
        };
        let started = Instant::now();
        make(&stage)?;
        stage.seconds = started.elapsed().as_secs_f64();
        keep(&stage)?;
        self.watch.stage(&stage.name, Status::Done { seconds: stage.seconds });
        Ok(stage)
    }

    fn find(&self, name: &str, identity: &Value) -> Result<Found, Error> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(ExecError::Interrupted.into());
        }
        let digest = sha256_hex(format!("{NUMBERS}\0{name}\0{identity}").as_bytes());
        let slug = name.replace(", ", "-").replace(' ', "");
        let folder = self.folder.join(format!("{slug}-{}", &digest[..8]));
        let read = std::fs::read(folder.join(DONE)).ok();
        if let Some(stage) = read.and_then(|bytes| serde_json::from_slice::<Stage>(&bytes).ok())
            && stage.digest == digest
        {
            self.watch.stage(&stage.name, Status::Found);
            return Ok(Found::Complete(Stage { folder, ..stage }));
        }
        self.watch.stage(name, Status::Begun);
        Ok(Found::Wanted(Stage { name: name.into(), digest, seconds: 0.0, folder }))
    }
}

/// A stage that is there, or what it will be.
enum Found {
    Complete(Stage),
    Wanted(Stage),
}

impl Stage {
    /// Says in a folder that it is complete.
    fn write(&self, folder: &Path) -> Result<(), ExecError> {
        files::write(&folder.join(DONE), serde_json::to_string_pretty(self).unwrap_or_default() + "\n")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;
    use crate::reproduce::{Lengths, Study};

    /// Hears nothing.
    pub(in crate::reproduce) struct Deaf;

    impl Watch for Deaf {
        fn begin(&self, _: &Study, _: &Lengths) {}
        fn stage(&self, _: &str, _: Status) {}
        fn measuring(&self, _: usize) {}
        fn measured(&self, _: usize) {}
    }

    /// Where a stage may be left by a kill: nothing, a folder aside, and a folder that was renamed and never said that it is
    /// complete.
    #[test]
    fn whatever_a_kill_leaves_the_stage_is_made_and_then_found() {
        let temporary = tempfile::tempdir().unwrap();
        let cancel = AtomicBool::new(false);
        let stages = Stages { folder: temporary.path(), cancel: &cancel, watch: &Deaf };
        let made = Cell::new(0);
        let make = |out: &Path| {
            assert!(!out.exists(), "the maker wants a new folder");
            std::fs::create_dir(out).unwrap();
            std::fs::write(out.join("model"), "new").unwrap();
            made.set(made.get() + 1);
            Ok(())
        };
        let stage = || stages.new_folder("seed 1, grown", &json!({ "of": "a" }), make).unwrap();
        let first = stage();
        assert_eq!(stage(), first);
        assert_eq!(made.get(), 1);
        let leave = |folder: &Path| {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("model"), "old").unwrap();
        };
        for folder in [first.folder.with_extension("partial"), first.folder.clone()] {
            std::fs::remove_dir_all(&first.folder).unwrap();
            leave(&folder);
            assert_eq!(stage().digest, first.digest);
            assert_eq!(std::fs::read_to_string(first.folder.join("model")).unwrap(), "new");
            assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1, "nothing is left aside");
        }
        assert_eq!(made.get(), 3);
    }
}
