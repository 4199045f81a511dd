//! Measures every model, and every merge of every subset by every method, without writing any of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use growmerge::eval::ModelSource;
use growmerge::plan::PlanOptions;
use growmerge::problem::{Error, ExecError};
use growmerge::write::sha256_hex;

use super::Watch;
use super::book::{Book, Swept};
use super::ledger::{Kept, Ledger};
use super::models::Models;
use super::recipe::Merge;
use super::scale::Study;
use super::subject::{ENGLISH, Factor, Language, Method, Setup, Subject, Subset, Tuning};
use super::texts::{Part, all_languages};
use super::yardstick::{Nats, Yardstick, bits_per_byte};

/// Changes whenever the same model and sentences would give other numbers.
const NUMBERS: &str = "measured 1";

/// Everything that measuring needs.
pub(super) struct Grid<'a> {
    /// Which merges.
    pub study: &'a Study,
    /// What is merged.
    pub models: &'a Models,
    /// What is reported.
    pub test: &'a Yardstick,
    /// What chooses lambda.
    pub valid: &'a Yardstick,
    /// What was measured before.
    pub ledger: Ledger,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Set from outside to stop between two models.
    pub cancel: &'a AtomicBool,
    /// Is told of every measurement.
    pub watch: &'a dyn Watch,
    weights: BTreeMap<PathBuf, String>,
}

/// Where a merge belongs.
#[derive(Clone, Copy)]
struct Cell {
    seed: u64,
    setup: Setup,
    subset: Subset,
    method: Method,
}

