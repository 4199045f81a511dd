//! One weight file: its header, and its bytes if they are here.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::{Folder, Place, TensorInfo, header, map};
use crate::problem::{ExecError, Problem, Problems};

/// One weight file.
#[derive(Debug)]
pub struct SafetensorsFile {
    /// Where it is, or will be.
    pub path: PathBuf,
    /// Bytes.
    pub len: u64,
    /// Length prefix and JSON.
    pub header: Vec<u8>,
    /// When it was last changed; of a file that came from elsewhere, which never changes, always the same.
    pub modified: SystemTime,
    place: Place,
    map: OnceLock<map::Map>,
}

impl SafetensorsFile {
    /// All bytes of the file; none if it is not here.
    pub fn bytes(&self) -> &[u8] {
        self.map.get().map_or(&[], map::Map::bytes)
    }

    /// As [`Checkpoint::prefetch`](super::Checkpoint::prefetch), of bytes of the file.
    pub(super) fn prefetch(&self, bytes: Range<usize>) {
        self.map.get().into_iter().for_each(|map| map.prefetch(bytes.clone()));
    }

    /// As [`Checkpoint::check_intact`](super::Checkpoint::check_intact).
    ///
    /// # Errors
    /// [`ExecError::InputShrank`], [`ExecError::Absent`].
    pub fn check_intact(&self) -> Result<(), ExecError> {
        match self.map.get() {
            Some(map) => map.check(),
            None => Err(ExecError::Absent { path: self.path.clone() }),
        }
    }

    /// Whether its bytes can be read.
    pub fn is_here(&self) -> bool {
        self.map.get().is_some()
    }

    /// What its header says beside the tensors.
    pub fn metadata(&self) -> Map<String, Value> {
        let header: Option<Value> = self.header.get(8..).and_then(|json| serde_json::from_slice(json).ok());
        header
            .and_then(|mut all| Some(all.get_mut("__metadata__")?.as_object_mut()?.clone()))
            .unwrap_or_default()
    }

    /// The file in its folder.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The SHA-256 that its bytes were found to have when they arrived, if it came from elsewhere.
    pub fn verified(&self) -> Option<String> {
        self.place.folder.remote()?.verified(&self.place.name)
    }

    /// Maps a file that was away when its header was read, and has arrived.
    ///
    /// # Errors
    /// If it is not here, or is not the file whose header was read.
    pub fn attach(&self) -> Result<(), ExecError> {
        if self.map.get().is_some() {
            return Ok(());
        }
        let map = map::Map::open(&self.path).map_err(ExecError::io("map", &self.path))?;
        if map.bytes().len() as u64 != self.len || !map.bytes().starts_with(&self.header) {
            return Err(ExecError::InputShrank { path: self.path.clone() });
        }
        // Whoever was first has mapped the same file.
        let _ = self.map.set(map);
        Ok(())
    }
}

/// Opens a file of a folder: all of it, or of one that is away its header only. `position` is that of the file among the
/// checkpoint's.
pub(super) fn open(
    folder: &Folder,
    name: &str,
    position: usize,
) -> Result<(SafetensorsFile, Vec<TensorInfo>), Problems> {
    let place = Place { folder: folder.clone(), name: name.to_owned() };
    let (at, path) = (folder.at(name), place.path());
    let (header, len, mut modified, map) = match folder.remote().filter(|_| place.is_away()) {
        Some(remote) => {
            let listed = remote.files().iter().find(|f| f.name == name);
            let len = listed.map(|f| f.bytes).unwrap_or_default();
            (header::read(&at, len, |bytes| remote.range(name, bytes))?, len, UNIX_EPOCH, None)
        }
        None => {
            let unreadable = |e: std::io::Error| Problem::error(&at, format!("cannot read: {e}"));
            let mut file = File::open(&path).map_err(unreadable)?;
            let about = file.metadata().map_err(unreadable)?;
            let header = header::read(&at, about.len(), |bytes| {
                let mut read = vec![0; (bytes.end - bytes.start) as usize];
                file.seek(SeekFrom::Start(bytes.start))
                    .and_then(|_| file.read_exact(&mut read))
                    .map_err(|e| Problems::from(unreadable(e)))?;
                Ok::<_, Problems>(read)
            })?;
            let map = map::Map::open(&path).map_err(unreadable)?;
            if map.bytes().len() as u64 != about.len() {
                return Err(Problem::error(&at, "the file changed while it was being opened").into());
            }
            (header, about.len(), about.modified().unwrap_or(UNIX_EPOCH), Some(map))
        }
    };
    if folder.remote().is_some() {
        modified = UNIX_EPOCH;
    }
    let tensors = header::parse(&at, &header[8..], header.len() as u64, len, position)?;
    let map = map.map_or_else(OnceLock::new, OnceLock::from);
    Ok((SafetensorsFile { path, len, header, modified, place, map }, tensors))
}
