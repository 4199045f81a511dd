//! A whole run: from its description to a model, through any number of interruptions.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use growmerge::problem::{Error, ExecError, Problem, Problems};
use growmerge::write::sha256_hex;
use serde::{Deserialize, Serialize};

use super::config::{Run, Start};
use super::divergence::Divergence;
use super::metrics::{Line, Metrics, read as read_metrics};
use super::validation::{Held, Scores};
use super::{Model, Trainer, asymmetry};
use super::{curves, store};
use crate::data::{Corpus, Share};
use crate::files;

/// How a run is carried out: nothing here changes a bit of its result.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// What to do with an unfinished run in the folder.
    pub unfinished: Unfinished,
    /// Set from outside to stop after a step.
    pub cancel: &'a AtomicBool,
    /// Where token shards are kept; in the run's folder if there is no better place.
    pub shards: Option<&'a Path>,
}

/// What to do with an unfinished run of the same description in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// It is an error.
    Refuse,
    /// It is continued.
    Continue,
}

/// Is told how a run goes.
pub trait Watch {
    /// What is about to happen.
    fn begin(&self, about: &About<'_>);
    /// A line of the metrics.
    fn line(&self, line: &Line);
}

/// What is known before the first step.
#[derive(Debug)]
pub struct About<'a> {
    /// The description with every default.
    pub run: &'a Run,
    /// Elements of all tensors.
    pub parameters: usize,
    /// What is read of each text.
    pub shares: &'a [Share],
    /// What the user should know of the texts.
    pub warnings: &'a Problems,
    /// Steps that were taken before an interruption.
    pub done: u64,
    /// See [`asymmetry`], for two copies.
    pub asymmetry: Option<f64>,
}

/// `training.json`: says that a run is complete, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Of description, first weights, tokenizer and texts.
    pub identity: String,
    /// Steps in all.
    pub steps: u64,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// Elements of all tensors.
    pub parameters: usize,
    /// Mean loss over the last tenth of the steps.
    pub loss: f64,
    /// Time of the steps since the last continuation.
    pub seconds: f64,
    /// At the end.
    pub validation: Scores,
    /// At the end; see [`asymmetry`].
    pub asymmetry: Option<f64>,
}

/// The file that is written last.
const FINISHED: &str = "training.json";

/// What a run begins with, opened.
struct Opened {
    tokenizer: PathBuf,
    corpus: Corpus,
    held: Option<Held>,
    trainer: Trainer,
    identity: String,
}

/// Carries out a run in the folder `out`. A folder in which it is complete already is left as it is.
///
/// # Errors
/// What is wrong with the description, its files or the folder; a loss that diverges; what the machine does.
pub fn run(run: &Run, out: &Path, options: &Options<'_>, watch: &dyn Watch) -> Result<Finished, Error> {
    run.check()?;
    files::folder(out)?;
    let _lock = lock(out)?;
    let mut opened = open(run, out, options)?;
    if let Some(finished) = finished(out, &opened.identity)? {
        return Ok(finished);
    }
    let state = out.join("state.safetensors");
    if store::load_state(&mut opened.trainer, &opened.identity, &state)? {
        if options.unfinished == Unfinished::Refuse {
            let what = format!("an unfinished run is here, at step {}", opened.trainer.optimizer().steps);
            return Err(Problem::error(out.display().to_string(), what).hint("--resume continues it").into());
        }
    } else {
        refuse_models(out)?;
    }
    let text = serde_yaml::to_string(run).unwrap_or_default();
    files::write(&out.join("run.yaml"), text.as_bytes())?;
    steps(run, out, options, watch, opened)
}

fn open(run: &Run, out: &Path, options: &Options<'_>) -> Result<Opened, Error> {
    let (model, own) = match &run.start {
        Start::Checkpoint(folder) => (Model::open(folder)?, Some(folder)),
        Start::Scratch(config) => (Model::scratch(config.clone(), run.seed)?, None),
    };
    let tokenizer = run.tokenizer.as_ref().or(own).cloned().ok_or_else(|| {
        Problem::error("tokenizer", "there is none: a model that begins at random needs to be told")
            .hint("tokenizer: a folder with tokenizer.json")
    })?;
    let vocab = model.config().vocab;
    let shards = options.shards.map_or_else(|| out.join("shards"), Path::to_owned);
    let sequences = run.steps * run.batch as u64;
    let corpus = Corpus::open(&run.data, &tokenizer, vocab, run.sequence, sequences, run.seed, &shards);
    let validation = run.validation.as_ref();
    let held = validation.map(|v| Held::open(v, &tokenizer, vocab, run.sequence)).transpose();
    let (corpus, held) = (corpus?, held?);
    let description = serde_json::to_string(run).unwrap_or_default();
    let identity = format!("training 1\0{description}\0{}\0{}", model.sha256(), corpus.sha256());
    let identity = sha256_hex(identity.as_bytes());
    let trainer = Trainer::new(model, &run.optimizer, run.micro_batch, options.threads)?;
    Ok(Opened { tokenizer, corpus, held, trainer, identity })
}

/// What was written when the run ended; an error if another run ended here.
fn finished(out: &Path, identity: &str) -> Result<Option<Finished>, Error> {
    let path = out.join(FINISHED);
    let Ok(bytes) = std::fs::read(&path) else { return Ok(None) };
    let finished = serde_json::from_slice::<Finished>(&bytes).ok();
    match finished.filter(|f| f.identity == identity) {
        Some(finished) => Ok(Some(finished)),
        None => {
            Err(Problem::error(path.display().to_string(), "a run with another configuration ended here")
                .hint("choose another folder, or remove this one")
                .into())
        }
    }
}

