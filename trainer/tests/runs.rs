//! Whole runs: the same bits after an interruption, and a clear message for what cannot be.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use growmerge::problem::{Error, ExecError};
use growmerge_trainer::train::config::{Run, Start};
use growmerge_trainer::train::{self, About, Finished, Line, Options, Unfinished, Watch, read_metrics};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A small run on the quickstart's texts.
fn described(change: impl Fn(&mut Run)) -> Run {
    let quickstart = root().join("recipes/quickstart");
    let text = |language: &str| quickstart.join("texts").join(format!("{language}.txt"));
    let yaml = format!(
        r#"
start: {{checkpoint: {en}}}
sequence: 32
batch: 4
micro_batch: 2
steps: 12
schedule: {{warmup: 2, decay: 4}}
data:
  sources:
    - {{name: fo, text: [{fo}], weight: 1.0}}
    - {{name: en, text: [{text}], replay: 0.25}}
validation: {{texts: {{fo: {fo}}}, every: 6}}
checkpoints: {{every: 4, keep: [5]}}
"#,
        en = quickstart.join("en").display(),
        fo = text("fo").display(),
        text = text("en").display(),
    );
    let mut run: Run = serde_yaml::from_str(&yaml).unwrap();
    change(&mut run);
    run
}

/// Cancels after so many steps of this process.
struct After<'c> {
    steps: u64,
    seen: AtomicU64,
    cancel: &'c AtomicBool,
}

impl Watch for After<'_> {
    fn begin(&self, _about: &About<'_>) {}

    fn line(&self, line: &Line) {
        let step = matches!(line, Line::Step { .. });
        if step && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.steps {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }
}

fn carry_out(
    run: &Run,
    out: &Path,
    unfinished: Unfinished,
    steps: u64,
    threads: usize,
) -> Result<Finished, Error> {
    let cancel = AtomicBool::new(false);
    let options = Options { threads, unfinished, cancel: &cancel, shards: None };
    train::run(run, out, &options, &After { steps, seen: AtomicU64::new(0), cancel: &cancel })
}

/// What must not depend on how a run went: steps without their times, measurements, weights.
type Outcome = (Vec<(u64, f64, f64)>, Vec<Line>, Vec<u8>);

fn outcome(out: &Path) -> Outcome {
    let lines = read_metrics(&out.join("metrics.jsonl")).unwrap();
    let steps = lines.iter().filter_map(|l| match l {
        Line::Step { step, loss, gradient_norm, .. } => Some((*step, *loss, *gradient_norm)),
        Line::Measured { .. } => None,
    });
    let measured = lines.iter().filter(|l| matches!(l, Line::Measured { .. })).cloned();
    (steps.collect(), measured.collect(), std::fs::read(out.join("model.safetensors")).unwrap())
}

fn problem(result: Result<Finished, Error>) -> String {
    match result {
        Err(Error::Input(problems)) => problems.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_that_was_interrupted_anywhere_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let run = described(|_| {});
    let whole = folder.path().join("whole");
    let finished = carry_out(&run, &whole, Unfinished::Refuse, u64::MAX, 2).unwrap();
    assert_eq!((finished.steps, finished.tokens), (12, 12 * 4 * 32));
    let want = outcome(&whole);
    assert_eq!(want.0.len(), 12);
    assert_eq!(want.1.iter().map(Line::step).collect::<Vec<_>>(), [0, 6, 12]);
    assert!(whole.join("step-5/model.safetensors").is_file());
    assert!(!whole.join("state.safetensors").exists(), "a state is for continuing");

    let parts = folder.path().join("parts");
    for (steps, threads) in [(1, 1), (5, 2), (1, 3)] {
        let stopped = carry_out(&run, &parts, Unfinished::Continue, steps, threads);
        assert!(matches!(stopped, Err(Error::Exec(ExecError::Interrupted))), "{stopped:?}");
        assert!(!parts.join("training.json").exists());
    }
    let said = problem(carry_out(&run, &parts, Unfinished::Refuse, 1, 1));
    assert!(said.contains("step 7") && said.contains("--resume"), "{said}");
    carry_out(&run, &parts, Unfinished::Continue, u64::MAX, 1).unwrap();
    assert!(outcome(&parts) == want);

    // Finished runs are left alone, and known by what they are of.
    let again = carry_out(&run, &whole, Unfinished::Refuse, u64::MAX, 1).unwrap();
    assert_eq!(again, finished);
    let other = described(|run| run.seed = 2);
    let said = problem(carry_out(&other, &whole, Unfinished::Continue, 1, 1));
    assert!(said.contains("another configuration"), "{said}");
}

/// A kill leaves no state but the last one; what was done since is done again.
#[test]
fn a_run_that_was_killed_continues_from_its_last_state() {
    let folder = tempfile::tempdir().unwrap();
    let run = described(|run| run.validation = None);
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    carry_out(&run, &whole, Unfinished::Refuse, u64::MAX, 2).unwrap();
    let stopped = carry_out(&run, &killed, Unfinished::Refuse, 8, 2);
    assert!(matches!(stopped, Err(Error::Exec(ExecError::Interrupted))));
    // As if steps 9 and 10 had been taken after the state, and the last line been cut off.
    let metrics = killed.join("metrics.jsonl");
    let mut text = std::fs::read_to_string(&metrics).unwrap();
    let line = text.lines().last().unwrap().replace("\"step\":8", "\"step\":9");
    text += &(line.clone() + "\n" + &line[..20]);
    std::fs::write(&metrics, text).unwrap();
    carry_out(&run, &killed, Unfinished::Continue, u64::MAX, 2).unwrap();
    assert!(outcome(&killed) == outcome(&whole));
}

#[test]
fn what_cannot_be_is_said_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let refuse = |run: &Run| problem(carry_out(run, &out, Unfinished::Refuse, 1, 1));
    let said = refuse(&described(|run| {
        run.optimizer.lr = f64::NAN;
        run.checkpoints.keep = vec![13];
        run.checkpoints.dtype = "int8".into();
    }));
    for part in ["optimizer.lr", "no step 13", "`int8` is not one of float32"] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
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
}

#[test]
fn a_loss_that_runs_away_ends_the_run_and_keeps_the_last_good_state() {
    let folder = tempfile::tempdir().unwrap();
    let run = described(|run| {
        run.steps = 400;
        run.optimizer.lr = 30.0;
        run.optimizer.clip = None;
        run.optimizer.weight_decay = 0.0;
        run.checkpoints.keep.clear();
        run.checkpoints.every = 1;
        run.validation = None;
    });
    let said = problem(carry_out(&run, folder.path(), Unfinished::Refuse, u64::MAX, 2));
    assert!(said.contains("step ") && said.contains("lower learning rate"), "{said}");
    assert!(folder.path().join("state.safetensors").is_file());
    assert!(!folder.path().join("model.safetensors").exists());
}
