//! Without a gradient: points are tried, and CMA-ES moves to where they are good.

use std::sync::atomic::Ordering;

use super::aims::Aims;
use super::groups::Groups;
use super::merged::{KEPT, Sources};
use super::model::Merged;
use super::run::{Evaluation, Quiet, Running, Tuned, decoder, pool};
use super::space::Space;
use crate::device::cpu::Cpu;
use crate::eval::{Prepared, measure};
use crate::execute::Options;
use crate::optimise::{Cma, Limits};
use crate::plan::Plan;
use crate::problem::{Error, ExecError, Problem, Problems};

/// Coefficients that a search can have: beyond some fifty dimensions CMA-ES learns the shape of a valley too slowly.
pub const MOST: usize = 50;
/// Factors that are so close together make the same model, as far as anybody can measure.
const SPREAD: f64 = 1e-3;

/// How coefficients are searched for.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Search {
    /// Which elements share a coefficient.
    pub groups: Groups,
    /// Points that are tried at most, the recipe's own among them; at least one generation is.
    pub values: usize,
    /// How far from the recipe's coefficients the first points are, about.
    pub sigma: f64,
    /// Tokens of each text that points are tried on, about.
    pub tokens: usize,
    /// Of points and samples.
    pub seed: u64,
}

impl Search {
    /// Settings that suit a handful of coefficients.
    pub fn of(groups: Groups) -> Self {
        Self { groups, values: 200, sigma: 0.3, tokens: 4096, seed: 0 }
    }

    /// What can be said before a weight is read.
    ///
    /// # Errors
    /// If the plan is no sum of differences, or there are more than [`MOST`] coefficients.
    pub fn check(&self, plan: &Plan) -> Result<(), Problems> {
        space(plan, self.groups).map(drop)
    }
}

/// A point, and what it is worth on what points are tried on.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// Coefficients.
    pub x: Vec<f64>,
    /// The value of each measure, in the order of the aims.
    pub values: Vec<f64>,
    /// The objective; infinite if the model computes no number.
    pub value: f64,
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// As gradients would have it; looks are at the points that were the best so far.
    pub tuned: Tuned,
    /// All points, in order; the first is the recipe as it was given.
    pub tried: Vec<Tried>,
}

/// Searches for the coefficients of a plan. Of the points that were the best so far when they were tried, the one that is
/// best on what is held out is kept. [`Running::state`] is not looked at: a search that was interrupted begins anew.
///
/// # Errors
/// If the plan is no sum of differences, there are more than [`MOST`] coefficients, or the decoder does not know its
/// architecture; [`ExecError::Interrupted`]; what the machine does.
pub fn search(plan: &Plan, aims: &Aims, settings: &Search, running: &Running<'_>) -> Result<Found, Error> {
    let space = space(plan, settings.groups)?;
    let found = pool(running.threads)?.install(|| -> Result<_, Error> {
        let (host, options) = (Cpu::new(), Options { threads: running.threads, cancel: running.cancel });
        let mut merged = Merged::new(plan);
        let sources = Sources::open(&host, &options, plan, &space, &mut merged, KEPT)?;
        let looks = Vec::new();
        let mut seeker = Seeker {
            plan,
            aims,
            running,
            sources,
            merged,
            tried: Vec::new(),
            looks,
            best: (0, f64::INFINITY),
        };
        seeker.first(&space.start)?;
        let limits = Limits { values: settings.values.saturating_sub(1), spread: SPREAD };
        let cma = Cma::new(space.start.clone(), settings.sigma, settings.seed);
        cma.minimise(limits, |points| seeker.generation(points))?;
        Ok((seeker.tried, seeker.looks, seeker.best.0))
    })?;
    let (tried, looks, best) = found;
    let tuned = Tuned { space, best: tried[best].x.clone(), looks, step: best as u64 };
    Ok(Found { tuned, tried })
}

/// The space, unless it is too large.
fn space(plan: &Plan, groups: Groups) -> Result<Space, Problems> {
    let space = Space::new(plan, groups)?;
    if space.len() <= MOST {
        return Ok(space);
    }
    let what = format!(
        "{} of each model makes {} coefficients; a search takes at most {MOST}",
        groups.describe(),
        space.len()
    );
    let coarser = [Groups::Tensor, Groups::Layer, Groups::Model].into_iter().filter(|g| *g < groups);
    let coarser = coarser.filter_map(|g| Some((g, Space::new(plan, g).ok()?.len())));
    let hint = match coarser.into_iter().find(|(_, len)| *len <= MOST) {
        Some((coarser, len)) => {
            format!("`{}`, {}, makes {len}", coarser.name(), coarser.describe())
        }
        None => "merge fewer models".to_owned(),
    };
    Err(Problem::error(format!("groups `{}`", groups.name()), what).hint(hint).into())
}

struct Seeker<'a> {
    plan: &'a Plan,
    aims: &'a Aims,
    running: &'a Running<'a>,
    sources: Sources<'a>,
    merged: Merged,
    tried: Vec<Tried>,
    looks: Vec<Evaluation>,
    /// The point that is kept, and its objective on what is held out.
    best: (usize, f64),
}

impl Seeker<'_> {
    /// Tries the recipe as it was given.
    fn first(&mut self, start: &[f64]) -> Result<(), Error> {
        self.attempt(start)?;
        self.look(0)?;
        if self.tried[0].value.is_finite() && self.best.1.is_finite() {
            return Ok(());
        }
        let what = "the merged model computes no number for some token";
        Err(Problem::error(&self.plan.recipe.0, what).hint("begin with smaller weights").into())
    }

    /// The values of points; the best of them is looked at if none before was better.
    fn generation(&mut self, points: &[Vec<f64>]) -> Result<Vec<f64>, Error> {
        let before = self.tried.iter().map(|t| t.value).fold(f64::INFINITY, f64::min);
        let from = self.tried.len();
        for point in points {
            self.attempt(point)?;
        }
        self.sources.check_intact()?;
        let values: Vec<f64> = self.tried[from..].iter().map(|t| t.value).collect();
        let best = values.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        if let Some((at, _)) = best.filter(|(_, value)| **value < before) {
            self.sources.merge(&points[at], &mut self.merged)?;
            self.look(from + at)?;
        }
        Ok(values)
    }

    fn attempt(&mut self, x: &[f64]) -> Result<(), Error> {
        if self.running.cancel.load(Ordering::Relaxed) {
            return Err(ExecError::Interrupted.into());
        }
        self.sources.merge(x, &mut self.merged)?;
        let (values, value) = self.measured(&self.aims.fit())?;
        self.running.watch.step(self.tried.len() as u64, &values);
        self.tried.push(Tried { x: x.to_vec(), values, value });
        Ok(())
    }

    /// What is held out decides about a point, the model of which is merged.
    fn look(&mut self, at: usize) -> Result<(), Error> {
        let (bits, value) = self.measured(&self.aims.held_out())?;
        if value.is_finite() {
            let look = Evaluation { step: at as u64, bits, value };
            self.running.watch.looked(&look);
            self.looks.push(look);
        }
        // Held-out pairs may not tell two points apart: what they were tried on then does.
        if value <= self.best.1 && value.is_finite() {
            self.best = (at, value);
        }
        Ok(())
    }

    fn measured(&self, texts: &[&Prepared]) -> Result<(Vec<f64>, f64), Error> {
        let decoder = decoder(self.plan, &self.merged, self.aims.context)?;
        let values = self.aims.values(&measure(&decoder, texts, self.running.threads, &Quiet));
        let value = self.aims.value(&values);
        Ok((values, if value.is_finite() { value } else { f64::INFINITY }))
    }
}
