//! Models and states on the disk.

use std::collections::HashMap;
use std::path::Path;

use growmerge::checkpoint::{Checkpoint, DType};
use growmerge::decoder::Tensors;
use growmerge::problem::{Error, ExecError, Problem};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::model::Model;
use super::optimizer::AdamW;
use super::trainer::Trainer;
use crate::files::{aside, folder, write};

/// Files of a tokenizer that go with a model, where they are there.
const TOKENIZER: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
];

/// Element types that a model can be written in.
pub(super) const DTYPES: [&str; 3] = ["float32", "bfloat16", "float16"];

/// Writes a model that `transformers` loads: `config.json`, the tokenizer's files, and the weights last.
pub(super) fn save_model(model: &Model, dtype: &str, tokenizer: &Path, out: &Path) -> Result<(), ExecError> {
    folder(out)?;
    let mut config = model.json.clone();
    config.insert("dtype".into(), dtype.into());
    config.remove("torch_dtype");
    if !config.contains_key("architectures") && model.config().model_type == "llama" {
        config.insert("architectures".into(), serde_json::json!(["LlamaForCausalLM"]));
    }
    let text = serde_json::to_string_pretty(&config).unwrap_or_default() + "\n";
    write(&out.join("config.json"), text.as_bytes())?;
    for name in TOKENIZER {
        let from = tokenizer.join(name);
        if from.is_file() && from != out.join(name) {
            let bytes = std::fs::read(&from).map_err(ExecError::io("read", &from))?;
            write(&out.join(name), &bytes)?;
        }
    }
    let narrow = |values: &[f32]| -> Vec<u8> {
        match dtype {
            "bfloat16" => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            "float16" => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            _ => bytemuck::cast_slice(values).to_vec(),
        }
    };
    let stored = match dtype {
        "bfloat16" => Dtype::BF16,
        "float16" => Dtype::F16,
        _ => Dtype::F32,
    };
    let slots = model.layout().slots().iter();
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = slots
        .map(|s| (s.name.as_str(), s.shape.as_slice(), narrow(&model.values()[s.range.clone()])))
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| (*name, stored, shape.to_vec(), bytes.as_slice()));
    save(views, HashMap::from([("format".into(), "pt".into())]), &out.join("model.safetensors"))
}

fn save<'b>(
    tensors: impl Iterator<Item = (&'b str, Dtype, Vec<usize>, &'b [u8])>,
    metadata: HashMap<String, String>,
    path: &Path,
) -> Result<(), ExecError> {
    let unwritable = |e: safetensors::SafeTensorError| match e {
        safetensors::SafeTensorError::IoError(e) => ExecError::io("write", path)(e),
        e => ExecError::io("write", path)(std::io::Error::other(e.to_string())),
    };
    let views: Result<Vec<_>, _> = tensors
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes)?)))
        .collect();
    let aside = aside(path);
    safetensors::serialize_to_file(views.map_err(unwritable)?, Some(metadata), &aside).map_err(unwritable)?;
    std::fs::rename(&aside, path).map_err(ExecError::io("rename", path))
}

/// The three parts of a state, as they are stored.
const PARTS: [&str; 3] = ["weights", "first_moment", "second_moment"];

/// Writes everything that training continues from.
pub(super) fn save_state(trainer: &Trainer, identity: &str, path: &Path) -> Result<(), ExecError> {
    let AdamW { first, second, steps, .. } = trainer.optimizer();
    let parts = [trainer.model().values(), first, second];
    let views = PARTS.iter().zip(parts).map(|(name, values)| {
        (*name, Dtype::F32, vec![values.len()], bytemuck::cast_slice::<f32, u8>(values))
    });
    let metadata = [("identity".to_owned(), identity.to_owned()), ("steps".to_owned(), steps.to_string())];
    save(views, HashMap::from(metadata), path)
}

/// Sets a trainer back to a stored state; `false` if there is none.
pub(super) fn load_state(trainer: &mut Trainer, identity: &str, path: &Path) -> Result<bool, Error> {
    if !path.is_file() {
        return Ok(false);
    }
    let name = path.display().to_string();
    let stored = Checkpoint::open(&name)?;
    let damaged = |what: &str| Problem::error(&name, what).hint("remove it to begin again");
    let metadata = stored.files().first().and_then(|f| metadata(f.header.get(8..)?));
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

fn metadata(header: &[u8]) -> Option<serde_json::Map<String, serde_json::Value>> {
    let header: serde_json::Value = serde_json::from_slice(header).ok()?;
    header.get("__metadata__")?.as_object().cloned()
}
