//! A whole run: from its description to a model, through any number of interruptions.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use growmerge::problem::{Error, ExecError, Problem, Problems};

use super::config::Run;
use super::divergence::{Divergence, Verdict};
use super::finished::Finished;
use super::folder::{Folder, Found};
use super::metrics::{Line, Metrics, read as read_metrics};
use super::opened::Opened;
use super::trainer::Step;
use super::{asymmetry, curves, state, store};
use crate::data::Share;

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
    /// What the user should know of model and texts.
    pub warnings: &'a Problems,
    /// Steps that were taken before an interruption.
    pub done: u64,
}

/// Carries out a run in the folder `out`. A folder in which it is complete already is left as it is.
///
/// # Errors
/// What is wrong with the description, its files or the folder; a loss that diverges; what the machine does.
pub fn run(run: &Run, out: &Path, options: &Options<'_>, watch: &dyn Watch) -> Result<Finished, Error> {
    run.check()?;
    let run = run.resolved();
    let folder = Folder::lock(out)?;
    let shards = options.shards.map_or_else(|| out.join("shards"), Path::to_owned);
    let mut opened = Opened::new(&run, options.threads, &shards)?;
    match folder.look(&opened.identity, &run)? {
        Found::Finished(finished) => return Ok(finished),
        Found::Nothing => {}
        Found::Unfinished => {
            state::load(&mut opened.trainer, &opened.identity, &folder.state())?;
            if options.unfinished == Unfinished::Refuse {
                let what = format!("an unfinished run is here, at step {}", opened.trainer.optimizer().steps);
                let problem = Problem::error(out.display().to_string(), what);
                return Err(problem.hint("--resume continues it").into());
            }
        }
    }
    folder.claim(&opened.identity, &run)?;
    Training::begin(&run, &folder, *options, watch, opened)?.go()
}

/// A run on its way.
struct Training<'a> {
    run: &'a Run,
    folder: &'a Folder,
    options: Options<'a>,
    watch: &'a dyn Watch,
    opened: Opened,
    metrics: Metrics,
    divergence: Divergence,
    started: Instant,
}

impl<'a> Training<'a> {
    fn begin(
        run: &'a Run,
        folder: &'a Folder,
        options: Options<'a>,
        watch: &'a dyn Watch,
        opened: Opened,
    ) -> Result<Self, Error> {
        let Opened { trainer, corpus, warnings, .. } = &opened;
        let done = trainer.optimizer().steps;
        let parameters = trainer.model().values().len();
        watch.begin(&About { run, parameters, shares: corpus.shares(), warnings, done });
        let metrics = Metrics::open(&folder.metrics(), done)?;
        let mut divergence = Divergence::new(run.batch);
        for line in read_metrics(&folder.metrics())? {
            if let Line::Step { loss, gradient_norm, .. } = line {
                divergence.notice(Step { loss, gradient_norm });
            }
        }
        Ok(Self { run, folder, options, watch, opened, metrics, divergence, started: Instant::now() })
    }

