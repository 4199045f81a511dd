//! The decoder against `transformers`: logits of a tiny random model of each family.
//!
//! `tests/families/make.py` made the models and their logits; its README says with what.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use growmerge::checkpoint::Checkpoint;
use growmerge::decoder::{Config, Decoder, Scratch};
use serde_json::Value;
use support::{Tensor, Tensors, read_file, values};

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
    difference_of(case, case, config)
}

/// The same of a model somewhere else, against the logits of a case.
fn difference_of(model: &Path, case: &Path, config: &Value) -> f64 {
    let expected = read_file(&case.join("expected.safetensors"));
    let checkpoint = Checkpoint::open(model.to_str().unwrap()).unwrap();
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

/// Ways in which checkpoints of one model differ: none of them changes what it computes.
#[test]
fn other_spellings_of_the_same_model() {
    type Change = fn(&mut Value, &mut Tensors);
    let changes: [(&str, Change); 6] = [
        ("hyperllama", |_, t| {
            // Saved without its head's class.
            *t = std::mem::take(t).into_iter().map(|(n, x)| (n.replacen("model.", "", 1), x)).collect();
        }),
        ("hyperllama", |_, t| {
            drop(t.insert("lm_head.weight".into(), t["model.embed_tokens.weight"].clone()))
        }),
        ("gemma2", |c, _| drop(c.as_object_mut().unwrap().remove("tie_word_embeddings"))),
        ("llama", |c, _| c["head_dim"] = Value::Null),
        ("llama", |c, _| c["hidden_activation"] = Value::Null),
        // Keys that the family does not know.
        ("mistral", |c, _| {
            c["mlp_bias"] = true.into();
            c["query_pre_attn_scalar"] = 7.into();
            c["final_logit_softcapping"] = 1.0.into();
        }),
    ];
    for (name, change) in changes {
        let case = folder().join(name);
        let (mut config, mut tensors) =
            (json(&case.join("config.json")), read_file(&case.join("model.safetensors")));
        change(&mut config, &mut tensors);
        let changed = tempfile::tempdir().unwrap();
        support::save(&changed.path().join("model.safetensors"), &tensors);
        std::fs::write(changed.path().join("config.json"), config.to_string()).unwrap();
        let far = difference_of(changed.path(), &case, &config);
        assert!(far < TOLERANCE, "{name}: {far:e} of the range");
    }
}

/// A head of its own in a model that says it has none.
#[test]
fn a_tied_head_that_differs_is_refused() {
    let case = folder().join("hyperllama");
    let mut tensors = read_file(&case.join("model.safetensors"));
    let mut head = tensors["model.embed_tokens.weight"].clone();
    head.bytes[0] ^= 1;
    tensors.insert("lm_head.weight".into(), head);
    let changed = tempfile::tempdir().unwrap();
    support::save(&changed.path().join("model.safetensors"), &tensors);
    std::fs::copy(case.join("config.json"), changed.path().join("config.json")).unwrap();
    let checkpoint = Checkpoint::open(changed.path().to_str().unwrap()).unwrap();
    let config = Config::read(checkpoint.config().unwrap(), "config.json").unwrap();
    let told = Decoder::new(config, &checkpoint, "m", 8).unwrap_err().to_string();
    assert!(told.contains("lm_head.weight is stored and differs"), "{told}");
}

/// What the tape is shown: everything once, in order, of the right size, and the residual stream adds up.
#[test]
fn the_tape_is_shown_a_layer_in_order() {
    use growmerge::decoder::{Batch, Kept, Tape};
    #[derive(Default)]
    struct Recording(Vec<(usize, Kept, Vec<f32>)>);
    impl Tape for Recording {
        fn keep(&mut self, layer: usize, what: Kept, values: &[f32]) {
            self.0.push((layer, what, values.to_vec()));
        }
    }
    for (name, branches) in [("llama", false), ("olmo2", true), ("gemma2", true)] {
        let case = folder().join(name);
        let checkpoint = Checkpoint::open(case.to_str().unwrap()).unwrap();
        let config = Config::read(&json(&case.join("config.json")), "config.json").unwrap();
        let decoder = Decoder::new(config, &checkpoint, "m", 16).unwrap();
        let config = decoder.config();
        let mut batch = Batch::default();
        batch.push(&[1, 2, 3, 4, 5, 6], 0..6);
        let mut tape = Recording::default();
        decoder.losses(&batch, &mut Scratch::default(), &mut tape);
        let (wide, narrow) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let mut want = Vec::new();
        for layer in 0..config.layers.len() {
            want.extend([(layer, Kept::Stream, config.hidden), (layer, Kept::Queries, wide)]);
            want.extend([Kept::Keys, Kept::Values].map(|k| (layer, k, narrow)));
            want.push((layer, Kept::Attended, wide));
            want.extend(branches.then_some((layer, Kept::AttentionBranch, config.hidden)));
            want.push((layer, Kept::MlpStream, config.hidden));
            want.extend([Kept::Gate, Kept::Up].map(|k| (layer, k, config.intermediate)));
            want.extend(branches.then_some((layer, Kept::MlpBranch, config.hidden)));
        }
        want.push((config.layers.len(), Kept::Stream, config.hidden));
        let got: Vec<_> = tape.0.iter().map(|(l, k, v)| (*l, *k, v.len() / 5)).collect();
        assert_eq!(got, want, "{name}");
        // Attention changes the stream, and so does the MLP.
        let streams = |k: &Kept| matches!(k, Kept::Stream | Kept::MlpStream);
        let streams: Vec<_> = tape.0.iter().filter(|(_, k, _)| streams(k)).map(|(_, _, v)| v).collect();
        assert!(streams.windows(2).all(|w| w[0] != w[1]));
    }
}
