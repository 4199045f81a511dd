//! Files on the disk: whatever has its final name is complete and will still be after a power cut, because it was
//! written aside, synced and renamed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use growmerge::problem::ExecError;

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), ExecError> {
    create(path, |file| file.write_all(bytes.as_ref()))
}

/// The same for what is written piece by piece. Where that fails, as on a full disk, nothing is left of it.
pub(crate) fn create(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), ExecError> {
    let aside = aside(path);
    let written = File::create(&aside).and_then(|file| {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        fill(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()
    });
    written.map_err(|e| {
        let _ = std::fs::remove_file(&aside);
        ExecError::io("write", path)(e)
    })?;
    std::fs::rename(&aside, path).map_err(ExecError::io("rename", path))?;
    sync_folder_of(path)
}

/// Makes sure that a file's name is on the disk too.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), ExecError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network file systems cannot; then there is nothing to be done.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other.map_err(ExecError::io("sync", folder)),
    }
}

/// What a file is called as long as it is not complete.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Makes a folder and those above it.
pub(crate) fn folder(path: &Path) -> Result<(), ExecError> {
    std::fs::create_dir_all(path).map_err(ExecError::io("create", path))
}
