//! *Grow Up and Merge* (Glocker et al. 2025, arXiv 2512.10772) in miniature, with one call: [`run()`].
//!
//! A [`Study`] says what is done, `models::Builder` has all models made, `grid::Grid` measures them and every merge,
//! `form::Form` makes numbers with errors of the measurements, `claims` and `tables` say what they show, and
//! `report::Report` writes it. Every step is found again when a study is started again.

mod book;
mod claims;
mod contrast;
mod curves;
pub(crate) mod form;
mod grid;
pub(crate) mod ledger;
mod limits;
mod maker;
mod measures;
pub(crate) mod models;
mod one_seed;
mod pictures;
mod recipe;
mod report;
mod reversals;
mod rows;
pub(crate) mod runs;
mod scale;
mod shape;
pub(crate) mod stage;
mod subject;
mod tables;
mod texts;
mod workshop;
pub(crate) mod yardstick;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use growmerge::execute::Observer;
use growmerge::problem::{Error, ExecError};
use serde::Serialize;

use crate::files;
use yardstick::{Measure, Pick, Yardstick};

pub use book::Edge;
pub use claims::{Claim, Says};
pub use contrast::{Contrast, Verdict};
pub use maker::{Maker, Widening};
pub use runs::Lengths;
pub use scale::{Amounts, Merges, Scale, Steps, Study};
pub use shape::ModelShape;
pub use stage::Stage;
pub use subject::{ENGLISH, LANGUAGES, Language, Method, Setup, Subject, Subset, Tuning};
pub use texts::{Part, Texts, all_languages};
pub use workshop::Workshop;

/// How a study is carried out; no number depends on it.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Set from outside to stop; the same call goes on later.
    pub cancel: &'a AtomicBool,
    /// Is told how it goes.
    pub watch: &'a dyn Watch,
}

/// Is told how a study goes.
pub trait Watch {
    /// What is about to happen, with the steps that the texts allow.
    fn begin(&self, study: &Study, lengths: &Lengths);
    /// Of a tokenizer or model.
    fn stage(&self, name: &str, status: Status);
    /// So many models and merges are to be measured.
    fn measuring(&self, total: usize);
    /// So many more were.
    fn measured(&self, count: usize);
}

/// Growing, merging and measuring take no time at these sizes: a study is told of stages and of whole measurements.
pub(crate) struct Quiet;

impl Observer for Quiet {
    fn advance(&self, _: u64) {}
}

/// What became of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Status {
    /// It was there.
    Found,
    /// It is being made.
    Begun,
    /// It was made.
    Done {
        /// How long that took.
        seconds: f64,
    },
}

/// How a report came about.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// The command line.
    pub command: String,
    /// Version of this crate.
    pub version: &'static str,
    /// Of the source, where it is known.
    pub commit: Option<String>,
    /// When it was made, as the caller says it.
    pub date: String,
    /// Kind of processor and number of threads.
    pub machine: String,
    /// Of this call; what was found finished took its time before.
    pub seconds: f64,
}

impl About {
    /// One line.
    pub(crate) fn line(&self) -> String {
        let commit = self.commit.as_ref().map_or(String::new(), |c| format!(", commit {c}"));
        format!(
            "{}; growmerge-trainer {}{commit}; {}; {}; {:.0} s in this call.",
            self.command, self.version, self.date, self.machine, self.seconds
        )
    }
}

/// Carries out a study in the folder `out`, and writes its report there. What was finished in an earlier call is not
/// done again.
///
/// # Errors
/// What is wrong with texts or folder; what makers of models say; [`ExecError::Interrupted`]; what the machine does.
pub fn run(
    study: &Study,
    texts: &Texts,
    out: &Path,
    maker: &dyn Maker,
    options: Options<'_>,
    about: &About,
) -> Result<Vec<Claim>, Error> {
    let started = Instant::now();
    let Options { threads, cancel, watch } = options;
    let folder = out.join("models");
    files::folder(&folder)?;
    let ledger = ledger::Ledger::open(&out.join("measured.jsonl"))?;
    let builder = models::Builder {
        study,
        texts,
        maker,
        folder: &folder,
        cancel,
        watch,
        setups: &Setup::ALL,
        runs: models::Runs::All,
    };
    let tokenizer = builder.tokenizer()?;
    let yardstick = |part, pick, tokens| {
        let vocab = study.model.vocab as usize;
        Yardstick::new(texts, part, (pick, tokens), &tokenizer.folder, vocab, study.sequence)
    };
    let test = yardstick(Part::Test, Pick::Spread, study.texts.test_tokens)?;
    let valid = yardstick(Part::Valid, Pick::Spread, study.texts.valid_tokens)?;
    let watched = yardstick(Part::Valid, Pick::First, study.texts.valid_tokens)?;
    let lengths = Lengths::new(study, &runs::tokens(texts, &tokenizer.folder, study.model.vocab)?);
    watch.begin(study, &lengths);
    let models = builder.models(&tokenizer, &lengths, &sentences(&watched, &out.join("valid"))?)?;
    let grid = grid::Grid::new((study, &models), (&test, &valid), ledger, threads, cancel, watch)?;
    let book = grid.fill()?;
    let about = About { seconds: started.elapsed().as_secs_f64(), ..about.clone() };
    let report = report::Report { about: &about, study, lengths: &lengths, models: &models, book: &book };
    report.write(out)
}

/// Writes sentences as files, for runs to measure on the way.
pub(crate) fn sentences(
    watched: &Yardstick,
    folder: &Path,
) -> Result<BTreeMap<&'static str, PathBuf>, ExecError> {
    files::folder(folder)?;
    let write = |m: &Measure| {
        let path = folder.join(format!("{}.txt", m.language));
        files::write(&path, m.sentences.join("\n") + "\n")?;
        Ok((m.language, path))
    };
    watched.languages.iter().map(write).collect()
}
