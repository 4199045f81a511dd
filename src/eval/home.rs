//! Where a tokenizer's files are, which a merge that was never written has in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a tokenizer's files are.
#[derive(Clone, Debug)]
pub enum Home {
    /// In a folder.
    Folder(PathBuf),
    /// Nowhere yet: a merge would write them.
    Planned {
        /// What stands for the folder in messages.
        name: PathBuf,
        /// By name.
        files: BTreeMap<String, Vec<u8>>,
    },
}

impl Home {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Planned { name, .. } => name,
        }
    }

    pub(super) fn read(&self, file: &str) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Folder(folder) => std::fs::read(folder.join(file)),
            Self::Planned { files, .. } => {
                files.get(file).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
            }
        }
    }
}
