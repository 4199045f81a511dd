//! Files of tensors, written one tensor after another, and what their headers say beside them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use growmerge::checkpoint::Checkpoint;
use growmerge::problem::ExecError;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::{Map, Value};

/// A tensor that is to be written.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: &'a [usize],
    /// In f32.
    pub(crate) values: &'a [f32],
}

/// Writes tensors of one type in the order given; `store` writes values in that type.
pub(crate) fn write(
    path: &Path,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
    dtype: Dtype,
    entries: &[Entry<'_>],
    mut store: impl FnMut(&Entry<'_>, &mut dyn Write) -> io::Result<()>,
) -> Result<(), ExecError> {
    let size = dtype.bitsize() / 8;
    let mut end = 0;
    let info = |entry: &Entry<'_>| {
        let start = end;
        end += entry.values.len() * size;
        let info = TensorInfo { dtype, shape: entry.shape.to_vec(), data_offsets: (start, end) };
        (entry.name.to_owned(), info)
    };
    let infos = entries.iter().map(info).collect();
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let header = Metadata::new(Some(metadata), infos).map_err(|e| e.to_string());
    let header = header.and_then(|header| serde_json::to_vec(&header).map_err(|e| e.to_string()));
    let mut header = header.map_err(|e| ExecError::io("write", path)(io::Error::other(e)))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    crate::files::create(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        entries.iter().try_for_each(|entry| store(entry, file))
    })
}

/// What the header of a checkpoint of one file says beside its tensors.
pub(crate) fn metadata(checkpoint: &Checkpoint) -> Option<Map<String, Value>> {
    let header: Value = serde_json::from_slice(checkpoint.files().first()?.header.get(8..)?).ok()?;
    header.get("__metadata__")?.as_object().cloned()
}