    fn go(mut self) -> Result<Finished, Error> {
        let (run, done) = (self.run, self.opened.trainer.optimizer().steps);
        let every = run.validation.as_ref().map_or(u64::MAX, |v| v.every);
        let mut sequences = vec![Vec::new(); run.batch];
        let mut due = false;
        for step in done..run.steps {
            let cancelled = self.options.cancel.load(Ordering::Relaxed);
            if cancelled && step == done {
                return Err(ExecError::Interrupted.into());
            }
            if !cancelled && step % every == 0 {
                self.measure(step)?;
            }
            for (i, sequence) in sequences.iter_mut().enumerate() {
                self.opened.corpus.sequence(step * run.batch as u64 + i as u64, sequence)?;
            }
            let seen = self.opened.trainer.look(&sequences)?;
            let verdict = self.divergence.notice(seen);
            if let Verdict::Diverged(why) = verdict {
                return Err(self.diverged(step + 1, &why));
            }
            self.keep(step)?;
            // A state is kept only when the next batch has shown that it is good.
            due |= cancelled || (step > done && step % run.checkpoints.every == 0);
            if due && verdict == Verdict::Good {
                self.save_state()?;
                due = false;
            }
            if cancelled {
                return Err(ExecError::Interrupted.into());
            }
            let lr = run.optimizer.lr * run.schedule.factor(step, run.steps);
            self.opened.trainer.update(seen, lr);
            self.add(Line::Step {
                step: step + 1,
                loss: seen.loss,
                lr,
                gradient_norm: seen.gradient_norm,
                tokens: run.tokens(step + 1),
                seconds: self.started.elapsed().as_secs_f64(),
            })?;
        }
        let seconds = if done < run.steps { self.started.elapsed().as_secs_f64() } else { 0.0 };
        if !self.opened.trainer.model().values().iter().all(|w| w.is_finite()) {
            return Err(self.diverged(run.steps, "a weight is not a number"));
        }
        self.keep(run.steps)?;
        // Whatever stops the rest, it can be done again.
        self.save_state()?;
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(ExecError::Interrupted.into());
        }
        self.measure(run.steps)?;
        self.save_model(self.folder.path())?;
        self.metrics.sync()?;
        let lines = read_metrics(&self.folder.metrics())?;
        let Opened { identity, trainer, .. } = self.opened;
        let finished = Finished::new(identity, run, trainer.model(), &lines, seconds);
        self.folder.finish(&finished, &curves::picture(&lines))?;
        Ok(finished)
    }

    fn add(&mut self, line: Line) -> Result<(), ExecError> {
        self.metrics.add(&line)?;
        self.watch.line(&line);
        Ok(())
    }

    fn measure(&mut self, step: u64) -> Result<(), Error> {
        let Opened { trainer, held, .. } = &self.opened;
        let held = held.as_ref().map(|h| h.measure(trainer.model(), self.options.threads)).transpose()?;
        let asymmetry = asymmetry(trainer.model(), 2);
        Ok(self.add(Line::Measured { step, validation: held.unwrap_or_default(), asymmetry })?)
    }

    fn save_model(&self, out: &Path) -> Result<(), Error> {
        store::save_model(self.opened.trainer.model(), self.run.checkpoints.dtype, &self.opened.beside, out)
    }

    /// Keeps the model after a step for good, if that was asked for.
    fn keep(&self, step: u64) -> Result<(), Error> {
        let wanted = self.run.checkpoints.keep.contains(&step);
        if wanted { self.save_model(&self.folder.of_step(step)) } else { Ok(()) }
    }

    fn save_state(&mut self) -> Result<(), ExecError> {
        self.metrics.sync()?;
        state::save(&self.opened.trainer, &self.opened.identity, &self.folder.state())
    }

    /// What to say when the loss ran away; the last good model is then in a folder of its own.
    fn diverged(&mut self, step: u64, why: &str) -> Error {
        let out = self.folder.last_good();
        let loaded = state::load(&mut self.opened.trainer, &self.opened.identity, &self.folder.state());
        let written =
            loaded.and_then(|found| if found { self.save_model(&out).map(|()| true) } else { Ok(false) });
        let remedy = "with a lower learning rate, a longer warm-up or clipping";
        let hint = match written {
            Ok(true) => format!(
                "begin another run {remedy}, and if you like from the last good model, after step {}:\n  start: {{checkpoint: {}}}",
                self.opened.trainer.optimizer().steps,
                out.display()
            ),
            Ok(false) => format!("begin another run {remedy}; no state was kept before"),
            Err(e) => format!("begin another run {remedy}; the last good model could not be kept: {e}"),
        };
        let at = self.folder.path().display().to_string();
        Problem::error(at, format!("step {step}: {why}")).hint(hint).into()
    }
}
