//! Coefficients of rows by least squares, projection after projection: those with which the merged model puts out on each
//! language's text what the language's own model does. Nothing is learned by gradients.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use growmerge::coefficients::{Key, Written, write};
use growmerge::decoder::{Batch, Config, Decoder, Layout, Scratch, Site};
use growmerge::device::Chunk;
use growmerge::device::cpu::Cpu;
use growmerge::eval::{Model, ModelSource, Reading, Split, Start, Text, Tokenizer};
use growmerge::importance::{Sample, Sampling};
use growmerge::plan::PlanOptions;
use growmerge::problem::{Error, ExecError, Problems};
use rayon::prelude::*;
use serde_json::json;

use super::learning::START;
use super::rows::{sum, weight_by_counts};
use super::squares::{Moments, coefficients};
use crate::languages::bench::{Artefact, Bench, Made};
use crate::languages::contender::{Contender, Kind, Reads};
use crate::languages::point::{Axis, Point};
use crate::languages::words::quoted;
use crate::reproduce::{Language, Quiet, all_languages};

/// How much a coefficient's distance from the mean counts, as a share of what the differences bring to its row.
const RIDGE: Axis = Axis::new("ridge", &[1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0], 2);
/// Of each language.
const TOKENS: usize = 4096;
/// What the coefficients are called.
const FILE: &str = "coefficients.safetensors";

/// All of them.
pub(super) static ALL: &[Contender] = &[
    Contender {
        name: "aligned activations",
        about: "rows of projections by what each model puts out, embedding rows by counts, the mean of norms",
        kind: Kind::Importance,
        reads: Reads::FitAndCounts,
        axes: &[RIDGE],
        after: &[],
        make: |bench, at| aligned(bench, at, Embedding::Counts),
    },
    Contender {
        name: "aligned activations with a mean embedding",
        about: "rows of projections by what each model puts out, the mean of embedding and norms",
        kind: Kind::Importance,
        reads: Reads::Fit,
        axes: &[RIDGE],
        after: &[],
        make: |bench, at| aligned(bench, at, Embedding::Mean),
    },
];

/// What the embedding is, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Embedding {
    /// Rows by counts, as learning begins with them.
    Counts,
    /// The mean.
    Mean,
}

fn aligned(bench: &Bench<'_>, at: &Point, embedding: Embedding) -> Result<Made, Error> {
    let ridge = at.get("ridge");
    let texts: Vec<String> = bench.shared.portions.fit.values().map(|p| bench.digest(&p.path)).collect();
    let (placeless, mut artefacts) = recipe(bench, embedding, Path::new(FILE))?;
    let identity = json!({
        "aligned": bench.identity(&placeless), "texts": texts, "ridge": ridge, "tokens": TOKENS,
    });
    let artefact = bench.artefact(&bench.name("aligned"), &identity, |out| {
        crate::files::folder(out)?;
        let file = out.join(FILE);
        let (recipe, _) = recipe(bench, embedding, &file)?;
        align(bench, ridge, &recipe, &file)
    })?;
    let file = artefact.folder.join(FILE);
    bench.know(&file, bench.digest(&artefact.folder));
    artefacts.push(artefact);
    Ok(Made { recipe: recipe(bench, embedding, &file)?.0, artefacts })
}

/// The merge with a file of coefficients, whose entries are called as the models' folders; and what it is made of.
fn recipe(bench: &Bench<'_>, embedding: Embedding, file: &Path) -> Result<(String, Vec<Artefact>), Error> {
    let file = format!("{{file: {}}}", quoted(file));
    if embedding == Embedding::Mean {
        return Ok((sum(bench).with("weight", file).text(), Vec::new()));
    }
    let (weight, counts) = weight_by_counts(bench, &Point::on(&START, &[0; 3]), &file)?;
    let languages: Vec<Language> = Language::all().collect();
    let words = sum(bench).each("weight", |i| languages.get(i).map_or(String::new(), |l| weight(*l)));
    Ok((words.text(), vec![counts]))
}

