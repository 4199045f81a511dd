//! Where the files of a model are: in a folder on disk, or elsewhere, of which they come when they are asked for.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::problem::{Error, ExecError, Problem, Problems};

/// A file of a model that is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// What its contents are known by, if they are.
    pub identity: Option<Identity>,
}

/// What tells the contents of a file from all others: equal ones have equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// SHA-256 of its bytes, in hex.
    Sha256(String),
    /// What git calls it: SHA-1 of its length and bytes, in hex.
    Git(String),
}

/// Who watches a file arrive.
pub trait Watch: Sync {
    /// So many bytes of it are here.
    fn here(&self, bytes: u64);

    /// Whether to give up.
    fn is_cancelled(&self) -> bool;
}

/// Nobody does.
#[derive(Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn here(&self, _bytes: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// A model that is elsewhere, at one state of it that never changes. Files that arrive lie in a folder here.
pub trait Remote: fmt::Debug + Send + Sync {
    /// As a user would name it.
    fn name(&self) -> &str;

    /// Which state of it: a commit.
    fn commit(&self) -> &str;

    /// Where its files are when they are here.
    fn folder(&self) -> &Path;

    /// All files at the top of it, by name.
    fn files(&self) -> &[Listed];

    /// Some bytes of a file, without the rest of it.
    ///
    /// # Errors
    /// Why they could not be had.
    fn range(&self, file: &str, bytes: Range<u64>) -> Result<Vec<u8>, Error>;

    /// Whether a whole file is here.
    fn is_here(&self, file: &str) -> bool;

    /// Brings a whole file here.
    ///
    /// # Errors
    /// Why it could not be had.
    fn bring(&self, file: &str, watch: &dyn Watch) -> Result<(), Error>;

    /// How many bytes of a file are here, if it came partly.
    fn arrived(&self, file: &str) -> u64;

    /// The SHA-256 that the bytes of a file were found to have when they arrived.
    fn verified(&self, file: &str) -> Option<String>;
}

/// A folder of a model's files.
#[derive(Clone, Debug)]
pub enum Folder {
    /// On disk.
    Local(PathBuf),
    /// Elsewhere.
    Remote(Arc<dyn Remote>),
}

impl Folder {
    /// Where it is on disk; of a folder elsewhere, where those of its files are that arrived.
    pub fn path(&self) -> &Path {
        match self {
            Self::Local(path) => path,
            Self::Remote(remote) => remote.folder(),
        }
    }

    /// The folder elsewhere.
    pub fn remote(&self) -> Option<&Arc<dyn Remote>> {
        match self {
            Self::Local(_) => None,
            Self::Remote(remote) => Some(remote),
        }
    }

    /// How a file is called in messages.
    pub fn at(&self, file: &str) -> String {
        match self {
            Self::Local(path) => path.join(file).display().to_string(),
            Self::Remote(remote) => format!("{}/{file}", remote.name()),
        }
    }

    fn listed(&self, name: &str) -> Option<&Listed> {
        self.remote()?.files().iter().find(|f| f.name == name)
    }

    /// Whether there is a file of that name.
    pub fn holds(&self, name: &str) -> bool {
        match self {
            Self::Local(path) => path.join(name).is_file(),
            Self::Remote(_) => self.listed(name).is_some(),
        }
    }

    /// Whether a file has to be brought here before it can be read.
    pub fn is_away(&self, name: &str) -> bool {
        self.remote().is_some_and(|remote| !remote.is_here(name))
    }

    /// Names of all files in it, sorted.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, Problems> {
        let mut names: Vec<String> = match self {
            Self::Local(path) => {
                let entries = std::fs::read_dir(path).map_err(|e| {
                    Problem::error(path.display().to_string(), format!("cannot list the folder: {e}"))
                })?;
                entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()
            }
            Self::Remote(remote) => remote.files().iter().map(|f| f.name.clone()).collect(),
        };
        names.sort();
        Ok(names)
    }

    /// A whole file, brought here if need be; nothing if there is none of that name.
    ///
    /// # Errors
    /// Why it could not be had or read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        if self.is_away(name) {
            let (Some(remote), true) = (self.remote(), self.holds(name)) else { return Ok(None) };
            remote.bring(name, &Unwatched)?;
        }
        match std::fs::read(self.path().join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Problem::error(self.at(name), format!("cannot read: {e}")).into()),
        }
    }

    /// What a file's contents are known by, without reading it.
    pub fn identity(&self, name: &str) -> Option<&Identity> {
        self.listed(name)?.identity.as_ref()
    }
}

impl PartialEq for Folder {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

impl Eq for Folder {}

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder.
    pub folder: Folder,
    /// Its name there.
    pub name: String,
}

impl Place {
    /// Where it is on disk, or will be.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// Whether it has to be brought here before it can be read.
    pub fn is_away(&self) -> bool {
        self.folder.is_away(&self.name)
    }

    /// Its length, if it is of a folder elsewhere.
    pub fn bytes(&self) -> u64 {
        self.folder.listed(&self.name).map_or(0, |file| file.bytes)
    }

    /// How much of it is here, if it is of a folder elsewhere.
    pub fn arrived(&self) -> u64 {
        self.folder.remote().map_or(0, |remote| remote.arrived(&self.name))
    }

    /// What is in it.
    ///
    /// # Errors
    /// If it cannot be read or had.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        self.bring(&Unwatched)?;
        let path = self.path();
        Ok(std::fs::read(&path).map_err(ExecError::io("read", &path))?)
    }

    /// Brings it here if it is away.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn bring(&self, watch: &dyn Watch) -> Result<(), Error> {
        match self.folder.remote().filter(|_| self.is_away()) {
            Some(remote) => remote.bring(&self.name, watch),
            None => Ok(()),
        }
    }
}
