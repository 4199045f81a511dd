//! An adapter out of a model and its base: the update of a small rank that comes nearest to each difference.
//!
//! A difference is never in memory as a whole. For each tensor in work `(rows + columns) · directions` numbers of
//! f32 are kept about three times over, with a quarter more directions than the rank, and a block of rows.

mod choose;
mod delta;
mod dense;
mod save;
mod sketch;

pub use save::refuse_full;

use std::path::Path;

use rayon::prelude::*;

use self::choose::{Chosen, Kind};
use self::delta::Delta;
use self::sketch::Factors;
use crate::checkpoint::Checkpoint;
use crate::device::cpu::Cpu;
use crate::device::{Chunk, philox};
use crate::problem::{Error, ExecError, Problem, Problems};

/// What to extract, and how.
#[derive(Clone, Debug)]
pub struct Extraction {
    /// Largest rank of an update.
    pub rank: usize,
    /// Tensors whose names match are left out.
    pub exclude: Vec<regex::Regex>,
    /// Modules whose tensors are stored whole: a path, or what follows a dot of it.
    pub save: Vec<String>,
    /// Whether embeddings get updates.
    pub embeddings: Embeddings,
    /// Seed of the random directions.
    pub seed: u64,
    /// Threads; each works on a tensor of its own.
    pub threads: usize,
}

/// What becomes of an embedding that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embeddings {
    /// It is not captured, and reported.
    Leave,
    /// It gets an update as linear layers do.
    Update,
}

/// An update, and how near it comes.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Update {
    /// The tensor.
    pub tensor: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Rank of the update.
    pub rank: usize,
    /// `‖Δ‖`, the root of the sum of squares.
    pub norm: f64,
    /// `‖Δ - B·A‖ / ‖Δ‖`, measured with the factors as they are stored.
    pub error: f64,
}

/// A tensor that differs and that the adapter does not have.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Missed {
    /// The tensor.
    pub tensor: String,
    /// Why.
    pub why: String,
}

/// What was extracted.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Extracted {
    /// Updates, by the tensor's name.
    pub updates: Vec<Update>,
    /// Tensors that are stored whole.
    pub saved: Vec<String>,
    /// Tensors that differ and are not captured.
    pub missed: Vec<Missed>,
    /// Tensors that do not differ.
    pub unchanged: usize,
}

impl Extracted {
    /// `‖Δ - B·A‖ / ‖Δ‖` over all updates.
    pub fn error(&self) -> f64 {
        let total: f64 = self.updates.iter().map(|u| u.norm * u.norm).sum();
        let missed: f64 = self.updates.iter().map(|u| (u.norm * u.error).powi(2)).sum();
        if total > 0.0 { (missed / total).sqrt() } else { 0.0 }
    }
}

/// Extracts an adapter into a folder that is empty or not there yet. `on_done` is told of every update.
///
/// # Errors
/// [`Error::Input`] if the models do not belong together or nothing can be extracted, [`Error::Exec`] if the
/// folder cannot be written.
pub fn extract(
    model: &Checkpoint,
    base: &Checkpoint,
    folder: &Path,
    how: &Extraction,
    on_done: &(dyn Fn(&Update) + Sync),
) -> Result<Extracted, Error> {
    refuse_full(folder)?;
    let (chosen, mut extracted) = choose::choose(model, base, how)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(how.threads.max(1))
        .build()
        .map_err(|e| ExecError::Memory { what: format!("cannot start {} threads: {e}", how.threads) })?;
    let found: Vec<Result<(Update, Factors), Error>> = pool.install(|| {
        let updates: Vec<&Chosen<'_>> = chosen.iter().filter(|c| c.kind != Kind::Whole).collect();
        let one = |chosen: &&Chosen<'_>| {
            let (update, factors) = update(model, base, chosen, how)?;
            on_done(&update);
            Ok((update, factors))
        };
        updates.par_iter().map(one).collect()
    });
    let (mut problems, mut factors) = (Problems::new(), Vec::new());
    for result in found {
        match result {
            Ok((update, found)) => {
                extracted.updates.push(update);
                factors.push(found);
            }
            Err(Error::Input(found)) => problems.extend(found),
            Err(other) => return Err(other),
        }
    }
    if problems.has_errors() {
        return Err(problems.into());
    }
    save::write(folder, model, base, &chosen, &extracted, &factors, how)?;
    Ok(extracted)
}

/// One tensor's update.
fn update(
    model: &Checkpoint,
    base: &Checkpoint,
    chosen: &Chosen<'_>,
    how: &Extraction,
) -> Result<(Update, Factors), Error> {
    let Chosen { ours, theirs, .. } = *chosen;
    let (rows, columns) = (ours.shape[0], ours.shape[1]);
    let delta = Delta {
        model: Chunk { dtype: ours.dtype, bytes: model.bytes(ours) },
        base: Chunk { dtype: theirs.dtype, bytes: base.bytes(theirs) },
        rows,
        columns,
        cpu: Cpu::new(),
    };
    let norm = delta.residual(&[], &[]).sqrt();
    if !norm.is_finite() {
        let what = format!("{} differs from the base's by NaN or infinity", ours.name);
        return Err(Problem::error(model.name(), what).hint("one of the checkpoints is damaged").into());
    }
    let factors = sketch::factors(&delta, how.rank, philox::sketch_key(how.seed, &ours.name));
    let error = if norm > 0.0 { delta.residual(&factors.left, &factors.right).sqrt() / norm } else { 0.0 };
    model.check_intact(ours)?;
    base.check_intact(theirs)?;
    let rank = factors.singular.len();
    Ok((Update { tensor: ours.name.clone(), shape: ours.shape.clone(), rank, norm, error }, factors))
}
