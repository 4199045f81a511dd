//! The decoder against `transformers`: logits of a tiny random model of each family.
//!
//! `tests/families/make.py` made the models and their logits; its README says with what.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use growmerge::checkpoint::Checkpoint;
use growmerge::decoder::{Config, Decoder, Scratch};
use serde_json::Value;
use support::{Tensor, read_file, values};

/// Largest difference allowed, as a part of the range of the logits.
const TOLERANCE: f64 = 1e-5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families")
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|p| p.join("expected.safetensors").exists()).collect();
    cases.sort();
    cases
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Token ids, `[texts, tokens]`.
fn texts(tensor: &Tensor) -> Vec<Vec<u32>> {
    let ids = tensor.bytes.chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
    ids.collect::<Vec<_>>().chunks(tensor.shape[1]).map(<[u32]>::to_vec).collect()
}

/// The largest difference of logits, as a part of their range.
fn difference(case: &Path, config: &Value) -> f64 {
    let expected = read_file(&case.join("expected.safetensors"));
    let checkpoint = Checkpoint::open(case.to_str().unwrap()).unwrap();
    let config = Config::read(config, "config.json").unwrap_or_else(|p| panic!("{}: {p}", case.display()));
    let decoder = Decoder::new(config, &checkpoint, "model", 64);
    let decoder = decoder.unwrap_or_else(|p| panic!("{}: {p}", case.display()));
    let mut worst: f64 = 0.0;
    for name in expected.keys().filter(|n| n.ends_with("ids")) {
        let (ids, logits) = (&expected[name], &expected[&name.replace("ids", "logits")]);
        let want = values(logits);
        let (low, high) = want.iter().fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
        let mut scratch = Scratch::default();
        let got: Vec<f32> = texts(ids).iter().flat_map(|text| decoder.logits(text, &mut scratch)).collect();
        assert_eq!(got.len(), want.len());
        let far = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
        worst = worst.max(far / (high - low));
    }
    worst
}

#[test]
fn logits_are_those_of_transformers() {
    let cases = cases();
    for case in &cases {
        let far = difference(case, &json(&case.join("config.json")));
        println!("{:20} {far:.1e}", case.file_name().unwrap().to_string_lossy());
        assert!(far < TOLERANCE, "{}: {far:e} of the range", case.display());
    }
    for family in Config::families() {
        let covers = |case: &PathBuf| json(&case.join("config.json"))["model_type"] == family;
        assert!(cases.iter().any(covers), "no case for {family}");
    }
}

/// Older configurations say the same with other keys.
#[test]
fn configs_of_transformers_4_mean_the_same() {
    let older = cases().into_iter().filter(|c| c.join("config.v4.json").exists()).collect::<Vec<_>>();
    assert!(older.len() >= 3);
    for case in older {
        let far = difference(&case, &json(&case.join("config.v4.json")));
        assert!(far < TOLERANCE, "{}: {far:e} of the range", case.display());
    }
}
