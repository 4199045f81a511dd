//! Files on the disk: whatever has its final name is complete, because it was written aside and renamed.

use std::path::{Path, PathBuf};

use growmerge::problem::ExecError;

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), ExecError> {
    let aside = aside(path);
    std::fs::write(&aside, bytes).map_err(ExecError::io("write", path))?;
    std::fs::rename(&aside, path).map_err(ExecError::io("rename", path))
}

/// What a file is called as long as it is not complete.
pub(crate) fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Makes a folder and those above it.
pub(crate) fn folder(path: &Path) -> Result<(), ExecError> {
    std::fs::create_dir_all(path).map_err(ExecError::io("create", path))
}
