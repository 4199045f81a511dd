//! Small files of a study, written aside and renamed.

use std::path::Path;

use growmerge::problem::ExecError;

/// Writes a file so that it is there whole or not at all.
///
/// # Errors
/// If the system does not let it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), ExecError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".partial");
    std::fs::write(&aside, text).map_err(ExecError::io("write", path))?;
    std::fs::rename(&aside, path).map_err(ExecError::io("rename", path))
}

/// Makes a folder and those above it.
///
/// # Errors
/// If the system does not let it.
pub(super) fn folder(path: &Path) -> Result<(), ExecError> {
    std::fs::create_dir_all(path).map_err(ExecError::io("create", path))
}
