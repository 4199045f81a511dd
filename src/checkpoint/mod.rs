//! Checkpoints on disk: found, checked at the door, mapped.
//!
//! After [`Checkpoint::open`] every tensor's bytes are inside their file and agree with dtype and shape;
//! reading them can fail in one way only, if a file is cut short meanwhile.

mod dtype;
mod file;
mod find;
mod folder;
mod header;
mod map;
mod save;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub use dtype::DType;
pub use file::SafetensorsFile;
pub use find::NOT_ELSEWHERE;
pub use folder::{Folder, Identity, Listed, Place, Remote, Unwatched, Watch};
pub use header::HEADER_GUESS;
pub use save::{Saved, save};

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

/// A model.
#[derive(Debug)]
pub struct Checkpoint {
    name: String,
    folder: Folder,
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
        Self::read(name, find::find(name)?)
    }

    /// Opens a model that is elsewhere: only headers and `config.json` come here. Weight files that are away must
    /// be [brought here](Remote::bring) and [attached](SafetensorsFile::attach) before they are read.
    ///
    /// # Errors
    /// Everything that is wrong with its files, or that keeps them from being had.
    pub fn open_remote(name: &str, remote: Arc<dyn Remote>) -> Result<Self, Problems> {
        Self::read(name, find::in_folder(name, Folder::Remote(remote))?)
    }

    /// Opens one weight file of a folder by itself.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_file(name: &str, folder: Folder, file: &str) -> Result<Self, Problems> {
        Self::read(name, find::Found { folder, files: vec![file.into()], weight_map: None })
    }

    fn read(name: &str, found: find::Found) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let mut files = Vec::new();
        let mut tensors = Vec::new();
        for file in &found.files {
            match file::open(&found.folder, file, files.len()) {
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
    pub fn folder(&self) -> &Folder {
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
        file.bytes().get(tensor.range.start as usize..tensor.range.end as usize).unwrap_or_default()
    }

    /// Brings some bytes of a tensor into memory before they are used.
    pub fn prefetch(&self, tensor: &TensorInfo, bytes: Range<usize>) {
        if let Some(file) = self.files.get(tensor.file) {
            let (start, end) = (tensor.range.start as usize, tensor.range.end as usize);
            file.prefetch((start + bytes.start).min(end)..(start + bytes.end).min(end));
        }
    }

    /// Whether the file of a tensor still is what it was when it was opened.
    ///
    /// # Errors
    /// [`ExecError::InputShrank`]; bytes that were read from it may be zeros. [`ExecError::Absent`] if it is not here.
    pub fn check_intact(&self, tensor: &TensorInfo) -> Result<(), ExecError> {
        self.files.get(tensor.file).map_or(Ok(()), SafetensorsFile::check_intact)
    }
}

fn read_config(folder: &Folder, problems: &mut Problems) -> Option<serde_json::Value> {
    let at = folder.at("config.json");
    let bytes = match folder.read("config.json") {
        Ok(bytes) => bytes?,
        Err(found) => {
            problems.extend(found.into());
            return None;
        }
    };
    match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(config) if config.is_object() => Some(config),
        Ok(_) => {
            problems.push(Problem::error(at, "is not a JSON object"));
            None
        }
        Err(e) => {
            problems.push(Problem::error(at, format!("is not JSON: {e}")));
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