impl<'a> Grid<'a> {
    /// Reads all weights once, to know what is measured.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(super) fn new(
        (study, models): (&'a Study, &'a Models),
        (test, valid): (&'a Yardstick, &'a Yardstick),
        ledger: Ledger,
        threads: usize,
        cancel: &'a AtomicBool,
        watch: &'a dyn Watch,
    ) -> Result<Self, ExecError> {
        let mut weights = BTreeMap::new();
        for folder in models.by_subject.values() {
            let path = folder.join("model.safetensors");
            let bytes = std::fs::read(&path).map_err(ExecError::io("read", &path))?;
            weights.insert(folder.clone(), sha256_hex(&bytes));
        }
        Ok(Self { study, models, test, valid, ledger, threads, cancel, watch, weights })
    }

    /// How many measurements the whole study has, at most.
    pub(super) fn size(&self) -> usize {
        let subsets = Subset::of_sizes(&self.study.merges.sizes).len();
        // Of a method with a lambda: the paper's merge, each value on valid text, and the best on test text.
        let of = |method: &Method| match method.factor() {
            Factor::None => 1,
            Factor::Lambda => 2 + self.study.merges.lambdas.len(),
        };
        let merges: usize = Method::ALL.iter().map(of).sum();
        self.models.by_subject.len() + self.study.seeds.len() * Setup::ALL.len() * subsets * merges
    }

    /// Measures everything that was not measured before.
    ///
    /// # Errors
    /// What is wrong with a model; [`ExecError::Interrupted`]; what the machine does.
    pub(super) fn fill(mut self) -> Result<Book, Error> {
        let mut book = Book::new(self.test);
        self.watch.measuring(self.size());
        for ((seed, setup, subject), folder) in &self.models.by_subject {
            let nats = self.model(&format!("seed {seed}, {}, {subject}", setup.name()), folder)?;
            book.insert(*seed, *setup, *subject, nats);
        }
        for seed in &self.study.seeds {
            for setup in Setup::ALL {
                for subset in Subset::of_sizes(&self.study.merges.sizes) {
                    for method in Method::ALL {
                        self.cell(Cell { seed: *seed, setup, subset, method }, &mut book)?;
                    }
                }
            }
        }
        Ok(book)
    }

    /// One method on one subset: the paper's setting, and with the best lambda.
    fn cell(&mut self, cell: Cell, book: &mut Book) -> Result<(), Error> {
        let Cell { seed, setup, subset, method } = cell;
        let test = self.test;
        let nats = self.merge(cell, 1.0, test)?;
        book.insert(seed, setup, Subject::Merge(subset, method, Tuning::Paper), nats.clone());
        if method.factor() == Factor::None {
            return Ok(());
        }
        let mut best: Option<(f64, f64)> = None;
        for lambda in self.study.merges.lambdas.clone() {
            let valid = self.valid;
            let nats = self.merge(cell, lambda, valid)?;
            let bits = |code: &str| bits_per_byte(valid, &nats, code).value;
            let members: Vec<f64> = subset.members().map(|l| bits(l.code())).collect();
            let members = members.iter().sum::<f64>() / members.len() as f64;
            book.sweep.push(Swept { seed, setup, subset, method, lambda, members, english: bits(ENGLISH) });
            if best.is_none_or(|(_, lowest)| members < lowest) {
                best = Some((lambda, members));
            }
        }
        let lambda = best.map_or(1.0, |(lambda, _)| lambda);
        let nats = if lambda == 1.0 { nats } else { self.merge(cell, lambda, test)? };
        book.insert(seed, setup, Subject::Merge(subset, method, Tuning::Swept), nats);
        book.chosen.insert((seed, setup, subset, method), lambda);
        self.watch.measured(usize::from(lambda == 1.0));
        Ok(())
    }

    fn model(&mut self, what: &str, folder: &Path) -> Result<Nats, Error> {
        let digest =
            sha256_hex(format!("{NUMBERS}\0{}\0{}", self.test.digest, self.weights_of(folder)).as_bytes());
        let (test, all) = (self.test, all_languages().collect::<Vec<_>>());
        self.measure(&digest, what, (test, &all), || {
            ModelSource::open(&folder.to_string_lossy(), &PlanOptions::default())
        })
    }

    fn merge(&mut self, cell: Cell, lambda: f64, yardstick: &Yardstick) -> Result<Nats, Error> {
        let Cell { seed, setup, subset, method } = cell;
        let models = self.models;
        let folder = |subject: Subject| {
            models.by_subject.get(&(seed, setup, subject)).map_or(Path::new(""), PathBuf::as_path)
        };
        let experts = subset.members().map(|l| folder(Subject::Language(l))).collect();
        let merge = Merge { method, lambda, base: folder(Subject::English), models: experts, seed };
        let recipe = merge.text(|folder| self.weights_of(folder).to_owned());
        let drops = if method == Method::DareTies { seed } else { 0 };
        // Lambda is chosen by the languages that are merged; English shows what it costs there.
        let chosen_by = std::iter::once(ENGLISH).chain(subset.members().map(Language::code));
        let languages: Vec<&'static str> = match yardstick.part {
            Part::Valid => chosen_by.collect(),
            Part::Train | Part::Test => all_languages().collect(),
        };
        let identity = format!("{NUMBERS}\0{}\0{drops}\0{recipe}", yardstick.digest);
        let what = format!(
            "seed {seed}, {}, {} {subset}, lambda {lambda}, {}",
            setup.name(),
            method.name(),
            yardstick.part.name()
        );
        self.measure(&sha256_hex(identity.as_bytes()), &what, (yardstick, &languages), || Ok(merge.source()?))
    }

    fn weights_of(&self, folder: &Path) -> &str {
        self.weights.get(folder).map_or("", String::as_str)
    }

    /// What is known of a digest, or else measures, on the languages that are asked for.
    fn measure(
        &mut self,
        digest: &str,
        what: &str,
        (yardstick, languages): (&Yardstick, &[&'static str]),
        source: impl FnOnce() -> Result<ModelSource, Error>,
    ) -> Result<Nats, Error> {
        let whole = |kept: &&Kept| languages.iter().all(|l| kept.nats.iter().any(|n| n.0 == *l));
        if let Some(kept) = self.ledger.get(digest).filter(whole) {
            self.watch.measured(1);
            return Ok(kept.nats.clone());
        }
        if self.cancel.load(Ordering::Relaxed) {
            return Err(ExecError::Interrupted.into());
        }
        let started = Instant::now();
        let nats = yardstick.measure(source()?, languages, self.threads, self.cancel)?;
        let kept = Kept { nats: nats.clone(), seconds: started.elapsed().as_secs_f64() };
        self.ledger.keep(digest, what, kept)?;
        self.watch.measured(1);
        Ok(nats)
    }
}
