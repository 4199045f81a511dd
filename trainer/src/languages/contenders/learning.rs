//! How coefficients are learned: as `growmerge tune` learns them.

use std::path::Path;

use growmerge::problem::Error;
use growmerge::tune::{Evaluation, Groups, Running, Settings, Watch, tune};
use serde_json::json;

use super::differences::Differences;
use super::heads::weight_apart;
use super::rows::weight_by_counts;
use super::written::{ENGLISH_SHARE, Texts, goal, written};
use crate::languages::bench::{Artefact, Bench, Made, Shared};
use crate::languages::point::{Axis, Point};
use crate::languages::words::quoted;
use crate::reproduce::{Language, Quiet};

/// What rows of tokens begin with: nothing of it is chosen.
pub(super) const START: [Axis; 3] =
    [Axis::new("power", &[0.5], 0), Axis::new("rows", &[1.0], 0), Axis::new("body", &[1.0], 0)];
/// The same where the head is not the embedding.
const START_APART: [Axis; 4] = [
    Axis::new("power", &[1.0], 0),
    Axis::new("rows", &[1.5], 0),
    Axis::new("head power", &[0.7], 0),
    Axis::new("head rows", &[1.0], 0),
];

/// What the coefficients of a run are called.
const FILE: &str = "coefficients.safetensors";

/// How coefficients are learned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Learning {
    /// Which elements share a coefficient.
    pub(super) groups: Groups,
    /// What is multiplied and added up.
    pub(super) differences: Differences,
    /// What is read.
    pub(super) texts: Texts,
    /// What of it is learned.
    pub(super) lessons: Lessons,
    /// How long it goes on.
    pub(super) length: Length,
}

/// What stands at each place of a text to learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lessons {
    /// Its token.
    Tokens,
    /// What the language's own model predicts there.
    Predictions,
}

/// How many steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// A quarter.
    Brief,
    /// Three fifths.
    Short,
    /// Those of [`Effort::learned_steps`](crate::languages::effort::Effort::learned_steps).
    Usual,
    /// Five times as many.
    Long,
}

impl Length {
    fn of(self, steps: u64) -> u64 {
        match self {
            Self::Brief => steps / 4,
            Self::Short => steps * 3 / 5,
            Self::Usual => steps,
            Self::Long => steps * 5,
        }
    }
}

/// A coefficient for each part of a layer.
pub(super) const LAYERS: Learning = Learning { groups: Groups::Layer, ..ROWS_AND_COLUMNS };
/// A coefficient for each row.
pub(super) const ROWS: Learning = Learning { groups: Groups::Row, ..ROWS_AND_COLUMNS };
/// Of the tied embedding, from text.
pub(super) const ROWS_AND_COLUMNS: Learning = Learning {
    groups: Groups::RowColumn,
    differences: Differences::Whole,
    texts: Texts::Fit,
    lessons: Lessons::Tokens,
    length: Length::Usual,
};
/// The same of embedding and head.
pub(super) const APART: Learning = Learning { differences: Differences::Untied, ..ROWS_AND_COLUMNS };
/// The same of rank two.
pub(super) const PAIRS: Learning = Learning { differences: Differences::Twice, ..ROWS_AND_COLUMNS };

/// What learning begins with: the weight of each model, and what had to be made for it.
pub(super) struct Begin {
    weights: Vec<String>,
    artefacts: Vec<Artefact>,
}

/// Every difference with the same share.
pub(super) fn mean(bench: &Bench<'_>) -> Begin {
    let count = bench.experts.len();
    Begin { weights: vec![(1.0 / count as f64).to_string(); count], artefacts: Vec::new() }
}

/// Embedding rows by counts, the mean of the rest.
pub(super) fn token_rows(bench: &Bench<'_>) -> Result<Begin, Error> {
    let share = 1.0 / bench.experts.len() as f64;
    let (weight, counts) = weight_by_counts(bench, &Point::on(&START, &[0; 3]), &share.to_string())?;
    Ok(Begin { weights: Language::all().map(weight).collect(), artefacts: vec![counts] })
}

/// The same with the head's rows apart from the embedding's.
pub(super) fn token_rows_apart(bench: &Bench<'_>) -> Result<Begin, Error> {
    let share = 1.0 / bench.experts.len() as f64;
    let (weight, counts) = weight_apart(bench, &Point::on(&START_APART, &[0; 4]), share)?;
    Ok(Begin { weights: Language::all().map(weight).collect(), artefacts: vec![counts] })
}

impl Learning {
    /// The same from text that the models have written.
    pub(super) const fn on_written(self) -> Self {
        Self { texts: Texts::Written, ..self }
    }

    /// Learns, beginning with these weights.
    pub(super) fn begun(self, bench: &Bench<'_>, begin: Begin) -> Result<Made, Error> {
        let Self { groups, differences, texts, lessons, length } = self;
        let name = match groups {
            Groups::Model | Groups::Layer | Groups::Tensor => "learned few",
            Groups::Row => "learned rows",
            Groups::RowColumn => "learned rows and columns",
        };
        let Begin { weights, mut artefacts } = begin;
        // Differences that come again begin with nothing.
        let start = differences.recipe(bench, &|i| weights.get(i).cloned().unwrap_or_else(|| "0".into()));
        let steps = length.of(bench.shared.effort.learned_steps);
        // Looks cost as much as steps: the first and the last are enough.
        let settings = Settings { steps, every: steps, seed: bench.seed, ..Settings::of(groups) };
        let portions = &bench.shared.portions;
        let (read, written) = match texts {
            Texts::Fit => {
                let portions = portions.fit.values().chain(portions.choose.values());
                (portions.map(|p| bench.digest(&p.path)).collect(), None)
            }
            Texts::Written => {
                let written = written(bench)?;
                (vec![bench.digest(&written.folder)], Some(written))
            }
        };
        let identity = json!({
            "learned": bench.identity(&start), "settings": settings, "texts": read, "english": ENGLISH_SHARE,
            "taught": lessons == Lessons::Predictions,
        });
        let artefact = bench.artefact(&bench.name(name), &identity, |out| {
            crate::files::folder(out)?;
            let plan = bench.plan(&start)?;
            let goal = goal(bench, written.as_ref(), lessons)?;
            let Shared { threads, cancel, .. } = bench.shared;
            let running = Running { threads, cancel, watch: &Quiet, state: None };
            let tuned = tune(&plan, &goal, &settings, &running)?;
            Ok(tuned.write(&plan, &out.join(FILE))?)
        })?;
        let file = artefact.folder.join(FILE);
        bench.know(&file, bench.digest(&artefact.folder));
        let (path, entries) = (quoted(&file), differences.entries(bench));
        let weight = |i: usize| {
            let entry = entries.get(i).map_or_else(String::new, |entry| quoted(Path::new(entry)));
            format!("{{file: {path}, entry: {entry}}}")
        };
        artefacts.extend(written);
        artefacts.push(artefact);
        Ok(Made { recipe: differences.recipe(bench, &weight), artefacts })
    }
}

impl Watch for Quiet {
    fn step(&self, _: u64, _: &[f64]) {}
    fn looked(&self, _: &Evaluation) {}
}
