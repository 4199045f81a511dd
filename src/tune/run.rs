//! The loop: merge, look, step; every now and then a look at what is held out.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::adam::schedule;
use super::merged::{KEPT, Sources};
use super::model::Merged;
use super::objective::{Goal, bits};
use super::space::Space;
use super::state::{self, State};
use super::{Settings, write};
use crate::decoder::{Accumulator, Config, Decoder};
use crate::device::cpu::Cpu;
use crate::eval::measure;
use crate::execute::{Observer, Options};
use crate::plan::Plan;
use crate::problem::{Error, ExecError, Problem, Problems};

/// How learning is carried out; no number depends on it.
#[derive(Clone, Copy)]
pub struct Running<'a> {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Set from outside to stop; the state of the last look is kept.
    pub cancel: &'a AtomicBool,
    /// Is told how it goes.
    pub watch: &'a dyn Watch,
    /// A file for the state, so that an interrupted run can be continued. It stays when learning ends, so that nothing is lost
    /// if the result cannot be written; who wrote that removes it.
    pub state: Option<&'a Path>,
}

/// Is told how learning goes.
pub trait Watch: Sync {
    /// A step was taken, or a point of a search tried; what each language was worth in it, before the step.
    fn step(&self, step: u64, bits: &[f64]);
    /// What is held out was looked at.
    fn looked(&self, evaluation: &Evaluation);
}

/// A look at what is held out.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Evaluation {
    /// Steps taken, or points tried, before.
    pub step: u64,
    /// Bits per byte of each language, in the order of the goal; of pairs the part that is judged wrong.
    pub bits: Vec<f64>,
    /// The objective.
    pub value: f64,
}

/// Learned coefficients.
#[derive(Debug)]
pub struct Tuned {
    /// What they are of.
    pub space: Space,
    /// Those with the lowest objective on what is held out.
    pub best: Vec<f64>,
    /// Every look, in order; the first is of the recipe as it was given.
    pub looks: Vec<Evaluation>,
    /// The step of the best.
    pub step: u64,
}

/// Evaluation takes little time beside learning, and is told of when it is done.
pub(super) struct Quiet;

impl Observer for Quiet {
    fn advance(&self, _: u64) {}
}

/// Learns the coefficients of a plan.
///
/// # Errors
/// If the plan is no sum of differences, or the decoder does not know its architecture; a loss that is no number; a state
/// of another run; [`ExecError::Interrupted`]; what the machine does.
pub fn tune(plan: &Plan, goal: &Goal, settings: &Settings, running: &Running<'_>) -> Result<Tuned, Error> {
    let space = Space::new(plan, settings.groups)?;
    let pool = pool(running.threads)?;
    let identity = state::identity(plan, goal, settings);
    let begun = match running.state {
        Some(path) => State::read(path, &identity, space.len())?,
        None => None,
    };
    let best =
        pool.install(|| Learner { plan, goal, settings, running, space: &space }.run(begun, &identity))?;
    let State { best, best_step, looks, .. } = best;
    Ok(Tuned { space, best, looks, step: best_step })
}

impl Tuned {
    /// Writes the coefficients.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, plan: &Plan, path: &Path) -> Result<(), ExecError> {
        write::coefficients(plan, &self.space, &self.best, path)
    }

    /// The recipe that merges with the coefficients in `file`.
    ///
    /// # Errors
    /// If the plan's recipe has no `models:`.
    pub fn recipe(&self, plan: &Plan, file: &str) -> Result<String, Problems> {
        write::recipe(plan, &self.space.entries, file)
    }

    /// The best look and the first.
    pub fn gain(&self) -> Option<(&Evaluation, &Evaluation)> {
        Some((self.looks.iter().find(|look| look.step == self.step)?, self.looks.first()?))
    }
}

struct Learner<'a> {
    plan: &'a Plan,
    goal: &'a Goal,
    settings: &'a Settings,
    running: &'a Running<'a>,
    space: &'a Space,
}

