//! What was measured, in a file that grows by a line for each model: a study that is started again goes on where it
//! was.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use growmerge::problem::{Error, ExecError, Problem};
use serde::{Deserialize, Serialize};

use super::yardstick::Nats;
use crate::reproduce::texts::all_languages;

/// Measurements by digest of everything that decides them.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    known: HashMap<String, Kept>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Entry {
    digest: String,
    what: String,
    nats: Vec<(String, Vec<f64>)>,
    #[serde(default)]
    seconds: f64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// Of each language that was asked for.
    pub nats: Nats,
    /// What merging and measuring took then; 0 in files of earlier versions.
    pub seconds: f64,
}

impl Ledger {
    /// Reads what there is, and opens the file for more; no other process can as long as this one lives. A last line that
    /// was cut off by a crash is measured again.
    ///
    /// # Errors
    /// If the file cannot be read or written, or another process has it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let mut file = file.map_err(ExecError::io("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let what = "another process carries out a study in this folder";
                return Err(Problem::error(path.display().to_string(), what).into());
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(ExecError::io("lock", path)(e).into()),
        }
        let text = std::fs::read_to_string(path).map_err(ExecError::io("read", path))?;
        let mut known = HashMap::new();
        for entry in text.lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok()) {
            let nats = entry.nats.into_iter();
            let nats =
                nats.filter_map(|(l, n)| Some((all_languages().find(|code| *code == l)?, n))).collect();
            known.insert(entry.digest, Kept { nats, seconds: entry.seconds });
        }
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").map_err(ExecError::io("write", path))?;
        }
        Ok(Self { path: path.into(), file, known })
    }

    /// What is known of a digest.
    pub(crate) fn get(&self, digest: &str) -> Option<&Kept> {
        self.known.get(digest)
    }

    /// Keeps a measurement; `what` is for people who read the file.
    ///
    /// # Errors
    /// If the line cannot be written.
    pub(crate) fn keep(&mut self, digest: &str, what: &str, kept: Kept) -> Result<(), ExecError> {
        let named = kept.nats.iter().map(|(l, n)| ((*l).to_owned(), n.clone())).collect();
        let entry = Entry { digest: digest.into(), what: what.into(), nats: named, seconds: kept.seconds };
        let line = serde_json::to_string(&entry).unwrap_or_default() + "\n";
        self.file.write_all(line.as_bytes()).map_err(ExecError::io("write", &self.path))?;
        self.known.insert(digest.into(), kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_was_cut_off_loses_its_last_line_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("measured.jsonl");
        let nats = |x: f64| Kept { nats: vec![("en", vec![x, 2.0]), ("fo", vec![0.25])], seconds: 0.5 };
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.keep("a", "one", nats(1.0)).unwrap();
        ledger.keep("b", "two", nats(1.5)).unwrap();
        drop(ledger);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.get("a"), Some(&nats(1.0)));
        assert_eq!(ledger.get("b"), None);
        ledger.keep("c", "three", nats(3.0)).unwrap();
        let told = Ledger::open(&path).unwrap_err().to_string();
        assert!(told.contains("another process"), "{told}");
        drop(ledger);
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!((ledger.get("a"), ledger.get("c")), (Some(&nats(1.0)), Some(&nats(3.0))));
    }
}
