//! Writes a synthetic set of checkpoints for benchmarks: a base and five fine-tunes of it.
//!
//!     cargo run --release --example synthesize -- 572m sets/572m
//!
//! `OUT/base`, `OUT/et`, `OUT/fo`, `OUT/is`, `OUT/fa`, `OUT/sv`: Llama folders in bf16 that look like
//! fine-tunes to a merge method. Base matrices are N(0, 0.02), norms 1 + N(0, 0.02). A fine-tune adds
//! N(0, 0.002), of which a fifth of the variance is common to all five; three in ten of its elements
//! are untouched. Each tensor has its own generator, so the numbers depend on names, not on order.
#![allow(missing_docs, dead_code)] // a program, and a module of benches/methods.rs

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, bail};
use half::bf16;
use rand::distr::Distribution;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::Normal;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

const LANGUAGES: [&str; 5] = ["et", "fo", "is", "fa", "sv"];
const BASE_STD: f32 = 0.02;
const DELTA_STD: f32 = 0.002;
/// Share of the variance of a difference that all languages have in common.
const SHARED: f32 = 0.2;
/// Share of the elements that a fine-tune leaves alone.
const UNTOUCHED: f32 = 0.3;

struct Size {
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    intermediate: usize,
    vocab: usize,
    tied: bool,
}

fn size(name: &str) -> Option<Size> {
    let wide = |scale: usize| Size {
        hidden: 576 * scale,
        layers: 30,
        heads: 9 * scale,
        kv_heads: 3 * scale,
        head_dim: 64,
        intermediate: 1536 * scale,
        vocab: 128_256,
        tied: true,
    };
    match name {
        "tiny" => Some(Size {
            hidden: 64,
            layers: 4,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            intermediate: 192,
            vocab: 512,
            tied: false,
        }),
        "30m" => Some(Size { layers: 6, vocab: 16_384, ..wide(1) }),
        "180m" => Some(wide(1)),
        "572m" => Some(wide(2)),
        // Four layers of a model of 7 billion parameters, as many as fit beside others.
        "7b-layers" => Some(Size {
            hidden: 4096,
            layers: 4,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            intermediate: 14_336,
            vocab: 32_000,
            tied: false,
        }),
        _ => None,
    }
}

fn shapes(s: &Size) -> Vec<(String, Vec<usize>)> {
    let (h, q, kv) = (s.hidden, s.heads * s.head_dim, s.kv_heads * s.head_dim);
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![s.vocab, h])];
    for layer in 0..s.layers {
        let mut add = |part: &str, shape: &[usize]| {
            all.push((format!("model.layers.{layer}.{part}.weight"), shape.to_vec()));
        };
        add("input_layernorm", &[h]);
        add("self_attn.q_proj", &[q, h]);
        add("self_attn.k_proj", &[kv, h]);
        add("self_attn.v_proj", &[kv, h]);
        add("self_attn.o_proj", &[h, q]);
        add("post_attention_layernorm", &[h]);
        add("mlp.gate_proj", &[s.intermediate, h]);
        add("mlp.up_proj", &[s.intermediate, h]);
        add("mlp.down_proj", &[h, s.intermediate]);
    }
    all.push(("model.norm.weight".to_owned(), vec![h]));
    if !s.tied {
        all.push(("lm_head.weight".to_owned(), vec![s.vocab, h]));
    }
    all.sort();
    all
}

fn config(s: &Size) -> serde_json::Value {
    serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "bos_token_id": 0, "eos_token_id": 1, "head_dim": s.head_dim, "hidden_act": "silu",
        "hidden_size": s.hidden, "intermediate_size": s.intermediate, "max_position_embeddings": 2048,
        "num_attention_heads": s.heads, "num_hidden_layers": s.layers, "num_key_value_heads": s.kv_heads,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": s.tied, "vocab_size": s.vocab,
    })
}

fn header(shapes: &[(String, Vec<usize>)]) -> Vec<u8> {
    let mut map = serde_json::Map::new();
    map.insert("__metadata__".into(), serde_json::json!({ "format": "pt" }));
    let mut at = 0;
    for (name, shape) in shapes {
        let end = at + 2 * shape.iter().product::<usize>();
        map.insert(
            name.clone(),
            serde_json::json!({ "dtype": "BF16", "shape": shape, "data_offsets": [at, end] }),
        );
        at = end;
    }
    let mut text = serde_json::Value::Object(map).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [(text.len() as u64).to_le_bytes().to_vec(), text].concat()
}

/// A generator for one use.
fn generator(model: &str, tensor: &str) -> SmallRng {
    let digest = Sha256::digest(format!("{model}/{tensor}"));
    let mut seed = [0; 8];
    seed.copy_from_slice(&digest[..8]);
    SmallRng::seed_from_u64(u64::from_le_bytes(seed))
}

fn normal(model: &str, tensor: &str, mean: f32, std: f32, len: usize) -> anyhow::Result<Vec<f32>> {
    let normal = Normal::new(mean, std)?;
    Ok(normal.sample_iter(generator(model, tensor)).take(len).collect())
}

fn bytes(x: impl Iterator<Item = f32>) -> Vec<u8> {
    x.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect()
}

/// The bytes of a tensor in the base and then in every language.
fn tensor(name: &str, len: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let mean = if name.contains("norm") { 1.0 } else { 0.0 };
    let base = normal("base", name, mean, BASE_STD, len)?;
    let base: Vec<f32> = base.into_iter().map(|x| bf16::from_f32(x).to_f32()).collect();
    let shared = normal("shared", name, 0.0, DELTA_STD * SHARED.sqrt(), len)?;
    let language = |language: &&str| {
        let own = normal(language, name, 0.0, DELTA_STD * (1.0 - SHARED).sqrt(), len)?;
        let mut touch = generator(&format!("{language} untouched"), name);
        let tuned = base.iter().zip(&shared).zip(own).map(|((base, shared), own)| {
            if touch.random::<f32>() < UNTOUCHED { *base } else { base + (shared + own) }
        });
        Ok(bytes(tuned))
    };
    let mut all = vec![bytes(base.iter().copied())];
    all.extend(LANGUAGES.par_iter().map(language).collect::<anyhow::Result<Vec<_>>>()?);
    Ok(all)
}

fn open(folder: &Path, s: &Size) -> anyhow::Result<BufWriter<File>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    std::fs::write(folder.join("config.json"), format!("{:#}\n", config(s)))?;
    Ok(BufWriter::new(File::create(folder.join("model.safetensors"))?))
}

/// Writes a set of the named size; returns the parameters of a model.
pub(crate) fn write_set(name: &str, out: &Path) -> anyhow::Result<usize> {
    let Some(s) = size(name) else { bail!("no size {name:?}: tiny, 30m, 180m or 572m") };
    let shapes = shapes(&s);
    let mut files = std::iter::once("base")
        .chain(LANGUAGES)
        .map(|model| open(&out.join(model), &s))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let header = header(&shapes);
    for file in &mut files {
        file.write_all(&header)?;
    }
    for (name, shape) in &shapes {
        let stored = tensor(name, shape.iter().product())?;
        for (file, bytes) in files.iter_mut().zip(stored) {
            file.write_all(&bytes)?;
        }
    }
    files.iter_mut().try_for_each(|file| file.flush())?;
    Ok(shapes.iter().map(|(_, s)| s.iter().product::<usize>()).sum())
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, out] = args.as_slice() else { bail!("usage: synthesize tiny|30m|180m|572m OUT") };
    let parameters = write_set(name, Path::new(out))?;
    println!("{out}: six models of {:.1} M parameters", parameters as f64 / 1e6);
    Ok(())
}