impl Learner<'_> {
    fn run(&self, begun: Option<State>, identity: &str) -> Result<State, Error> {
        let Self { plan, goal, settings, running, space } = *self;
        let (host, options) = (Cpu::new(), Options { threads: running.threads, cancel: running.cancel });
        let mut merged = Merged::new(plan);
        let sources = Sources::open(&host, &options, plan, space, &mut merged, KEPT)?;
        let mut accumulator = Accumulator::new(&merged, running.threads);
        let teachers = goal.teachers()?;
        let mut turns = goal.turns(settings.seed);
        let mut state = match begun {
            Some(state) => state,
            None => {
                let mut state = State::new(&space.start);
                sources.merge(&state.x, &mut merged)?;
                let first = self.look(&merged, 0)?;
                state.looked(first);
                state
            }
        };
        // Texts are read as if nothing had been interrupted.
        for _ in 0..state.adam.steps {
            goal.skip(&mut turns, settings.tokens);
        }
        while state.adam.steps < settings.steps && state.since_best() < settings.patience {
            sources.merge(&state.x, &mut merged)?;
            let packed = goal.next(&mut turns, settings, &teachers);
            let losses = accumulator.gradients(&decoder(plan, &merged, goal.context)?, &packed.batches);
            let seen = goal.seen(&packed, &losses);
            drop(packed); // what teachers predict is large
            let gradient = sources.pull(&state.x, accumulator.total())?;
            let step = state.adam.steps;
            if !seen.iter().chain(&gradient).all(|x| x.is_finite()) {
                let what = format!("the loss or its gradient is no number at step {step}");
                let hint = "lower --rate; begin with smaller weights";
                return Err(Problem::error(&plan.recipe.0, what).hint(hint).into());
            }
            let rate = settings.rate * schedule(step, settings.steps);
            state.adam.step(&mut state.x, &gradient, rate);
            running.watch.step(step, &seen);
            let stopped = running.cancel.load(Ordering::Relaxed);
            let step = state.adam.steps;
            let due = step % settings.every.max(1) == 0 || step == settings.steps;
            if stopped || due {
                sources.check_intact()?;
                goal.check_intact()?;
                // Also where it was stopped: who goes on takes the next step first.
                if due {
                    sources.merge(&state.x, &mut merged)?;
                    state.looked(self.look(&merged, step)?);
                }
                if let Some(path) = running.state {
                    state.write(path, identity)?;
                }
                if stopped {
                    return Err(ExecError::Interrupted.into());
                }
            }
        }
        Ok(state)
    }

    /// Measures what is held out.
    fn look(&self, merged: &Merged, step: u64) -> Result<Evaluation, Error> {
        let decoder = decoder(self.plan, merged, self.goal.context)?;
        let bits = bits(&measure(&decoder, &self.goal.watched(), self.running.threads, &Quiet));
        let evaluation = Evaluation { step, value: self.goal.value(&bits), bits };
        if !evaluation.value.is_finite() {
            let what = "the merged model computes no number for some token";
            return Err(Problem::error(&self.plan.recipe.0, what).into());
        }
        self.running.watch.looked(&evaluation);
        Ok(evaluation)
    }
}

/// The merged model, for windows of so many tokens.
pub(super) fn decoder<'m>(plan: &Plan, merged: &'m Merged, context: usize) -> Result<Decoder<'m>, Error> {
    let (name, config) = (&plan.recipe.0, plan.config.clone().unwrap_or_default());
    let config = Config::read(&config, &format!("{name}: config.json"))?;
    Ok(Decoder::new(config, merged, name, context)?)
}

/// The threads that merging runs on.
pub(super) fn pool(threads: usize) -> Result<rayon::ThreadPool, ExecError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| ExecError::Memory { what: format!("cannot start threads: {e}") })
}
