//! The header of a safetensors file, trusted in nothing.
//!
//! A file is eight bytes of length, that much JSON, then data. After [`parse`] every tensor's bytes lie
//! inside the file, agree with dtype and shape, overlap with no other tensor and leave no hole.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::{DType, TensorInfo};
use crate::problem::{Problem, Problems};

/// A header as long as this is a lie or an attack; safetensors draws the same line.
pub(super) const MAX_HEADER: u64 = 100_000_000;
/// Tensors of which a mismatch is listed one by one.
const LISTED: usize = 10;

/// Bytes that are asked for at first of a weight file: most headers are shorter.
pub const HEADER_GUESS: u64 = 64 << 10;

/// Reads the length prefix and the JSON behind it of a file of `len` bytes, with `bytes` giving any of them.
pub(super) fn read<E: Into<Problems>>(
    name: &str,
    len: u64,
    mut bytes: impl FnMut(Range<u64>) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, Problems> {
    if len == 0 {
        return Err(Problem::error(name, "the file is empty").hint("download or copy it again").into());
    }
    if len < 8 {
        return Err(Problem::error(name, format!("{len} bytes are too few for a safetensors file")).into());
    }
    let mut header = bytes(0..len.min(HEADER_GUESS)).map_err(Into::into)?;
    let length = header.iter().take(8).rev().fold(0u64, |n, b| (n << 8) | u64::from(*b));
    if header.starts_with(b"PK") || header.starts_with(&[0x80]) && length > len {
        return Err(Problem::error(name, "is a pickle or an archive, not a safetensors file")
            .hint("convert it to safetensors first")
            .into());
    }
    if length > MAX_HEADER {
        let what = format!("its header claims {length} bytes; {MAX_HEADER} are allowed");
        return Err(Problem::error(name, what).hint("this is no safetensors file, or a damaged one").into());
    }
    if length > len - 8 {
        let what = format!("the file is truncated: its header claims {length} bytes, {} are left", len - 8);
        return Err(Problem::error(name, what).hint("download or copy it again").into());
    }
    let end = 8 + length;
    if end > header.len() as u64 {
        header.extend(bytes(header.len() as u64..end).map_err(Into::into)?);
    }
    header.truncate(end as usize);
    Ok(header)
}

/// Checks `json` (without the length prefix) against the file's length and lists its tensors.
/// `data_start` is where data begins, `file` the tensors' [`TensorInfo::file`].
pub(super) fn parse(
    name: &str,
    json: &[u8],
    data_start: u64,
    file_len: u64,
    file: usize,
) -> Result<Vec<TensorInfo>, Problems> {
    let text = match std::str::from_utf8(json) {
        Ok(text) => text,
        Err(_) => return Err(Problem::error(name, "the header is not UTF-8").into()),
    };
    let Entries(entries) = serde_json::from_str(text)
        .map_err(|e| Problem::error(name, format!("the header is not a safetensors header: {e}")))?;
    let mut problems = Problems::new();
    let mut tensors: Vec<TensorInfo> = Vec::with_capacity(entries.len());
    for (tensor, entry) in entries {
        match check(&tensor, &entry, data_start, file) {
            Ok(info) => tensors.push(info),
            Err(what) => problems.push(Problem::error(name, format!("tensor {tensor}: {what}"))),
        }
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in tensors.windows(2).filter(|p| p[0].name == p[1].name) {
        problems.push(Problem::error(name, format!("tensor {} is listed twice", pair[0].name)));
    }
    if !problems.has_errors() {
        cover(name, &tensors, data_start, file_len, &mut problems);
    }
    if problems.has_errors() { Err(problems) } else { Ok(tensors) }
}

/// One tensor by itself.
fn check(name: &str, entry: &Entry, data_start: u64, file: usize) -> Result<TensorInfo, String> {
    let dtype =
        DType::from_name(&entry.dtype).ok_or_else(|| format!("dtype {:?} is not supported", entry.dtype))?;
    let elements = entry.shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
    let bytes = elements.and_then(|n| n.checked_mul(dtype.size() as u64));
    let bytes = bytes.ok_or_else(|| format!("shape {:?} overflows", entry.shape))?;
    let [start, end] = entry.data_offsets;
    if end.checked_sub(start) != Some(bytes) {
        return Err(format!(
            "shape {:?} of {} needs {bytes} bytes, but its offsets are {start} to {end}",
            entry.shape, entry.dtype
        ));
    }
    let absolute = |x: u64| data_start.checked_add(x).ok_or_else(|| format!("offset {x} overflows"));
    let shape: Result<Vec<usize>, _> = entry.shape.iter().map(|d| usize::try_from(*d)).collect();
    Ok(TensorInfo {
        name: name.to_owned(),
        dtype,
        shape: shape.map_err(|_| format!("shape {:?} is too large for this machine", entry.shape))?,
        file,
        range: absolute(start)?..absolute(end)?,
    })
}

/// All tensors together: from the end of the header to the end of the file, without overlap or hole.
fn cover(name: &str, tensors: &[TensorInfo], data_start: u64, file_len: u64, problems: &mut Problems) {
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|t| (t.range.start, t.range.end));
    let mut at = data_start;
    for tensor in order {
        if problems.iter().count() >= LISTED {
            return;
        }
        if tensor.range.start < at {
            problems.push(Problem::error(name, format!("tensor {} overlaps with another", tensor.name)));
        } else if tensor.range.start > at {
            let hole = tensor.range.start - at;
            problems.push(Problem::error(
                name,
                format!("{hole} bytes before tensor {} belong to none", tensor.name),
            ));
        }
        at = at.max(tensor.range.end);
    }
    if at > file_len {
        let missing = at - file_len;
        problems.push(
            Problem::error(name, format!("the file is truncated: {missing} of {at} bytes are missing"))
                .hint("download or copy it again"),
        );
    } else if at < file_len {
        problems.push(Problem::error(
            name,
            format!("{} bytes after the last tensor belong to none", file_len - at),
        ));
    }
}

#[derive(serde::Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Every entry of the header in order, duplicates included (a map would hide them).
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of tensor names to dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let entry =
                        map.next_value().map_err(|e| A::Error::custom(format!("tensor {name}: {e}")))?;
                    entries.push((name, entry));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}
