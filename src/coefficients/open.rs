//! What both kinds of files share: one safetensors file, its format and its hash.

use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, Folder};
use crate::problem::{Problem, Problems};

/// A file of tensors that says what it is.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) tensors: Checkpoint,
    pub(crate) metadata: Map<String, Value>,
    /// Of the whole file, in hex.
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

/// Opens a file whose metadata must have this format. `hint`: how such files are made.
pub(crate) fn open(path: &Path, format: &str, hint: &str) -> Result<Opened, Problems> {
    let name = path.display().to_string();
    let wrong = |what: String| Problems::from(Problem::error(&name, what).hint(hint));
    let file = path.file_name().and_then(|f| f.to_str()).filter(|_| path.is_file());
    let Some(file) = file else { return Err(wrong("no such file".into())) };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let tensors = Checkpoint::open_file(&name, Folder::Local(folder.to_owned()), file)?;
    let Some(file) = tensors.files().first() else { return Err(wrong("no such file".into())) };
    let metadata = file.metadata();
    match metadata.get("format").and_then(Value::as_str) {
        Some(found) if found == format => {}
        Some(found) => return Err(wrong(format!("its format is `{found}`, not `{format}`"))),
        None => return Err(wrong(format!("its metadata has no `format: {format}`"))),
    }
    let sha256: String = Sha256::digest(file.bytes()).iter().map(|b| format!("{b:02x}")).collect();
    let bytes = file.len;
    file.check_intact().map_err(|e| wrong(e.to_string()))?;
    Ok(Opened { tensors, metadata, sha256, bytes })
}
