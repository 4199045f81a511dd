//! A small run on the quickstart's texts, carried out and looked at.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use growmerge::problem::{Error, ExecError};
use growmerge_trainer::train::config::Run;
use growmerge_trainer::train::{self, About, Finished, Line, Options, Unfinished, Watch, read_metrics};

pub(crate) fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/quickstart")
}

pub(crate) fn described(change: impl Fn(&mut Run)) -> Run {
    let quickstart = quickstart();
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

/// Cancels after so many steps of this process, and listens.
pub(crate) struct After<'c> {
    steps: u64,
    seen: AtomicU64,
    warnings: Mutex<String>,
    cancel: &'c AtomicBool,
}

impl Watch for After<'_> {
    fn begin(&self, about: &About<'_>) {
        *self.warnings.lock().unwrap() = about.warnings.to_string();
        if self.steps == 0 {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }

    fn line(&self, line: &Line) {
        let step = matches!(line, Line::Step { .. });
        if step && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.steps {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }
}

pub(crate) fn carry_out(
    run: &Run,
    out: &Path,
    unfinished: Unfinished,
    steps: u64,
    threads: usize,
) -> Result<Finished, Error> {
    let cancel = AtomicBool::new(false);
    let options = Options { threads, unfinished, cancel: &cancel, shards: None };
    let (seen, warnings) = Default::default();
    train::run(run, out, &options, &After { steps, seen, warnings, cancel: &cancel })
}

/// To the end, in a new folder.
pub(crate) fn whole(run: &Run, out: &Path) -> Finished {
    carry_out(run, out, Unfinished::Refuse, u64::MAX, 2).unwrap()
}

pub(crate) fn interrupted(result: &Result<Finished, Error>) -> bool {
    matches!(result, Err(Error::Exec(ExecError::Interrupted)))
}

/// What a run warns of before its first step.
pub(crate) fn warnings(run: &Run) -> String {
    let out = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let options = Options { threads: 1, unfinished: Unfinished::Refuse, cancel: &cancel, shards: None };
    let (seen, warnings) = Default::default();
    let watch = After { steps: 0, seen, warnings, cancel: &cancel };
    assert!(interrupted(&train::run(run, out.path(), &options, &watch)));
    watch.warnings.into_inner().unwrap()
}

/// What must not depend on how a run went: steps without their times, measurements, what came of it, weights.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) steps: Vec<(u64, f64, f64)>,
    pub(crate) measured: Vec<Line>,
    pub(crate) finished: Finished,
    weights: Weights,
}

/// Of the end, and those kept on the way.
#[derive(PartialEq)]
struct Weights(Vec<Vec<u8>>);

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|b| growmerge::write::sha256_hex(b))).finish()
    }
}

pub(crate) fn outcome(out: &Path) -> Outcome {
    let lines = read_metrics(&out.join("metrics.jsonl")).unwrap();
    let steps = lines.iter().filter_map(|l| match l {
        Line::Step { step, loss, gradient_norm, .. } => Some((*step, *loss, *gradient_norm)),
        Line::Measured { .. } => None,
    });
    let measured = lines.iter().filter(|l| matches!(l, Line::Measured { .. })).cloned();
    let finished: Finished =
        serde_json::from_slice(&std::fs::read(out.join("training.json")).unwrap()).unwrap();
    let model = |folder: PathBuf| std::fs::read(folder.join("model.safetensors"));
    let mut weights = vec![model(out.to_owned()).unwrap()];
    weights.extend(model(out.join("step-5")).ok());
    Outcome {
        steps: steps.collect(),
        measured: measured.collect(),
        finished: Finished { seconds: 0.0, ..finished },
        weights: Weights(weights),
    }
}

pub(crate) fn problem(result: Result<Finished, Error>) -> String {
    match result {
        Err(Error::Input(problems)) => problems.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Files and folders, by name.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
