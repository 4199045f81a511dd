//! Small files: written aside, then renamed into place.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::problem::ExecError;

/// Writes `bytes` to `folder/name`; a reader sees the old contents or the new, never a part. The file
/// gets the permissions that the user's umask leaves, like any other new file.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ExecError> {
    Aside::begin(&folder.join(name))?.end(bytes)
}

/// A small file that is written when everything is done, and whole: that it can be is found out before.
#[derive(Debug)]
pub struct Aside {
    path: PathBuf,
    file: tempfile::NamedTempFile,
}

impl Aside {
    /// Begins a file beside its place.
    ///
    /// # Errors
    /// If the folder takes no file.
    pub fn begin(path: &Path) -> Result<Self, ExecError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".growmerge-").permissions(Permissions::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(ExecError::io("create a file in", folder))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes it and puts it into its place, where it replaces what stood there.
    ///
    /// # Errors
    /// What the system says.
    pub fn end(mut self, bytes: &[u8]) -> Result<(), ExecError> {
        self.file.write_all(bytes).map_err(ExecError::io("write", &self.path))?;
        self.file.persist(&self.path).map_err(|e| ExecError::io("rename", &self.path)(e.error))?;
        Ok(())
    }
}
