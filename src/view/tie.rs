//! Whether a head that is stored by itself still is the embedding, divided by a number.

use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::device::cpu::Cpu;
use crate::device::{Chunk, Device, LINE};
use crate::problem::ExecError;

/// Elements that are compared at once.
const BLOCK: usize = 16 * LINE;

/// The whole number by which every element of `embedding` was divided to make `head`; none if there is none.
///
/// # Errors
/// Only what the device reports.
pub(super) fn divisor(
    model: &Checkpoint,
    embedding: &TensorInfo,
    head: &TensorInfo,
) -> Result<Option<f64>, ExecError> {
    if embedding.shape != head.shape || !head.dtype.is_mergeable() || !embedding.dtype.is_mergeable() {
        return Ok(None);
    }
    let cpu = Cpu::new();
    let mut found = None;
    let mut made = vec![0; BLOCK * head.dtype.size()];
    let embeddings = model.bytes(embedding).chunks(BLOCK * embedding.dtype.size());
    for (embedding_bytes, head_bytes) in embeddings.zip(model.bytes(head).chunks(made.len())) {
        let mut x = cpu.load(Chunk { dtype: embedding.dtype, bytes: embedding_bytes })?;
        if found.is_none() {
            let y = cpu.load(Chunk { dtype: head.dtype, bytes: head_bytes })?;
            let pairs = x.values().iter().zip(y.values());
            // The largest element tells most exactly.
            let largest = pairs.max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()));
            found = largest.filter(|(x, y)| **x != 0.0 && **y != 0.0).map(|(x, y)| (x / y).round());
        }
        let divisor = found.unwrap_or(1.0);
        if !(1.0..=1e6).contains(&divisor) {
            return Ok(None);
        }
        cpu.divide(&mut x, divisor)?;
        let made = &mut made[..head_bytes.len()];
        cpu.store(&x, head.dtype, made)?;
        if made != head_bytes {
            return Ok(None);
        }
    }
    model.check_intact(embedding)?;
    model.check_intact(head)?;
    Ok(Some(f64::from(found.unwrap_or(1.0))))
}
