//! A PEFT folder, written: weights first, the configuration last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::choose::{Chosen, Kind};
use super::sketch::Factors;
use super::{Extracted, Extraction};
use crate::checkpoint::Checkpoint;
use crate::problem::{Error, ExecError, Problem};

const WEIGHTS: &str = "adapter_model.safetensors";
const PARTIAL: &str = "adapter_model.safetensors.partial";
const CONFIG: &str = "adapter_config.json";

/// A tensor to write.
struct Entry<'a> {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    data: Data<'a>,
}

enum Data<'a> {
    Stored(&'a [u8]),
    Values(&'a [f32]),
    /// `[shape[1], shape[0]]`, written transposed.
    Transposed(&'a [f32]),
}

/// An adapter is written into a folder of its own.
///
/// # Errors
/// If there is anything in it but an unfinished one.
pub fn refuse_full(folder: &Path) -> Result<(), Error> {
    let name = folder.display().to_string();
    if folder.is_file() {
        return Err(Problem::error(name, "is a file, not a folder").into());
    }
    let Ok(mut entries) = std::fs::read_dir(folder) else { return Ok(()) };
    match entries.find_map(Result::ok).filter(|e| e.file_name() != PARTIAL) {
        Some(entry) => {
            let what = format!("the folder is not empty ({})", entry.file_name().to_string_lossy());
            Err(Problem::error(name, what).hint("choose another folder").into())
        }
        None => Ok(()),
    }
}

/// Writes everything. `extracted.updates` and `factors` are of the chosen updates, in their order.
pub(super) fn write(
    folder: &Path,
    model: &Checkpoint,
    base: &Checkpoint,
    chosen: &[Chosen<'_>],
    extracted: &Extracted,
    factors: &[Factors],
    how: &Extraction,
) -> Result<(), Error> {
    let mut entries = Vec::new();
    let mut made = factors.iter();
    for tensor in chosen {
        let module = tensor.module();
        let factors = match tensor.kind {
            Kind::Whole => {
                entries.push(Entry {
                    name: format!("base_model.model.{}", tensor.ours.name),
                    dtype: tensor.ours.dtype.name(),
                    shape: tensor.ours.shape.clone(),
                    data: Data::Stored(model.bytes(tensor.ours)),
                });
                continue;
            }
            _ => made.next(),
        };
        let Some(Factors { left, right, singular }) = factors.filter(|f| !f.singular.is_empty()) else {
            continue;
        };
        let (rank, rows, columns) = (singular.len(), tensor.ours.shape[0], tensor.ours.shape[1]);
        let mut add = |part: &str, shape: [usize; 2], data| {
            let name = format!("base_model.model.{module}.{part}");
            entries.push(Entry { name, dtype: "F32", shape: shape.to_vec(), data });
        };
        match tensor.kind {
            Kind::Linear | Kind::Whole => {
                add("lora_A.weight", [rank, columns], Data::Values(right));
                add("lora_B.weight", [rows, rank], Data::Transposed(left));
            }
            Kind::Conv1d => {
                add("lora_A.weight", [rank, rows], Data::Values(left));
                add("lora_B.weight", [columns, rank], Data::Transposed(right));
            }
            Kind::Embedding => {
                add("lora_embedding_A", [rank, rows], Data::Values(left));
                add("lora_embedding_B", [columns, rank], Data::Transposed(right));
            }
        }
    }
    std::fs::create_dir_all(folder).map_err(ExecError::io("create", folder))?;
    let (partial, last) = (folder.join(PARTIAL), folder.join(WEIGHTS));
    write_weights(&partial, &entries).map_err(ExecError::io("write", &partial))?;
    let config =
        serde_json::to_string_pretty(&config(base, chosen, extracted, how)).unwrap_or_default() + "\n";
    std::fs::rename(&partial, &last).map_err(ExecError::io("rename", &partial))?;
    let path = folder.join(CONFIG);
    std::fs::write(&path, config).map_err(ExecError::io("write", &path))?;
    Ok(())
}

fn write_weights(path: &Path, entries: &[Entry<'_>]) -> std::io::Result<()> {
    let mut order: Vec<&Entry<'_>> = entries.iter().collect();
    // Wide elements first, so that every tensor is aligned to its element size.
    let width = |e: &Entry<'_>| e.bytes() / e.shape.iter().product::<usize>().max(1);
    order.sort_by(|a, b| width(b).cmp(&width(a)).then_with(|| a.name.cmp(&b.name)));
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut at = 0;
    for entry in &order {
        let end = at + entry.bytes();
        let about = json!({ "dtype": entry.dtype, "shape": entry.shape, "data_offsets": [at, end] });
        header.insert(entry.name.clone(), about);
        at = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(text.len() as u64).to_le_bytes())?;
    file.write_all(&text)?;
    for entry in order {
        match entry.data {
            Data::Stored(bytes) => file.write_all(bytes)?,
            Data::Values(values) => write_values(&mut file, values.iter().copied())?,
            Data::Transposed(values) => {
                let (rows, columns) = (entry.shape[0], entry.shape[1]);
                let element = |i: usize| values[i % columns * rows + i / columns];
                write_values(&mut file, (0..rows * columns).map(element))?;
            }
        }
    }
    file.into_inner()?.sync_all()
}

fn write_values(file: &mut impl Write, mut values: impl Iterator<Item = f32>) -> std::io::Result<()> {
    values.try_for_each(|x| file.write_all(&x.to_le_bytes()))
}

impl Entry<'_> {
    fn bytes(&self) -> usize {
        match self.data {
            Data::Stored(bytes) => bytes.len(),
            Data::Values(values) | Data::Transposed(values) => 4 * values.len(),
        }
    }
}

/// `adapter_config.json`. Every module's alpha is its rank, so that the scale is 1.
fn config(base: &Checkpoint, chosen: &[Chosen<'_>], extracted: &Extracted, how: &Extraction) -> Value {
    let ranks: BTreeMap<&str, usize> =
        extracted.updates.iter().map(|u| (super::choose::module(&u.tensor), u.rank)).collect();
    let rank = ranks.values().copied().max().unwrap_or(how.rank).max(1);
    let smaller: Map<String, Value> = ranks
        .iter()
        .filter(|(_, r)| (1..rank).contains(*r))
        .map(|(module, r)| ((*module).to_owned(), json!(r)))
        .collect();
    let updated: BTreeSet<&str> = ranks.iter().filter(|(_, r)| **r > 0).map(|(m, _)| *m).collect();
    // Whole paths: PEFT takes every module whose path ends in the name, even within a word.
    let saved: BTreeSet<&str> = chosen.iter().filter(|c| c.kind == Kind::Whole).map(Chosen::module).collect();
    let saved = Some(saved).filter(|s| !s.is_empty());
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name(),
        "inference_mode": true,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": chosen.iter().any(|c| c.kind == Kind::Conv1d),
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
        "target_modules": targets(base, &updated),
        "rank_pattern": smaller,
        "alpha_pattern": smaller,
        "modules_to_save": saved,
    })
}

/// Names of the updated modules: the last word of their paths where all modules that end in it are updated,
/// else the whole path.
fn targets(base: &Checkpoint, updated: &BTreeSet<&str>) -> BTreeSet<String> {
    let last = |module: &str| module.rsplit('.').next().unwrap_or(module).to_owned();
    let all = base.tensors().iter().map(|t| super::choose::module(&t.name));
    let partly: BTreeSet<String> = all.filter(|m| !updated.contains(m)).map(last).collect();
    let name = |module: &&str| match last(module) {
        word if partly.contains(&word) => (*module).to_owned(),
        word => word,
    };
    updated.iter().map(name).collect()
}
