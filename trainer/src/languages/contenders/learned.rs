//! Coefficients that are learned, as `growmerge tune` learns them.

use std::path::Path;

use growmerge::problem::Error;
use growmerge::tune::{Evaluation, Groups, Running, Settings, Watch, tune};
use serde_json::json;

use super::differences::Differences;
use super::heads::weight_apart;
use super::rows::weight_by_counts;
use super::written::{ENGLISH_SHARE, Texts, goal, written};
use crate::languages::bench::{Artefact, Bench, Made, Shared};
use crate::languages::contender::{Contender, Kind, Reads};
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

/// All of them.
pub(super) static ALL: &[Contender] = &[
    Contender {
        name: "learned layers",
        about: "a coefficient for each layer's attention, MLP and norms, from the mean",
        kind: Kind::Learned,
        reads: Reads::Fit,
        axes: &[],
        after: &[],
        make: |bench, _| learned(bench, Groups::Layer, Differences::Whole, Texts::Fit, mean(bench)),
    },
    Contender {
        name: "learned rows",
        about: "a coefficient for each row, from token rows",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| learned(bench, Groups::Row, Differences::Whole, Texts::Fit, token_rows(bench)?),
    },
    Contender {
        name: "learned rows and columns",
        about: "a coefficient for each row and each column, from token rows",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| {
            learned(bench, Groups::RowColumn, Differences::Whole, Texts::Fit, token_rows(bench)?)
        },
    },
    Contender {
        name: "learned rows and columns of embedding and head",
        about: "the same where the head is not the embedding",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| {
            learned(bench, Groups::RowColumn, Differences::Untied, Texts::Fit, token_rows_apart(bench)?)
        },
    },
    Contender {
        name: "learned pairs of rows and columns of embedding and head",
        about: "two products of such coefficients for each matrix: rank two",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| {
            learned(bench, Groups::RowColumn, Differences::Twice, Texts::Fit, token_rows_apart(bench)?)
        },
    },
    Contender {
        name: "learned from what the models write",
        about: "rows and columns of embedding and head, from text that each model has written instead of text of its language",
        kind: Kind::Learned,
        reads: Reads::Counts,
        axes: &[],
        after: &[],
        make: |bench, _| {
            learned(bench, Groups::RowColumn, Differences::Untied, Texts::Written, token_rows_apart(bench)?)
        },
    },
    Contender {
        name: "learned pairs from what the models write",
        about: "the same with two products for each matrix",
        kind: Kind::Learned,
        reads: Reads::Counts,
        axes: &[],
        after: &[],
        make: |bench, _| {
            learned(bench, Groups::RowColumn, Differences::Twice, Texts::Written, token_rows_apart(bench)?)
        },
    },
    Contender {
        name: "learned from what the models write and no counts",
        about: "rows and columns from such text, begun from the mean: nothing is read",
        kind: Kind::Learned,
        reads: Reads::Nothing,
        axes: &[],
        after: &[],
        make: |bench, _| learned(bench, Groups::RowColumn, Differences::Whole, Texts::Written, mean(bench)),
    },
    Contender {
        name: "learned rows and columns from the mean",
        about: "a coefficient for each row and each column, without counts",
        kind: Kind::Learned,
        reads: Reads::Fit,
        axes: &[],
        after: &[],
        make: |bench, _| learned(bench, Groups::RowColumn, Differences::Whole, Texts::Fit, mean(bench)),
    },
    Contender {
        name: "learned rows and columns of trimmed differences",
        about: "the same of the larger half of each difference",
        kind: Kind::Learned,
        reads: Reads::Fit,
        axes: &[],
        after: &[],
        make: |bench, _| learned(bench, Groups::RowColumn, Differences::Trimmed, Texts::Fit, mean(bench)),
    },
];

/// What learning begins with: the weight of each model, and what had to be made for it.
struct Begin {
    weights: Vec<String>,
    artefacts: Vec<Artefact>,
}

/// Every difference with the same share.
fn mean(bench: &Bench<'_>) -> Begin {
    let count = bench.experts.len();
    Begin { weights: vec![(1.0 / count as f64).to_string(); count], artefacts: Vec::new() }
}

/// Embedding rows by counts, the mean of the rest.
fn token_rows(bench: &Bench<'_>) -> Result<Begin, Error> {
    let share = 1.0 / bench.experts.len() as f64;
    let (weight, counts) = weight_by_counts(bench, &Point::on(&START, &[0; 3]), &share.to_string())?;
    Ok(Begin { weights: Language::all().map(weight).collect(), artefacts: vec![counts] })
}

/// The same with the head's rows apart from the embedding's.
fn token_rows_apart(bench: &Bench<'_>) -> Result<Begin, Error> {
    let share = 1.0 / bench.experts.len() as f64;
    let (weight, counts) = weight_apart(bench, &Point::on(&START_APART, &[0; 4]), share)?;
    Ok(Begin { weights: Language::all().map(weight).collect(), artefacts: vec![counts] })
}

/// Learns from a recipe on.
fn learned(
    bench: &Bench<'_>,
    groups: Groups,
    differences: Differences,
    texts: Texts,
    begin: Begin,
) -> Result<Made, Error> {
    let name = match groups {
        Groups::Model | Groups::Layer | Groups::Tensor => "learned few",
        Groups::Row => "learned rows",
        Groups::RowColumn => "learned rows and columns",
    };
    let Begin { weights, mut artefacts } = begin;
    // Differences that come again begin with nothing.
    let start = differences.recipe(bench, &|i| weights.get(i).cloned().unwrap_or_else(|| "0".into()));
    let steps = bench.shared.effort.learned_steps;
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
    });
    let artefact = bench.artefact(&bench.name(name), &identity, |out| {
        crate::files::folder(out)?;
        let plan = bench.plan(&start)?;
        let goal = goal(bench, written.as_ref())?;
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

impl Watch for Quiet {
    fn step(&self, _: u64, _: &[f64]) {}
    fn looked(&self, _: &Evaluation) {}
}
