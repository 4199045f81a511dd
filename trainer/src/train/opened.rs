//! What a run begins with: model, texts and tokenizer, and what identifies it.

use std::path::{Path, PathBuf};

use growmerge::checkpoint::Folder;
use growmerge::plan;
use growmerge::problem::{Error, Problem, Problems};
use growmerge::write::sha256_hex;

use super::config::{Run, Start};
use super::model::Model;
use super::store::Beside;
use super::symmetry::symmetric;
use super::trainer::Trainer;
use super::validation::Held;
use crate::data::Corpus;

/// A run with everything open.
#[derive(Debug)]
pub(super) struct Opened {
    /// Goes along with every model.
    pub beside: Beside,
    /// What is read.
    pub corpus: Corpus,
    /// What is measured.
    pub held: Option<Held>,
    /// At the first step.
    pub trainer: Trainer,
    /// Of everything that decides the run, in hex.
    pub identity: String,
    /// What the user should know.
    pub warnings: Problems,
}

impl Opened {
    /// Opens a run whose defaults are filled in.
    ///
    /// # Errors
    /// Everything that is wrong with what it names.
    pub(super) fn new(run: &Run, threads: usize, shards: &Path) -> Result<Self, Error> {
        let model = match &run.start {
            Start::Checkpoint(folder) => Model::open(folder)?,
            Start::Scratch(config) => Model::scratch(config.clone(), run.seed)?,
        };
        let tokenizer = run.tokenizer.as_deref().ok_or_else(|| {
            Problem::error("tokenizer", "there is none: a model that begins at random needs to be told")
                .hint("tokenizer: a folder with tokenizer.json")
        })?;
        let vocab = model.config().vocab;
        let sequences = run.steps * run.batch as u64;
        let corpus = Corpus::open(&run.data, tokenizer, vocab, run.sequence, sequences, run.seed, shards);
        let validation = run.validation.as_ref();
        let held = validation.map(|v| Held::open(v, tokenizer, vocab, run.sequence)).transpose();
        let (corpus, held) = (corpus?, held?);
        let mut warnings = corpus.warnings().clone();
        let beside = goes_along(run, tokenizer, &model, &mut warnings);
        warn(run, &model, &mut warnings);
        let identity = identity(run, &model, &corpus, held.as_ref());
        let trainer = Trainer::new(model, &run.optimizer, run.micro_batch, threads)?;
        Ok(Self { beside, corpus, held, trainer, identity, warnings })
    }
}

/// The digest of a run: its description with digests in place of paths, so that files may be moved, and may not be
/// changed. How often a state is kept decides nothing.
fn identity(run: &Run, model: &Model, corpus: &Corpus, held: Option<&Held>) -> String {
    let (mut run, model) = (run.clone(), model.sha256());
    if let Start::Checkpoint(folder) = &mut run.start {
        *folder = PathBuf::from(&model);
    }
    run.tokenizer = Some(corpus.tokenizer_sha256().into());
    for (source, digest) in run.data.sources.iter_mut().zip(corpus.digests()) {
        source.text = vec![digest.into()];
    }
    if let (Some(validation), Some(held)) = (&mut run.validation, held) {
        for (path, digest) in validation.texts.values_mut().zip(held.digests()) {
            *path = digest.into();
        }
    }
    run.checkpoints.every = 1;
    let description = serde_json::to_string(&run).unwrap_or_default();
    sha256_hex(format!("training 2\0{description}\0{model}").as_bytes())
}

/// The tokenizer's files; of the model that training begins with its code and settings.
fn goes_along(run: &Run, tokenizer: &Path, model: &Model, warnings: &mut Problems) -> Beside {
    let config = serde_json::Value::Object(model.json.clone());
    let mut beside = |folder: &Path, config| -> Beside {
        let (name, folder) = (folder.display().to_string(), Folder::Local(folder.to_owned()));
        let places = plan::beside(&name, &folder, config, warnings).into_iter();
        places.map(|place| (place.name.clone(), place.path())).collect()
    };
    let Start::Checkpoint(start) = &run.start else { return beside(tokenizer, Some(&config)) };
    let of_start = beside(start, Some(&config));
    if start == tokenizer {
        return of_start;
    }
    let models_own = |file: &str| file.ends_with(".py") || file == "generation_config.json";
    let mut all: Beside = of_start.into_iter().filter(|(file, _)| models_own(file)).collect();
    for (file, path) in beside(tokenizer, None) {
        if all.iter().all(|(known, _)| *known != file) {
            all.push((file, path));
        }
    }
    all
}

/// What will disappoint, though it can be done.
fn warn(run: &Run, model: &Model, warnings: &mut Problems) {
    let most = model.config().max_positions;
    if run.sequence > most {
        let what =
            format!("{} tokens are more than the model's max_position_embeddings, {most}", run.sequence);
        let hint =
            "other programs will not run the model on so long texts: set it in config.json, or train on less";
        warnings.push(Problem::warning("sequence", what).hint(hint));
    }
    if let Some(tensor) = symmetric(model) {
        let what = format!(
            "the model is a clone without noise, and stays one: the blocks of {tensor} are the same and get the same gradients"
        );
        warnings.push(Problem::warning("start", what).hint("grow it with --noise-snr 10"));
    }
}