/// Writes the file that `recipe` reads: at first the mean, then what was solved, in the order of the forward pass. What
/// goes into a projection is that of a model in which all projections before it are solved.
fn align(bench: &Bench<'_>, ridge: f64, recipe: &str, file: &Path) -> Result<(), Error> {
    let threads = bench.shared.threads;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| ExecError::Memory { what: format!("cannot start threads: {e}") })?;
    let load = |folder| {
        ModelSource::open(&Path::to_string_lossy(folder), &PlanOptions::default())?.load(threads, &Quiet)
    };
    let base = load(bench.base.as_path())?;
    let experts = bench.experts.iter().map(|e| load(e)).collect::<Result<Vec<Model>, Error>>()?;
    let models: Vec<&Model> = std::iter::once(&base).chain(&experts).collect();
    let (texts, context) = (texts(bench)?, bench.study.sequence);
    let own = pool.install(|| {
        let each = models.par_iter().zip(&texts);
        each.map(|(model, text)| inputs(model, text, context, &|_| true)).collect::<Result<Vec<_>, _>>()
    })?;
    let mut solved = Vec::new();
    keep(bench, file, &solved)?;
    for fed in decoder(&base, context)?.fed(&Layout::of(base.tensors())) {
        if bench.shared.cancel.load(Ordering::Relaxed) {
            return Err(ExecError::Interrupted.into());
        }
        let merged = bench.source(recipe)?.load(threads, &Quiet)?;
        let site = (fed.layer, fed.site);
        let seen = pool.install(|| {
            let moments = |(text, own): (&Batch, &Inputs)| {
                let merged = inputs(&merged, text, context, &|at| at == site)?;
                let of = |inputs: &Inputs| inputs.get(&site).cloned().unwrap_or_default();
                Ok(Moments::of(&of(&merged), &of(own), fed.width))
            };
            texts.par_iter().zip(&own).map(moments).collect::<Result<Vec<_>, Problems>>()
        })?;
        for name in fed.weights {
            let weights: Vec<Vec<f64>> = models.iter().map(|m| values(m, &name)).collect();
            let rows = pool.install(|| coefficients(&weights, &seen, fed.width, ridge));
            solved.push((name, rows));
        }
        keep(bench, file, &solved)?;
    }
    Ok(())
}

/// A part of each language's text to fit on, English first.
fn texts(bench: &Bench<'_>) -> Result<Vec<Batch>, Problems> {
    let tokenizer = Tokenizer::open(&bench.shared.files.tokenizer, &Start::Auto)?;
    let sampling = Sampling { tokens: TOKENS, context: bench.study.sequence, seed: bench.seed };
    let text = |language| {
        let path = bench.shared.portions.fit.get(language).map_or(Path::new(""), |p| &p.path);
        let text = Text::read(language, path, &Reading { split: Split::Line, field: "text".into() })?;
        let sample = Sample::draw(&text, &tokenizer, bench.study.model.vocab as usize, sampling)?;
        let mut batch = Batch::default();
        sample.sequences().iter().for_each(|s| s.push_to(&mut batch));
        Ok(batch)
    };
    all_languages().map(text).collect()
}

/// What goes into projections, `[tokens, width]`.
type Inputs = BTreeMap<(usize, Site), Vec<f32>>;

fn inputs(
    model: &Model,
    text: &Batch,
    context: usize,
    wanted: &dyn Fn((usize, Site)) -> bool,
) -> Result<Inputs, Problems> {
    let mut inputs = Inputs::new();
    decoder(model, context)?.inputs(text, &mut Scratch::default(), &mut |layer, site, values| {
        if wanted((layer, site)) {
            inputs.insert((layer, site), values.to_vec());
        }
    });
    Ok(inputs)
}

fn decoder(model: &Model, context: usize) -> Result<Decoder<'_>, Problems> {
    let config = Config::read(&model.config, &format!("{}: config.json", model.name))?;
    Decoder::new(config, model.tensors(), &model.name, context)
}

/// A tensor's elements.
fn values(model: &Model, name: &str) -> Vec<f64> {
    let Some(tensor) = model.tensors().tensor(name) else { return Vec::new() };
    let mut values = vec![0f32; tensor.shape.iter().product()];
    Cpu::new().widen(Chunk { dtype: tensor.dtype, bytes: tensor.bytes }, &mut values);
    values.into_iter().map(f64::from).collect()
}

/// Writes coefficients of rows, and for all other tensors the mean.
fn keep(bench: &Bench<'_>, file: &Path, solved: &[(String, Vec<Vec<f32>>)]) -> Result<(), ExecError> {
    let mean = [1.0 / bench.experts.len() as f32];
    let mut all = Vec::new();
    for (i, expert) in bench.experts.iter().enumerate() {
        let entry = expert.file_name().unwrap_or_default().to_string_lossy();
        let mut add = |tensor: &str, rows| {
            let key = Key { entry: entry.to_string(), tensor: tensor.into() };
            all.push(Written { key, rows, columns: &[] });
        };
        add("*", &mean[..]);
        solved.iter().for_each(|(name, rows)| add(name, &rows[i]));
    }
    write(file, &[], &all)
}
