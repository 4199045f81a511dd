//! Small files: written aside, then renamed into place.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::problem::ExecError;

/// Writes `bytes` to `folder/name`; a reader sees the old contents or the new, never a part. The file
/// gets the permissions that the user's umask leaves, like any other new file.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ExecError> {
    let path = folder.join(name);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".growmerge-");
    builder.permissions(std::fs::Permissions::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(ExecError::io("create a file in", folder))?;
    file.write_all(bytes).map_err(ExecError::io("write", &path))?;
    file.persist(&path).map_err(|e| ExecError::io("rename", &path)(e.error))?;
    Ok(())
}