/// A model in the folder that no state belongs to is not overwritten.
fn refuse_models(out: &Path) -> Result<(), Problems> {
    if out.join("model.safetensors").exists() {
        return Err(Problem::error(out.display().to_string(), "there is a model already")
            .hint("choose another folder")
            .into());
    }
    Ok(())
}

/// Held while a run goes on; the system drops it with the process.
fn lock(out: &Path) -> Result<File, Error> {
    let path = out.join("run.lock");
    let file = File::create(&path).map_err(ExecError::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Problem::error(out.display().to_string(), "another process trains in this folder").into())
        }
        Err(std::fs::TryLockError::Error(e)) => Err(ExecError::io("lock", &path)(e).into()),
    }
}

fn steps(
    run: &Run,
    out: &Path,
    options: &Options<'_>,
    watch: &dyn Watch,
    opened: Opened,
) -> Result<Finished, Error> {
    let Opened { tokenizer, corpus, held, mut trainer, identity } = opened;
    let state = out.join("state.safetensors");
    let done = trainer.optimizer().steps;
    watch.begin(&About {
        run,
        parameters: trainer.model().values().len(),
        shares: corpus.shares(),
        warnings: corpus.warnings(),
        done,
        asymmetry: asymmetry(trainer.model(), 2),
    });
    let mut metrics = Metrics::open(&out.join("metrics.jsonl"), done)?;
    let measure = |trainer: &Trainer, step: u64| -> Result<Line, Error> {
        let held = held.as_ref().map(|h| h.measure(trainer.model(), options.threads)).transpose()?;
        let asymmetry = asymmetry(trainer.model(), 2);
        Ok(Line::Measured { step, validation: held.unwrap_or_default(), asymmetry })
    };
    let every = run.validation.as_ref().map_or(u64::MAX, |v| v.every);
    let mut divergence = Divergence::new(trainer.model().config().vocab);
    let (mut last, mut losses) = (None, Vec::new());
    let mut sequences = vec![Vec::new(); run.batch];
    let started = Instant::now();
    for step in done..run.steps {
        if step % every == 0 {
            let line = measure(&trainer, step)?;
            metrics.add(&line)?;
            watch.line(&line);
        }
        for (i, sequence) in sequences.iter_mut().enumerate() {
            corpus.sequence(step * run.batch as u64 + i as u64, sequence)?;
        }
        let lr = run.optimizer.lr * run.schedule.factor(step, run.steps);
        let taken = trainer.step(&sequences, lr)?;
        if let Some(why) = divergence.notice(taken) {
            // The state on the disk is the last good one; nothing is written over it.
            return Err(Problem::error(out.display().to_string(), format!("step {}: {why}", step + 1))
                .hint("a lower learning rate, a longer warm-up or clipping; the last good state is kept")
                .into());
        }
        let line = Line::Step {
            step: step + 1,
            loss: taken.loss,
            lr,
            gradient_norm: taken.gradient_norm,
            tokens: (step + 1) * (run.batch * run.sequence) as u64,
            seconds: started.elapsed().as_secs_f64(),
        };
        metrics.add(&line)?;
        watch.line(&line);
        losses.push(taken.loss);
        last = Some(line);
        let cancelled = options.cancel.load(Ordering::Relaxed);
        if run.checkpoints.keep.contains(&(step + 1)) {
            let kept = out.join(format!("step-{}", step + 1));
            store::save_model(trainer.model(), &run.checkpoints.dtype, &tokenizer, &kept)?;
        }
        if cancelled || ((step + 1) % run.checkpoints.every == 0 && step + 1 < run.steps) {
            store::save_state(&trainer, &identity, &state)?;
        }
        if cancelled {
            return Err(ExecError::Interrupted.into());
        }
    }
    let line = measure(&trainer, run.steps)?;
    metrics.add(&line)?;
    watch.line(&line);
    store::save_model(trainer.model(), &run.checkpoints.dtype, &tokenizer, out)?;
    let curves = curves::picture(&read_metrics(&out.join("metrics.jsonl"))?);
    files::write(&out.join("curves.svg"), curves.as_bytes())?;
    let tail = losses.len().div_ceil(10).max(1);
    let tail = &losses[losses.len().saturating_sub(tail)..];
    let (validation, asymmetry) = match line {
        Line::Measured { validation, asymmetry, .. } => (validation, asymmetry),
        Line::Step { .. } => Default::default(),
    };
    let finished = Finished {
        identity,
        steps: run.steps,
        tokens: run.steps * (run.batch * run.sequence) as u64,
        parameters: trainer.model().values().len(),
        loss: tail.iter().sum::<f64>() / tail.len().max(1) as f64,
        seconds: match last {
            Some(Line::Step { seconds, .. }) => seconds,
            _ => 0.0,
        },
        validation,
        asymmetry,
    };
    let text = serde_json::to_string_pretty(&finished).unwrap_or_default() + "\n";
    files::write(&out.join(FINISHED), text.as_bytes())?;
    // What only a continuation needs.
    for left in [state.as_path(), &out.join("run.lock")] {
        let _ = std::fs::remove_file(left);
    }
    Ok(finished)
}
