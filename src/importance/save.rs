//! A safetensors file of values in memory: written aside, then renamed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::checkpoint::DType;
use crate::device::cpu::Cpu;
use crate::device::{Chunk, Device};
use crate::problem::ExecError;

/// A tensor to write.
pub(super) struct Entry<'a> {
    pub(super) name: String,
    /// As it is stored.
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) values: &'a [f32],
}

/// Values that are converted at once.
const PART: usize = 1 << 16;

/// Writes the file whole or not at all.
pub(super) fn save(
    path: &Path,
    metadata: Map<String, Value>,
    entries: &[Entry<'_>],
) -> Result<(), ExecError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".partial");
    let aside = Path::new(&aside);
    let written = write(aside, metadata, entries);
    written.map_err(|e| {
        let _ = std::fs::remove_file(aside);
        ExecError::io("write", path)(e)
    })?;
    std::fs::rename(aside, path).map_err(ExecError::io("rename", path))
}

fn write(path: &Path, metadata: Map<String, Value>, entries: &[Entry<'_>]) -> io::Result<()> {
    let mut order: Vec<&Entry<'_>> = entries.iter().collect();
    order.sort_by(|a, b| b.dtype.size().cmp(&a.dtype.size()).then_with(|| a.name.cmp(&b.name)));
    let mut header = Map::new();
    header.insert("__metadata__".into(), Value::Object(metadata));
    let mut at = 0;
    for entry in &order {
        let end = at + entry.values.len() * entry.dtype.size();
        let about = json!({ "dtype": entry.dtype.name(), "shape": entry.shape, "data_offsets": [at, end] });
        header.insert(entry.name.clone(), about);
        at = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&(text.len() as u64).to_le_bytes())?;
    file.write_all(&text)?;
    let (cpu, mut bytes) = (Cpu::new(), Vec::new());
    for entry in order {
        for part in entry.values.chunks(PART) {
            bytes.resize(part.len() * entry.dtype.size(), 0);
            let chunk = Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(part) };
            let stored = cpu.load(chunk).and_then(|x| cpu.store(&x, entry.dtype, &mut bytes));
            stored.map_err(io::Error::other)?;
            file.write_all(&bytes)?;
        }
    }
    file.flush()?;
    file.into_inner()?.sync_all()
}
