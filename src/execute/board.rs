//! Who does what: jobs that wait, jobs that run, and the next unit for a worker.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::run::{Context, Run};
use crate::device::Device;
use crate::method::{AnyOperator, RunsOn};
use crate::plan::Plan;
use crate::problem::{Error, ExecError};

/// How far a tensor's merge may run ahead of its hash, in units. A hash keeps up with about two
/// workers, so more would only fill memory.
pub(super) const AHEAD: usize = 4;

/// The shared list of work.
pub(super) struct Board<'a> {
    state: Mutex<State<'a>>,
    /// Signalled when there may be new units, or nothing left to wait for.
    changed: Condvar,
}

struct State<'a> {
    /// Largest first, so that no large one is left for the end.
    fresh: VecDeque<usize>,
    running: Vec<Active<'a>>,
    /// Jobs that a worker is opening.
    opening: usize,
    failed: Option<Error>,
}

struct Active<'a> {
    run: Arc<Run<'a>>,
    pass: Pass,
    /// The next unit that nobody has taken.
    next: usize,
    /// Units of this pass that are done.
    landed: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Measure,
    Merge,
}

enum Task<'a> {
    Open(usize),
    Measure(Arc<Run<'a>>, usize),
    Merge(Arc<Run<'a>>, usize),
}

impl<'a> Active<'a> {
    fn available(&self) -> bool {
        let waits = self.pass == Pass::Merge && self.next >= self.run.hashed.load(Ordering::Acquire) + AHEAD;
        self.next < self.run.units && !waits
    }

    fn take(&mut self) -> Task<'a> {
        let unit = self.next;
        match self.pass {
            Pass::Measure => {
                self.next += self.run.portion;
                Task::Measure(self.run.clone(), unit)
            }
            Pass::Merge => {
                self.next += 1;
                Task::Merge(self.run.clone(), unit)
            }
        }
    }
}

impl<'a> Board<'a> {
    pub(super) fn new(plan: &Plan, jobs: &[usize]) -> Self {
        let mut fresh: Vec<usize> = jobs.to_vec();
        let cost = |j: &usize| plan.jobs[*j].input_bytes(&plan.inputs) * plan.jobs[*j].passes();
        fresh.sort_by_key(|j| std::cmp::Reverse(cost(j)));
        let state = State { fresh: fresh.into(), running: Vec::new(), opening: 0, failed: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop of one worker.
    pub(super) fn work<D: Device>(&self, context: &Context<'a, D>)
    where
        dyn AnyOperator: RunsOn<D>,
    {
        let mut last = None;
        while let Some(task) = self.take(context, last) {
            let done = match task {
                Task::Open(job) => {
                    last = Some(job);
                    self.open(context, job)
                }
                Task::Measure(run, unit) => {
                    last = Some(run.index);
                    self.measure(context, &run, unit)
                }
                Task::Merge(run, unit) => {
                    last = Some(run.index);
                    self.merge(context, &run, unit)
                }
            };
            if let Err(error) = done {
                self.fail(error);
            }
        }
    }

    /// The next task: a unit of the job the worker is at, else a new job, else help with another.
    fn take<D: Device>(&self, context: &Context<'a, D>, last: Option<usize>) -> Option<Task<'a>> {
        let mut state = self.lock();
        loop {
            if context.options.cancel.load(Ordering::Relaxed) && state.failed.is_none() {
                state.failed = Some(ExecError::Interrupted.into());
                self.changed.notify_all();
            }
            if state.failed.is_some() {
                return None;
            }
            let own = state.running.iter_mut().find(|a| Some(a.run.index) == last && a.available());
            if let Some(active) = own {
                return Some(active.take());
            }
            if let Some(job) = state.fresh.pop_front() {
                state.opening += 1;
                return Some(Task::Open(job));
            }
            let open = state.running.iter_mut().filter(|a| a.available());
            if let Some(active) = open.max_by_key(|a| a.run.units - a.next) {
                return Some(active.take());
            }
            if state.running.is_empty() && state.opening == 0 {
                return None;
            }
            // Woken by progress; the time-out only lets an idle worker notice a cancel.
            let wait = self.changed.wait_timeout(state, Duration::from_millis(100));
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn open<D: Device>(&self, context: &Context<'a, D>, job: usize) -> Result<(), Error> {
        let run = Run::open(context, job);
        let mut state = self.lock();
        state.opening -= 1;
        let run = Arc::new(run?);
        if run.units == 0 {
            drop(state);
            run.seal(context)?;
        } else {
            let pass = if run.measures() { Pass::Measure } else { Pass::Merge };
            state.running.push(Active { run, pass, next: 0, landed: 0 });
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Measures a portion of units and as many more of the same pass as there are, then hands over the counts.
    fn measure<D: Device>(
        &self,
        context: &Context<'a, D>,
        run: &Arc<Run<'a>>,
        first: usize,
    ) -> Result<(), Error> {
        let mut tallies = run.tallies();
        let mut unit = first;
        let mut done = 0;
        loop {
            for unit in unit..(unit + run.portion).min(run.units) {
                run.measure(context, unit, &mut tallies)?;
                done += 1;
            }
            let mut state = self.lock();
            if state.failed.is_some() || context.options.cancel.load(Ordering::Relaxed) {
                return Ok(());
            }
            let Some(active) = state.running.iter_mut().find(|a| a.run.index == run.index) else { break };
            if active.next >= run.units {
                break;
            }
            unit = active.next;
            active.next += run.portion;
        }
        run.absorb(tallies);
        if self.landed(run, done) {
            run.conclude(context)?;
            let mut state = self.lock();
            if let Some(active) = state.running.iter_mut().find(|a| a.run.index == run.index) {
                active.pass = if run.measures() { Pass::Measure } else { Pass::Merge };
                (active.next, active.landed) = (0, 0);
            }
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Counts units of a pass as done; true for the worker that did the last.
    fn landed(&self, run: &Run<'a>, units: usize) -> bool {
        let mut state = self.lock();
        match state.running.iter_mut().find(|a| a.run.index == run.index) {
            Some(active) => {
                active.landed += units;
                active.landed == run.units
            }
            None => false,
        }
    }

    fn merge<D: Device>(&self, context: &Context<'a, D>, run: &Arc<Run<'a>>, unit: usize) -> Result<(), Error>
    where
        dyn AnyOperator: RunsOn<D>,
    {
        let piece = run.merge(context, unit)?;
        let complete = run.hand_over(context, unit, piece)?;
        if complete {
            run.seal(context)?;
        }
        let mut state = self.lock();
        if complete {
            state.running.retain(|a| a.run.index != run.index);
        }
        self.changed.notify_all();
        Ok(())
    }

    fn fail(&self, error: Error) {
        let mut state = self.lock();
        // The first failure is the one to report; the others follow from it.
        state.failed.get_or_insert(error);
        self.changed.notify_all();
    }

    /// What came of it, once all workers are back.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.state.into_inner().unwrap_or_else(PoisonError::into_inner).failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
