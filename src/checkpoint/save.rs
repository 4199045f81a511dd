//! Small safetensors files, written whole or not at all.

use std::borrow::Cow;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::DType;
use crate::problem::ExecError;

/// A tensor to write.
#[derive(Clone, Debug)]
pub struct Saved<'a> {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// `dtype.size()` bytes an element, little-endian.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> Saved<'a> {
    /// A tensor of f32.
    pub fn f32s(name: impl Into<String>, shape: &[usize], values: &'a [f32]) -> Self {
        let bytes = match cfg!(target_endian = "little") {
            true => Cow::Borrowed(bytemuck::cast_slice(values)),
            false => Cow::Owned(values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        };
        Self { name: name.into(), dtype: DType::F32, shape: shape.to_vec(), bytes }
    }
}

/// Writes a file: tensors of wide elements first, then by name, so that equal contents are equal bytes. Whoever reads it
/// meanwhile sees what was there before.
///
/// # Errors
/// What the system says.
pub fn save(path: &Path, metadata: &[(&str, String)], tensors: &[Saved<'_>]) -> Result<(), ExecError> {
    let mut order: Vec<&Saved<'_>> = tensors.iter().collect();
    order.sort_by(|a, b| b.dtype.size().cmp(&a.dtype.size()).then_with(|| a.name.cmp(&b.name)));
    let head = header(metadata, &order);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside = tempfile::Builder::new();
    aside.prefix(".growmerge-").permissions(Permissions::from_mode(0o666));
    let mut file = aside.tempfile_in(folder).map_err(ExecError::io("create a file in", folder))?;
    let written = std::iter::once(head.as_slice()).chain(order.iter().map(|t| &*t.bytes));
    written.into_iter().try_for_each(|bytes| file.write_all(bytes)).map_err(ExecError::io("write", path))?;
    file.as_file().sync_all().map_err(ExecError::io("sync", path))?;
    file.persist(path).map_err(|e| ExecError::io("rename", path)(e.error))?;
    Ok(())
}

fn header(metadata: &[(&str, String)], order: &[&Saved<'_>]) -> Vec<u8> {
    let mut map = Map::new();
    let about: Map<String, Value> = metadata.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    map.insert("__metadata__".into(), Value::Object(about));
    let mut at = 0;
    for tensor in order {
        let end = at + tensor.bytes.len();
        let about = json!({ "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [at, end] });
        map.insert(tensor.name.clone(), about);
        at = end;
    }
    let mut text = Value::Object(map).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.append(&mut text);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;

    #[test]
    fn what_is_saved_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let values = [1.5, -2.0, 3.0];
        let counts = Saved {
            name: "counts".into(),
            dtype: DType::I64,
            shape: vec![2],
            bytes: Cow::Owned([7i64, 8].iter().flat_map(|x| x.to_le_bytes()).collect()),
        };
        let all = [Saved::f32s("x", &[3], &values), Saved::f32s("none", &[0, 4], &[]), counts];
        save(&path, &[("format", "test 1".into())], &all).unwrap();
        let read = Checkpoint::open(path.to_str().unwrap()).unwrap();
        assert_eq!(read.files()[0].metadata()["format"], "test 1");
        for tensor in &all {
            let found = read.tensor(&tensor.name).unwrap();
            assert_eq!((found.dtype, &found.shape), (tensor.dtype, &tensor.shape));
            assert_eq!(read.bytes(found), &*tensor.bytes);
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let told = save(Path::new("/nowhere/at/all.safetensors"), &[], &[]).unwrap_err().to_string();
        assert!(told.contains("/nowhere/at"), "{told}");
    }
}
