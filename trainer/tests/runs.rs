//! Whole runs: the same bits after an interruption, and a clear message for what cannot be.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod run;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use growmerge::execute::Observer;
use growmerge::recipe::{Amount, Grow, NoiseWords};
use growmerge::write::{Existing, Sync};
use growmerge_trainer::grow;
use growmerge_trainer::train::config::{Run, Start};
use growmerge_trainer::train::{Line, Unfinished};
use run::{carry_out, described, interrupted, names, outcome, problem, warnings, whole};

#[test]
fn a_run_that_was_interrupted_anywhere_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let run = described(|_| {});
    let out = folder.path().join("whole");
    let finished = whole(&run, &out);
    assert_eq!((finished.steps, finished.tokens), (12, 12 * 4 * 32));
    let want = outcome(&out);
    assert_eq!(want.steps.len(), 12);
    assert_eq!(want.measured.iter().map(Line::step).collect::<Vec<_>>(), [0, 6, 12]);
    // A tenth of twelve steps are two.
    assert_eq!(finished.loss, (want.steps[10].1 + want.steps[11].1) / 2.0);
    let left = names(&out);
    for wanted in ["config.json", "curves.svg", "model.safetensors", "run.yaml", "step-5", "tokenizer.json"] {
        assert!(left.iter().any(|name| name == wanted), "{wanted} in {left:?}");
    }
    let continuation =
        |name: &String| name.starts_with("state") || name.starts_with("run.") && name != "run.yaml";
    assert!(!left.iter().any(continuation), "only a continuation needs {left:?}");

    let parts = folder.path().join("parts");
    for (steps, threads) in [(0, 1), (1, 1), (5, 2), (1, 3)] {
        let stopped = carry_out(&run, &parts, Unfinished::Continue, steps, threads);
        assert!(interrupted(&stopped), "{stopped:?}");
        assert!(!parts.join("training.json").exists());
    }
    let said = problem(carry_out(&run, &parts, Unfinished::Refuse, 1, 1));
    assert!(said.contains("step 7") && said.contains("--resume"), "{said}");
    // The last step is taken, and nothing that follows it.
    assert!(interrupted(&carry_out(&run, &parts, Unfinished::Continue, 5, 1)));
    assert!(!parts.join("model.safetensors").exists());
    carry_out(&run, &parts, Unfinished::Continue, u64::MAX, 1).unwrap();
    assert_eq!(outcome(&parts), want);

    // Finished runs are left alone, and known by what they are of.
    let again = carry_out(&run, &out, Unfinished::Refuse, u64::MAX, 1).unwrap();
    assert_eq!(again, finished);
    let other = described(|run| run.seed = 2);
    let said = problem(carry_out(&other, &out, Unfinished::Continue, 1, 1));
    assert!(said.contains("another configuration"), "{said}");
}

/// A kill leaves no state but the last one; what was done since is done again.
#[test]
fn a_run_that_was_killed_continues_from_its_last_state() {
    let folder = tempfile::tempdir().unwrap();
    let run = described(|run| run.validation = None);
    let (all, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    whole(&run, &all);
    assert!(interrupted(&carry_out(&run, &killed, Unfinished::Refuse, 8, 2)));
    // As if steps 9 and 10 had been taken after the state, and the last line been cut off.
    let metrics = killed.join("metrics.jsonl");
    let mut text = std::fs::read_to_string(&metrics).unwrap();
    let line = text.lines().last().unwrap().replace("\"step\":8", "\"step\":9");
    text += &(line.clone() + "\n" + &line[..20]);
    // In the middle of an ø.
    std::fs::write(&metrics, [text.as_bytes(), &[0xc3]].concat()).unwrap();
    carry_out(&run, &killed, Unfinished::Continue, u64::MAX, 2).unwrap();
    assert_eq!(outcome(&killed), outcome(&all));
}

/// What is printed, and written as `run.yaml`, has every default; read again it is the same run.
#[test]
fn a_description_with_its_defaults_is_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = described(|run| {
        run.micro_batch = None;
        run.schedule = Default::default();
        run.steps = 20;
    });
    let finished = whole(&run, &out);
    let text = std::fs::read_to_string(out.join("run.yaml")).unwrap();
    for line in ["warmup: 1", "decay: 4", "micro_batch: 16", "tokenizer: "] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let read = Run::read(&out.join("run.yaml")).unwrap();
    assert_eq!(read, read.resolved());
    assert_eq!(carry_out(&read, &out, Unfinished::Refuse, 1, 1).unwrap(), finished);
}

