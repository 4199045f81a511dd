//! Laws of training: it learns, and nothing depends on threads.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use growmerge::execute::Observer;
use growmerge::recipe::{Amount, Grow, NoiseWords};
use growmerge::write::{Existing, Sync};
use growmerge_trainer::grow;
use growmerge_trainer::train::config::Optimizer;
use growmerge_trainer::train::{Model, Trainer, asymmetry};
use serde_json::{Map, Value, json};

fn config() -> Map<String, Value> {
    let config = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 120, "rms_norm_eps": 1e-5,
        "hidden_act": "gelu", "rope_theta": 1e4, "tie_word_embeddings": true,
    });
    config.as_object().unwrap().clone()
}

fn batch(sequences: usize, len: usize) -> Vec<Vec<u32>> {
    let token = |b: usize, i: usize| ((b * 7919 + i * i * 31 + i * 17) % 120) as u32;
    (0..sequences).map(|b| (0..=len).map(|i| token(b, i)).collect()).collect()
}

fn trainer(settings: &Optimizer, micro_batch: usize, threads: usize) -> Trainer {
    Trainer::new(Model::scratch(config(), 3).unwrap(), settings, Some(micro_batch), threads).unwrap()
}

#[test]
fn a_model_that_no_memory_holds_is_refused() {
    let mut config = config();
    config.insert("hidden_size".into(), json!(1 << 22));
    config.insert("intermediate_size".into(), json!(1 << 30));
    config.insert("num_hidden_layers".into(), json!(10_000));
    let said = Model::scratch(config, 1).unwrap_err().to_string();
    assert!(said.contains("GiB of memory"), "{said}");
}

#[test]
fn one_batch_is_learnt_by_heart() {
    let settings = Optimizer { weight_decay: 0.0, ..Optimizer::default() };
    let (mut trainer, batch) = (trainer(&settings, 4, 2), batch(4, 24));
    let first = trainer.step(&batch, 1e-2).unwrap().loss;
    assert!((first - 120f64.ln()).abs() < 0.7, "random weights know nothing: {first}");
    let mut last = first;
    for _ in 0..300 {
        last = trainer.step(&batch, 1e-2).unwrap().loss;
    }
    assert!(last < 0.02, "{last}");
}

/// A small step against the gradient lowers the loss by the squared norm: the first order of Taylor's series.
#[test]
fn a_step_does_what_the_gradient_says() {
    // Without moments and with a large eps, AdamW takes plain steps: lr / eps times the gradient.
    let settings =
        Optimizer { betas: [0.0, 0.0], eps: 1e6, weight_decay: 0.0, clip: None, ..Optimizer::default() };
    let (mut trainer, batch) = (trainer(&settings, 2, 1), batch(6, 30));
    let rate = 1e-3;
    let before = trainer.step(&batch, rate * 1e6).unwrap();
    let after = trainer.step(&batch, 0.0).unwrap();
    let want = rate * before.gradient_norm * before.gradient_norm;
    let got = before.loss - after.loss;
    assert!((got / want - 1.0).abs() < 0.02, "{got} for {want}");
}

#[test]
fn threads_change_no_bit_and_micro_batches_only_the_last() {
    let batch = batch(12, 20);
    let run = |micro_batch: usize, threads: usize| {
        let mut trainer = trainer(&Optimizer::default(), micro_batch, threads);
        let losses: Vec<f64> = (0..6).map(|_| trainer.step(&batch, 3e-3).unwrap().loss).collect();
        (losses, trainer.model().values().to_vec())
    };
    let (losses, weights) = run(5, 1);
    for threads in [2, 3, 7] {
        assert_eq!(run(5, threads), (losses.clone(), weights.clone()), "{threads} threads");
    }
    for micro_batch in [1, 2, 12] {
        for (a, b) in losses.iter().zip(run(micro_batch, 2).0) {
            assert!((a - b).abs() < 1e-5, "micro-batches of {micro_batch}: {b} for {a}");
        }
    }
}

#[test]
fn random_weights_have_no_likeness_of_blocks() {
    let model = Model::scratch(config(), 1).unwrap();
    let r = asymmetry(&model, 2).unwrap();
    assert!((r - 0.75f64.sqrt()).abs() < 0.02, "{r}");
}

struct Quiet;

impl Observer for Quiet {
    fn advance(&self, _: u64) {}
}

/// The quickstart's English model, grown.
fn clone(noise: Option<NoiseWords>) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/quickstart/en");
    let words = Grow { width: 2, intermediate: 2, noise, head: None, factor: None };
    let recipe = grow::recipe(&small.to_string_lossy(), &words, None);
    let cancel = AtomicBool::new(false);
    let options =
        grow::Options { existing: Existing::Refuse, sync: Sync::System, threads: 2, cancel: &cancel };
    grow::write(&recipe, &folder.path().join("grown"), &options, &Quiet).unwrap();
    Model::open(&folder.path().join("grown")).unwrap()
}

/// What HyperCloning's symmetry does to training, and what breaks it.
#[test]
fn a_clone_without_noise_stays_one_and_a_noisy_one_does_not() {
    let after = |noise: Option<NoiseWords>| {
        let model = clone(noise);
        let before = asymmetry(&model, 2).unwrap();
        let mut trainer = Trainer::new(model, &Optimizer::default(), None, 2).unwrap();
        for _ in 0..20 {
            trainer.step(&batch(8, 64), 3e-3).unwrap();
        }
        (before, asymmetry(trainer.model(), 2).unwrap())
    };
    let (before, end) = after(None);
    assert!(before < 1e-7 && end < 1e-5, "{before} {end}");
    let (before, end) = after(Some(NoiseWords { snr: Amount(10.0), seed: 1 }));
    assert!(before > 0.2 && end > 0.1, "{before} {end}");
}

/// A mistake of a caller that ends a worker ends the step: nobody waits for the worker's turn.
#[test]
fn a_worker_that_panics_ends_the_step() {
    let mut trainer = trainer(&Optimizer::default(), 1, 2);
    let mut sequences = vec![vec![0u32; 9]; 6];
    sequences[0][3] = u32::MAX;
    let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| trainer.step(&sequences, 0.1)));
    assert!(step.is_err());
}
