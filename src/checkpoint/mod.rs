//! Checkpoints on disk: found, checked at the door, mapped.
//!
//! After [`Checkpoint::open`] every tensor's bytes are inside their file and agree with dtype and shape;
//! reading them can fail in one way only, if a file is cut short meanwhile.

mod dtype;
mod find;
mod header;
mod map;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use dtype::DType;

use crate::problem::{ExecError, Problem, Problems};

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Position in [`Checkpoint::files`].
    pub file: usize,
    /// Its bytes in that file.
    pub range: Range<u64>,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// One weight file.
#[derive(Debug)]
pub struct SafetensorsFile {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub len: u64,
    /// Length prefix and JSON.
    pub header: Vec<u8>,
    /// When it was last changed.
    pub modified: SystemTime,
    map: map::Map,
}

/// A model on disk.
#[derive(Debug)]
pub struct Checkpoint {
    name: String,
    folder: PathBuf,
    files: Vec<SafetensorsFile>,
    tensors: Vec<TensorInfo>,
    config: Option<serde_json::Value>,
}

impl Checkpoint {
    /// Opens a folder or a single safetensors file; reads headers and `config.json` only.
    ///
    /// # Errors
    /// Everything that is wrong with its files.
    pub fn open(name: &str) -> Result<Self, Problems> {
        let found = find::find(name)?;
        let mut problems = Problems::new();
        let mut files = Vec::new();
        let mut tensors = Vec::new();
        for file in &found.files {
            match open_file(&found.folder.join(file), files.len()) {
                Ok((file, mut listed)) => {
                    files.push(file);
                    tensors.append(&mut listed);
                }
                Err(found) => problems.extend(found),
            }
        }
        let config = read_config(&found.folder, &mut problems);
        if problems.has_errors() {
            return Err(problems);
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        for pair in tensors.windows(2).filter(|p| p[0].name == p[1].name) {
            let (a, b) = (&files[pair[0].file].path, &files[pair[1].file].path);
            let what = format!("tensor {} is in {} and in {}", pair[0].name, a.display(), b.display());
            problems.push(Problem::error(name, what));
        }
        if let Some(map) = &found.weight_map {
            against_index(name, map, &files, &tensors, &mut problems);
        }
        if problems.has_errors() {
            return Err(problems);
        }
        Ok(Self { name: name.into(), folder: found.folder, files, tensors, config })
    }

    /// As the user wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that its files are in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `config.json`, if there is one.
    pub fn config(&self) -> Option<&serde_json::Value> {
        self.config.as_ref()
    }

    /// Whether it is a single file without `config.json`: tensors of any names, and nothing known of them.
    pub fn is_raw(&self) -> bool {
        self.config.is_none() && Path::new(&self.name).is_file()
    }

    /// Weight files.
    pub fn files(&self) -> &[SafetensorsFile] {
        &self.files
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok().map(|i| &self.tensors[i])
    }

    /// A tensor's bytes. Ask [`Checkpoint::check_intact`] after using them.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        let Some(file) = self.files.get(tensor.file) else { return &[] };
        file.map.bytes().get(tensor.range.start as usize..tensor.range.end as usize).unwrap_or_default()
    }

    /// Brings some bytes of a tensor into memory before they are used.
    pub fn prefetch(&self, tensor: &TensorInfo, bytes: Range<usize>) {
        if let Some(file) = self.files.get(tensor.file) {
            let (start, end) = (tensor.range.start as usize, tensor.range.end as usize);
            file.map.prefetch((start + bytes.start).min(end)..(start + bytes.end).min(end));
        }
    }

    /// Whether the file of a tensor still is what it was when it was opened.
    ///
    /// # Errors
    /// [`ExecError::InputShrank`]; bytes that were read from it may be zeros.
    pub fn check_intact(&self, tensor: &TensorInfo) -> Result<(), ExecError> {
        self.files.get(tensor.file).map_or(Ok(()), |f| f.map.check())
    }
}

