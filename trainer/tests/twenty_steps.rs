//! Twenty steps of training against PyTorch: the same weights, the same batches, the same settings.
//!
//! `tests/fixtures/make_twenty_steps.py` made the runs, and says what each mistake of a trainer would change.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use growmerge_trainer::train::config::{Optimizer, Schedule};
use growmerge_trainer::train::{Model, Step, Trainer};
use safetensors::SafeTensors;
use serde::Deserialize;

/// Of a loss, in nats per token. Rounding alone moves it by 1e-6, as the fixture's script found; the mildest
/// mistake by 3e-4.
const LOSS_TOLERANCE: f64 = 1e-4;

/// Of the norm of all gradients, as a part of it.
const NORM_TOLERANCE: f64 = 1e-4;

/// Of a weight after the last step. Rounding alone moves it by 7e-7, the mildest mistake by 3e-4.
const WEIGHT_TOLERANCE: f32 = 2e-5;

#[derive(Deserialize)]
struct Record {
    optimizer: Optimizer,
    schedule: Schedule,
    steps: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    lr: f64,
    loss: f64,
    gradient_norm: f64,
}

/// A run that PyTorch made.
struct Fixture {
    folder: PathBuf,
    record: Record,
    /// For each step the sequences of its batch.
    batches: Vec<Vec<Vec<u32>>>,
}

impl Fixture {
    fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/twenty_steps").join(name);
        let record = serde_json::from_slice(&std::fs::read(folder.join("steps.json")).unwrap()).unwrap();
        let bytes = std::fs::read(folder.join("batches.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let ids = file.tensor("ids").unwrap();
        let &[_, batch, length] = ids.shape() else { panic!("ids are {:?}", ids.shape()) };
        let all: Vec<u32> = ids.data().chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
        let sequences: Vec<Vec<u32>> = all.chunks(length).map(<[u32]>::to_vec).collect();
        let batches = sequences.chunks(batch).map(<[Vec<u32>]>::to_vec).collect();
        Self { folder, record, batches }
    }

    /// The same run by the trainer.
    fn train(&self, micro_batch: Option<usize>, threads: usize) -> (Vec<Step>, Model) {
        let model = Model::open(&self.folder).unwrap();
        let mut trainer = Trainer::new(model, &self.record.optimizer, micro_batch, threads).unwrap();
        let steps = self.batches.iter().zip(&self.record.steps);
        let steps = steps.map(|(batch, step)| trainer.step(batch, step.lr).unwrap()).collect();
        (steps, trainer.model().clone())
    }

    /// The largest difference of a weight after the last step, and of which tensor.
    fn difference(&self, model: &Model) -> (f32, String) {
        let bytes = std::fs::read(self.folder.join("final.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<&str> = file.names();
        names.sort_unstable();
        let slots = model.layout().slots();
        assert_eq!(slots.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), names);
        let of_slot = |slot: &growmerge::decoder::Slot| {
            let want = file.tensor(&slot.name).unwrap();
            assert_eq!(want.shape(), slot.shape);
            let want = want.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            let got = &model.values()[slot.range.clone()];
            (got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max), slot.name.clone())
        };
        slots.iter().map(of_slot).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
    }
}

fn fixtures() -> [Fixture; 2] {
    ["gelu_tied", "silu_untied"].map(Fixture::read)
}

#[test]
fn twenty_steps_are_those_of_pytorch() {
    for fixture in fixtures() {
        let (steps, model) = fixture.train(None, 2);
        assert_eq!(steps.len(), 20);
        let mut worst = (0.0, 0.0);
        for (i, (got, want)) in steps.iter().zip(&fixture.record.steps).enumerate() {
            let loss = (got.loss - want.loss).abs();
            let norm = (got.gradient_norm - want.gradient_norm).abs() / want.gradient_norm;
            assert!(loss < LOSS_TOLERANCE, "step {i}: loss {} for {}", got.loss, want.loss);
            assert!(norm < NORM_TOLERANCE, "step {i}: norm {} for {}", got.gradient_norm, want.gradient_norm);
            worst = (loss.max(worst.0), norm.max(worst.1));
        }
        let (far, of) = fixture.difference(&model);
        println!("losses {:.1e}, norms {:.1e}, weights {far:.1e} ({of})", worst.0, worst.1);
        assert!(far < WEIGHT_TOLERANCE, "{of} is {far:e} off");
    }
}

#[test]
fn the_schedule_is_that_of_the_fixtures() {
    for Fixture { record, .. } in fixtures() {
        for (i, step) in record.steps.iter().enumerate() {
            let lr = record.optimizer.lr * record.schedule.factor(i as u64, record.steps.len() as u64);
            assert!((lr - step.lr).abs() < 1e-15, "step {i}: {lr} for {}", step.lr);
        }
    }
}

/// Threads change no bit; the cut into micro-batches changes the order of sums only.
#[test]
fn twenty_steps_depend_on_neither_threads_nor_micro_batches() {
    let [fixture, _] = fixtures();
    let (steps, model) = fixture.train(Some(2), 1);
    for threads in [2, 3] {
        let (others, other) = fixture.train(Some(2), threads);
        assert_eq!(steps, others, "{threads} threads");
        assert_eq!(model.values(), other.values(), "{threads} threads");
    }
    for micro_batch in [1, 3, 8] {
        let (others, other) = fixture.train(Some(micro_batch), 2);
        for (a, b) in steps.iter().zip(&others) {
            assert!(
                (a.loss - b.loss).abs() < LOSS_TOLERANCE / 10.0,
                "{micro_batch}: {} or {}",
                a.loss,
                b.loss
            );
        }
        let far = model.values().iter().zip(other.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < WEIGHT_TOLERANCE, "micro-batches of {micro_batch}: {far:e}");
    }
}