#[test]
fn what_cannot_be_is_said_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let refuse = |run: &Run| problem(carry_out(run, &out, Unfinished::Refuse, 1, 1));
    let said = refuse(&described(|run| {
        run.optimizer.lr = f64::NAN;
        run.checkpoints.keep = vec![13];
        run.schedule.warmup = Some(11);
    }));
    for part in ["optimizer.lr", "no step 13", "warm-up and decay are 11 and 4 steps of 12"] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    // Steps of decay that nobody gave count as well.
    let said = refuse(&described(|run| {
        (run.steps, run.schedule.warmup, run.schedule.decay) = (100, Some(90), None);
    }));
    assert!(said.contains("90 and 20 steps of 100"), "{said}");
    let said = refuse(&described(|run| (run.steps, run.batch) = (1 << 40, 1 << 20)));
    assert!(said.contains("more than 2^53 tokens"), "{said}");
    let said = refuse(&described(|run| (run.batch, run.sequence) = (1 << 24, 1 << 22)));
    assert!(said.contains("more than 2^28 tokens in a step") && !said.contains("2^53"), "{said}");
    let said = refuse(&described(|run| run.start = Start::Checkpoint("nowhere".into())));
    assert!(said.contains("nowhere"), "{said}");
    let said = refuse(&described(|run| run.sequence = 1 << 20));
    assert!(said.contains("fo"), "{said}");
    let said = refuse(&described(|run| {
        run.steps = 100_000;
        run.data.max_epochs = 2.0;
    }));
    assert!(said.contains("epochs"), "{said}");
    assert!(!out.join("run.yaml").exists(), "nothing began");

    let description = folder.path().join("run.yaml");
    let yaml = serde_yaml::to_string(&described(|_| {})).unwrap();
    std::fs::write(&description, yaml.replace("dtype: bfloat16", "dtype: int8")).unwrap();
    let said = Run::read(&description).unwrap_err().to_string();
    assert!(said.contains("int8") && said.contains("float16"), "{said}");
}

#[test]
fn a_sequence_beyond_the_models_positions_is_warned_of() {
    assert_eq!(warnings(&described(|_| {})), "");
    let said = warnings(&described(|run| {
        let config = std::fs::read(run::quickstart().join("en/config.json")).unwrap();
        let mut config: serde_json::Map<_, _> = serde_json::from_slice(&config).unwrap();
        config.insert("max_position_embeddings".into(), 16.into());
        run.tokenizer = Some(run::quickstart().join("en"));
        run.start = Start::Scratch(config);
    }));
    assert!(said.contains("warning: sequence: 32 tokens") && said.contains("16"), "{said}");
}

struct Silent;

impl Observer for Silent {
    fn advance(&self, _: u64) {}
}

fn grown(width: usize, intermediate: usize, noise: Option<NoiseWords>, out: &Path) {
    let words = Grow { width, intermediate, noise, head: None, factor: None };
    let recipe = grow::recipe(run::quickstart().join("en").to_str().unwrap(), &words, Some("float32"));
    let cancel = AtomicBool::new(false);
    let how = grow::Options { existing: Existing::Refuse, sync: Sync::System, threads: 1, cancel: &cancel };
    grow::write(&recipe, out, &how, &Silent).unwrap();
}

/// Whatever was copied, and however often; noise as weak as anybody gives it is enough.
#[test]
fn a_clone_without_noise_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let noise = Some(NoiseWords { snr: Amount(60.0), seed: 1 });
    let cases = [(2, 2, None), (3, 3, None), (2, 3, None), (1, 2, None), (2, 2, noise)];
    for (i, (width, intermediate, noise)) in cases.into_iter().enumerate() {
        let start = folder.path().join(i.to_string());
        let quiet = noise.is_some();
        grown(width, intermediate, noise, &start);
        let said = warnings(&described(|run| run.start = Start::Checkpoint(start.clone())));
        let warned = said.contains("clone without noise") && said.contains("--noise-snr");
        assert_eq!(warned, !quiet, "{width}, {intermediate}: {said}");
    }
}
