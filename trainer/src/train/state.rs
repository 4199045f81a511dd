//! What a run continues from: weights, moments and the number of steps.

use std::path::Path;

use growmerge::checkpoint::{Checkpoint, DType};
use growmerge::decoder::Tensors;
use growmerge::problem::{Error, ExecError, Problem};
use safetensors::Dtype;

use super::optimizer::AdamW;
use super::trainer::Trainer;
use crate::tensors::{self, Entry};

/// The three parts of a state, as they are stored.
const PARTS: [&str; 3] = ["weights", "first_moment", "second_moment"];

/// Writes a state.
pub(super) fn save(trainer: &Trainer, identity: &str, path: &Path) -> Result<(), ExecError> {
    let AdamW { first, second, steps, .. } = trainer.optimizer();
    let parts = [trainer.model().values(), first, second];
    let shape = [trainer.model().values().len()];
    let mut entries: Vec<Entry<'_>> =
        PARTS.iter().zip(parts).map(|(name, values)| Entry { name, shape: &shape, values }).collect();
    entries.sort_by_key(|entry| entry.name);
    let metadata = [("identity", identity.to_owned()), ("steps", steps.to_string())];
    tensors::write(path, metadata, Dtype::F32, &entries, |entry, file| {
        file.write_all(bytemuck::cast_slice(entry.values))
    })
}

/// Sets a trainer back to a stored state; `false` if there is none.
pub(super) fn load(trainer: &mut Trainer, identity: &str, path: &Path) -> Result<bool, Error> {
    if !path.is_file() {
        return Ok(false);
    }
    let name = path.display().to_string();
    let stored = Checkpoint::open(&name)?;
    let damaged = |what: &str| Problem::error(&name, what).hint("remove it to begin again");
    let metadata = tensors::metadata(&stored);
    let entry = |key: &str| metadata.as_ref()?.get(key)?.as_str().map(str::to_owned);
    let (Some(of), Some(steps)) = (entry("identity"), entry("steps").and_then(|s| s.parse().ok())) else {
        return Err(damaged("is not a state of training").into());
    };
    if of != identity {
        return Err(damaged("is the state of another run").into());
    }
    let (model, optimizer) = trainer.parts_mut();
    for (part, values) in PARTS.iter().zip([
        model.values_mut(),
        optimizer.first.as_mut_slice(),
        optimizer.second.as_mut_slice(),
    ]) {
        let tensor = Tensors::tensor(&stored, part).filter(|t| t.dtype == DType::F32);
        let bytes = tensor.map(|t| t.bytes).filter(|b| b.len() == 4 * values.len());
        let Some(bytes) = bytes else { return Err(damaged("has not this model's weights").into()) };
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*bytes);
        }
    }
    optimizer.steps = steps;
    for file in stored.files() {
        file.check_intact()?;
    }
    Ok(true)
}
