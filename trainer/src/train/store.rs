//! Models on the disk, as `transformers` loads them.

use std::io;
use std::path::{Path, PathBuf};

use growmerge::checkpoint::DType;
use growmerge::device::cpu::Cpu;
use growmerge::device::{Chunk, Device, Finiteness};
use growmerge::problem::{Error, ExecError, Problem};
use safetensors::Dtype;

use super::config::ElementType;
use super::model::Model;
use crate::files::{folder, write};
use crate::tensors::{self, Entry};

/// Elements that are narrowed at once.
const BLOCK: usize = 1 << 16;

/// Files that go along with a model, as name and path.
pub(super) type Beside = Vec<(String, PathBuf)>;

/// Writes a model: `config.json`, what goes along with it, and the weights last.
///
/// # Errors
/// A weight that is no number in the type asked for; what the machine does.
pub(super) fn save_model(
    model: &Model,
    element: ElementType,
    beside: &Beside,
    out: &Path,
) -> Result<(), Error> {
    folder(out)?;
    let mut config = model.json.clone();
    config.insert("dtype".into(), element.name().into());
    config.remove("torch_dtype");
    if !config.contains_key("architectures") && model.config().model_type == "llama" {
        config.insert("architectures".into(), serde_json::json!(["LlamaForCausalLM"]));
    }
    let text = serde_json::to_string_pretty(&config).unwrap_or_default() + "\n";
    write(&out.join("config.json"), text)?;
    for (name, from) in beside {
        write(&out.join(name), std::fs::read(from).map_err(ExecError::io("read", from))?)?;
    }
    let stored = match element {
        ElementType::Float32 => Dtype::F32,
        ElementType::Bfloat16 => Dtype::BF16,
        ElementType::Float16 => Dtype::F16,
    };
    let values = |s: &growmerge::decoder::Slot| &model.values()[s.range.clone()];
    let slots = model.layout().slots().iter();
    let entries: Vec<Entry<'_>> =
        slots.map(|s| Entry { name: &s.name, shape: &s.shape, values: values(s) }).collect();
    let path = out.join("model.safetensors");
    let (cpu, mut bytes, mut no_number) = (Cpu::new(), Vec::new(), None);
    let written = tensors::write(&path, [("format", "pt".into())], stored, &entries, |entry, file| {
        for block in entry.values.chunks(BLOCK) {
            let block = Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(block) };
            bytes.resize(block.len() * element.dtype().size(), 0);
            let stored = cpu.load(block).and_then(|block| cpu.store(&block, element.dtype(), &mut bytes));
            if stored.map_err(io::Error::other)? == Finiteness::NonFinite {
                no_number = Some(entry.name.to_owned());
                return Err(io::Error::other("a weight is no number"));
            }
            file.write_all(&bytes)?;
        }
        Ok(())
    });
    match no_number {
        None => Ok(written?),
        Some(tensor) => {
            let what = format!("tensor {tensor} has a weight that is no number in {}", element.name());
            let problem = Problem::error(path.display().to_string(), what);
            Err(problem.hint("checkpoints: {dtype: float32} holds whatever training makes").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_that_is_no_number_in_the_type_asked_for_is_refused_by_name() {
        let config = serde_json::json!({
            "model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 20, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "rope_theta": 1e4, "tie_word_embeddings": true, "initializer_range": 1e6,
        });
        let model = Model::scratch(config.as_object().cloned().unwrap(), 1).unwrap();
        let out = tempfile::tempdir().unwrap();
        let save = |element| save_model(&model, element, &Vec::new(), out.path());
        let said = save(ElementType::Float16).unwrap_err().to_string();
        assert!(said.contains("embed_tokens.weight") && said.contains("float16"), "{said}");
        let left = |ending: &str| {
            let mut names = std::fs::read_dir(out.path()).unwrap().map(|e| e.unwrap().file_name());
            names.any(|name| name.to_string_lossy().contains(ending))
        };
        assert!(!left("model.safetensors"));
        save(ElementType::Bfloat16).unwrap();
        assert!(left("model.safetensors") && !left("partial"));
    }
}