impl SafetensorsFile {
    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// As [`Checkpoint::check_intact`].
    ///
    /// # Errors
    /// [`ExecError::InputShrank`].
    pub fn check_intact(&self) -> Result<(), ExecError> {
        self.map.check()
    }
}

fn open_file(path: &Path, position: usize) -> Result<(SafetensorsFile, Vec<TensorInfo>), Problems> {
    let name = path.display().to_string();
    let unreadable = |e: std::io::Error| Problem::error(&name, format!("cannot read: {e}"));
    let mut file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    let len = about.len();
    if len == 0 {
        return Err(Problem::error(&name, "the file is empty").hint("download or copy it again").into());
    }
    if len < 8 {
        return Err(Problem::error(&name, format!("{len} bytes are too few for a safetensors file")).into());
    }
    let mut header = vec![0; 8];
    file.read_exact(&mut header).map_err(unreadable)?;
    let length = header.iter().rev().fold(0u64, |n, b| (n << 8) | u64::from(*b));
    if header.starts_with(b"PK") || header.starts_with(&[0x80]) && length > len {
        return Err(Problem::error(&name, "is a pickle or an archive, not a safetensors file")
            .hint("convert it to safetensors first")
            .into());
    }
    if length > header::MAX_HEADER {
        let what = format!("its header claims {length} bytes; {} are allowed", header::MAX_HEADER);
        return Err(Problem::error(&name, what).hint("this is no safetensors file, or a damaged one").into());
    }
    if length > len - 8 {
        let what = format!("the file is truncated: its header claims {length} bytes, {} are left", len - 8);
        return Err(Problem::error(&name, what).hint("download or copy it again").into());
    }
    header.resize(8 + length as usize, 0);
    file.read_exact(&mut header[8..]).map_err(unreadable)?;
    let tensors = header::parse(&name, &header[8..], 8 + length, len, position)?;
    let map = map::Map::open(path).map_err(unreadable)?;
    if map.bytes().len() as u64 != len {
        return Err(Problem::error(&name, "the file changed while it was being opened").into());
    }
    let modified = about.modified().unwrap_or(UNIX_EPOCH);
    Ok((SafetensorsFile { path: path.to_owned(), len, header, modified, map }, tensors))
}

fn read_config(folder: &Path, problems: &mut Problems) -> Option<serde_json::Value> {
    let path = folder.join("config.json");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        Err(e) => {
            problems.push(Problem::error(path.display().to_string(), format!("cannot read: {e}")));
            return None;
        }
    };
    match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(config) if config.is_object() => Some(config),
        Ok(_) => {
            problems.push(Problem::error(path.display().to_string(), "is not a JSON object"));
            None
        }
        Err(e) => {
            problems.push(Problem::error(path.display().to_string(), format!("is not JSON: {e}")));
            None
        }
    }
}

/// An index must name every tensor, each in the file that holds it.
fn against_index(
    name: &str,
    map: &std::collections::BTreeMap<String, String>,
    files: &[SafetensorsFile],
    tensors: &[TensorInfo],
    problems: &mut Problems,
) {
    let file_of =
        |t: &TensorInfo| files[t.file].path.file_name().and_then(|f| f.to_str()).unwrap_or_default();
    for (tensor, file) in map {
        match tensors.binary_search_by(|t| t.name.as_str().cmp(tensor)) {
            Ok(i) if file_of(&tensors[i]) == file => {}
            Ok(i) => {
                let what =
                    format!("the index has tensor {tensor} in {file}, but it is in {}", file_of(&tensors[i]));
                problems.push(Problem::error(name, what));
            }
            Err(_) => {
                problems.push(Problem::error(
                    name,
                    format!("the index names tensor {tensor}, but {file} does not hold it"),
                ));
            }
        }
    }
    for tensor in tensors.iter().filter(|t| !map.contains_key(&t.name)) {
        let what = format!("{} holds tensor {}, which the index does not name", file_of(tensor), tensor.name);
        problems.push(Problem::error(name, what));
    }
}
