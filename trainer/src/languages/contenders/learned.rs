//! Coefficients that are learned from text, as `growmerge tune` learns them.

use std::path::Path;

use growmerge::eval::{Reading, Split, Start, Text, Tokenizer};
use growmerge::problem::{Error, Problems};
use growmerge::tune::{Evaluation, Goal, Groups, Running, Settings, Wanted, Watch, tune};
use serde_json::json;

use super::heads::weight_apart;
use super::rows::{sum, weight_by_counts};
use crate::languages::bench::{Artefact, Bench, Made, Shared};
use crate::languages::contender::{Contender, Kind, Reads};
use crate::languages::point::{Axis, Point};
use crate::languages::split::Portion;
use crate::languages::words::quoted;
use crate::reproduce::{ENGLISH, Language, Quiet, all_languages};

/// How often English counts beside each of the five languages: often enough that it stays what joint training leaves.
const ENGLISH_SHARE: f64 = 0.4;
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
/// Of the differences that are trimmed first.
const DENSITY: f64 = 0.5;

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
        make: |bench, _| learned(bench, Groups::Layer, Differences::Whole, mean(bench)),
    },
    Contender {
        name: "learned rows",
        about: "a coefficient for each row, from token rows",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| learned(bench, Groups::Row, Differences::Whole, token_rows(bench)?),
    },
    Contender {
        name: "learned rows and columns",
        about: "a coefficient for each row and each column, from token rows",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| learned(bench, Groups::RowColumn, Differences::Whole, token_rows(bench)?),
    },
    Contender {
        name: "learned rows and columns of embedding and head",
        about: "the same where the head is not the embedding",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| learned(bench, Groups::RowColumn, Differences::Untied, token_rows_apart(bench)?),
    },
    Contender {
        name: "learned rows and columns from the mean",
        about: "a coefficient for each row and each column, without counts",
        kind: Kind::Learned,
        reads: Reads::Fit,
        axes: &[],
        after: &[],
        make: |bench, _| learned(bench, Groups::RowColumn, Differences::Whole, mean(bench)),
    },
    Contender {
        name: "learned rows and columns of trimmed differences",
        about: "the same of the larger half of each difference",
        kind: Kind::Learned,
        reads: Reads::Fit,
        axes: &[],
        after: &[],
        make: |bench, _| learned(bench, Groups::RowColumn, Differences::Trimmed, mean(bench)),
    },
];

/// What is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
enum Differences {
    /// All of each difference.
    Whole,
    /// The same of models whose heads are tensors of their own.
    Untied,
    /// Its larger elements.
    Trimmed,
}

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

/// A recipe that adds up differences with these weights.
fn recipe(bench: &Bench<'_>, differences: Differences, weight: &dyn Fn(usize) -> String) -> String {
    match differences {
        Differences::Whole => return sum(bench).each("weight", weight).text(),
        Differences::Untied => return sum(bench).untied().each("weight", weight).text(),
        Differences::Trimmed => {}
    }
    let base = quoted(&bench.base);
    let (mut stages, mut models) = (String::new(), String::new());
    for (i, expert) in bench.experts.iter().enumerate() {
        let (name, of) = (entry(bench, differences, i), quoted(expert));
        stages += &format!(
            "name: {name}\nmerge_method: ties\nbase_model: {base}\nmodels: [{{model: {of}}}]\nparameters: {{weight: 1, \
             density: {DENSITY}, normalize: false}}\ndtype: float32\n---\n"
        );
        models += &format!("  - {{model: {name}, parameters: {{weight: {}}}}}\n", weight(i));
    }
    format!(
        "{stages}merge_method: task_arithmetic\nbase_model: {base}\nmodels:\n{models}parameters: {{normalize: false}}\n\
         dtype: float32\n"
    )
}

/// What coefficients of a model are called.
fn entry(bench: &Bench<'_>, differences: Differences, model: usize) -> String {
    let folder = bench.experts.get(model).and_then(|e| e.file_name()).map(|n| n.to_string_lossy());
    match differences {
        Differences::Whole | Differences::Untied => folder.unwrap_or_default().into_owned(),
        Differences::Trimmed => format!("trimmed-{model}"),
    }
}

/// Learns from a recipe on; the text that chooses settings for others decides here when learning ends.
fn learned(bench: &Bench<'_>, groups: Groups, differences: Differences, begin: Begin) -> Result<Made, Error> {
    let name = match groups {
        Groups::Model | Groups::Layer | Groups::Tensor => "learned few",
        Groups::Row => "learned rows",
        Groups::RowColumn => "learned rows and columns",
    };
    let Begin { weights, mut artefacts } = begin;
    let start = recipe(bench, differences, &|i| weights.get(i).cloned().unwrap_or_default());
    let steps = bench.shared.effort.learned_steps;
    // Looks cost as much as steps: the first and the last are enough.
    let settings = Settings { steps, every: steps, seed: bench.seed, ..Settings::of(groups) };
    let portions = &bench.shared.portions;
    let texts: Vec<String> =
        portions.fit.values().chain(portions.choose.values()).map(|p| bench.digest(&p.path)).collect();
    let identity = json!({
        "learned": bench.identity(&start), "settings": settings, "texts": texts, "english": ENGLISH_SHARE,
    });
    let artefact = bench.artefact(&bench.name(name), &identity, |out| {
        crate::files::folder(out)?;
        let plan = bench.plan(&start)?;
        let goal = goal(bench)?;
        let Shared { threads, cancel, .. } = bench.shared;
        let running = Running { threads, cancel, watch: &Quiet, state: None };
        let tuned = tune(&plan, &goal, &settings, &running)?;
        Ok(tuned.write(&plan, &out.join(FILE))?)
    })?;
    let file = artefact.folder.join(FILE);
    bench.know(&file, bench.digest(&artefact.folder));
    let path = quoted(&file);
    let weight = |i| format!("{{file: {path}, entry: {}}}", quoted(Path::new(&entry(bench, differences, i))));
    artefacts.push(artefact);
    Ok(Made { recipe: recipe(bench, differences, &weight), artefacts })
}

/// All languages, and English a little.
fn goal(bench: &Bench<'_>) -> Result<Goal, Error> {
    let read = |portion: Option<&Portion>, language: &str| {
        let path = portion.map_or(Path::new(""), |p| &p.path);
        Text::read(language, path, &Reading { split: Split::Line, field: "text".into() })
    };
    let portions = &bench.shared.portions;
    let wanted = |language: &'static str| {
        Ok(Wanted {
            text: read(portions.fit.get(language), language)?,
            held_out: Some(read(portions.choose.get(language), language)?),
            weight: if language == ENGLISH { ENGLISH_SHARE } else { 1.0 },
        })
    };
    let wanted = all_languages().map(wanted).collect::<Result<Vec<_>, Problems>>()?;
    let tokenizer = Tokenizer::open(&bench.shared.files.tokenizer, &Start::Auto)?;
    let vocab = bench.study.model.vocab as usize;
    Ok(Goal::new(wanted, &tokenizer, vocab, bench.study.sequence)?)
}

impl Watch for Quiet {
    fn step(&self, _: u64, _: &[f64]) {}
    fn looked(&self, _: &Evaluation) {}
}
