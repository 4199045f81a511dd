//! Vocabularies: against mergekit's matrices, against a naive version, and files that other programs read.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../oracle/mod.rs"]
mod oracle;
#[path = "../support/mod.rs"]
mod support;

mod encoding;
mod files;
mod mergekit;
mod notices;
mod refusals;
mod rows;
mod sources;
mod templates;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use growmerge::plan::{Contents, Plan};
use oracle::vocabulary::Model;
use serde_json::{Value, json};
use support::{Noise, Tensors, f32s, values};

const TABLES: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vocabulary")
}

fn golden_recipe(name: &str) -> String {
    let text = std::fs::read_to_string(golden().join(format!("recipes/{name}.yaml"))).unwrap();
    text.replace("@IN@", golden().join("inputs").to_str().unwrap())
}

/// A file that a plan would write beside the weights.
fn file(plan: &Plan, name: &str) -> Option<Vec<u8>> {
    let found = plan.companions.iter().find(|c| c.name == name)?;
    Some(match &found.contents {
        Contents::Of(place) => place.read().unwrap(),
        Contents::Bytes(bytes) => bytes.clone(),
    })
}

fn tokenizer(plan: &Plan) -> tokenizers::Tokenizer {
    tokenizers::Tokenizer::from_bytes(file(plan, "tokenizer.json").unwrap()).unwrap()
}

/// The planned token-to-id map, as the tokenizer that is written has it.
fn ids(plan: &Plan) -> BTreeMap<String, usize> {
    tokenizer(plan).get_vocab(true).into_iter().map(|(token, id)| (token, id as usize)).collect()
}

fn row(tensors: &Tensors, name: &str, row: usize) -> Vec<f64> {
    let width = tensors[name].shape[1];
    values(&tensors[name])[row * width..(row + 1) * width].to_vec()
}

/// A tokenizer of whole words between spaces, with added tokens behind them.
fn words(tokens: &[String], added: usize) -> Value {
    let plain = tokens.len() - added;
    let vocab: serde_json::Map<String, Value> =
        tokens[..plain].iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let flags = |(i, token): (usize, &String)| {
        json!({"id": plain + i, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let added: Vec<Value> = tokens[plain..].iter().enumerate().map(flags).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": tokens[0]}
    })
}

struct Made {
    path: PathBuf,
    /// Embedding and head.
    tables: [Model; 2],
}

/// A checkpoint of an embedding, a head (unless it is tied) and one other tensor.
fn checkpoint(
    folder: &Path,
    tokens: &[String],
    added: usize,
    rows: usize,
    tied: bool,
    noise: &mut Noise,
) -> Made {
    let width = 5;
    let mut table = || -> Vec<Vec<f64>> {
        (0..rows).map(|_| (0..width).map(|_| f64::from(noise.next())).collect()).collect()
    };
    let embedding = table();
    let head = if tied { embedding.clone() } else { table() };
    let flat = |rows: &[Vec<f64>]| f32s(&[rows.len(), width], rows.iter().flatten().map(|x| *x as f32));
    let mut tensors = Tensors::new();
    tensors.insert(TABLES[0].into(), flat(&embedding));
    if !tied {
        tensors.insert(TABLES[1].into(), flat(&head));
    }
    tensors.insert("model.norm.weight".into(), f32s(&[width], (0..width).map(|i| i as f32)));
    std::fs::create_dir_all(folder).unwrap();
    support::save(&folder.join("model.safetensors"), &tensors);
    let config = json!({"model_type": "llama", "vocab_size": rows, "bos_token_id": 0, "eos_token_id": tokens.len() - 1});
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), words(tokens, added).to_string()).unwrap();
    let model = |matrix| Model { tokens: tokens.to_vec(), added, matrix };
    Made { path: folder.to_owned(), tables: [model(embedding), model(head)] }
}

fn two(parameters: &str) -> String {
    let path = |name: &str| golden().join("inputs").join(name).display().to_string();
    format!(
        "merge_method: task_arithmetic\nbase_model: {}\nmodels:\n  - model: {}\n    parameters: {{weight: 0.5}}\n{parameters}",
        path("en"),
        path("fo")
    )
}

/// Tokens as [`checkpoint`] takes them.
fn list(tokens: &[&str]) -> Vec<String> {
    tokens.iter().map(|token| (*token).to_owned()).collect()
}

/// An adapter of the golden models, without a tokenizer.
fn adapter(folder: &Path) -> PathBuf {
    let adapter = folder.join("adapter");
    std::fs::create_dir_all(&adapter).unwrap();
    let config = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]});
    std::fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let mut tensors = Tensors::new();
    for (part, shape) in [("A", [1, 8]), ("B", [8, 1])] {
        let name = format!("base_model.model.model.layers.0.self_attn.q_proj.lora_{part}.weight");
        tensors.insert(name, f32s(&shape, [0.5; 8]));
    }
    support::save(&adapter.join("adapter_model.safetensors"), &tensors);
    adapter
}
