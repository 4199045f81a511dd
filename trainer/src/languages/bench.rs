//! What a contender has to work with: the models of one arm and seed, texts to fit on, and a place for what it makes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use growmerge::eval::ModelSource;
use growmerge::plan::{Plan, PlanOptions};
use growmerge::problem::{Error, ExecError, Problems};
use growmerge::recipe::Reading;
use growmerge::write::sha256_hex;
use serde_json::Value;

use super::arm::Arm;
use super::effort::Effort;
use super::point::Point;
use super::split::Portions;
use super::words::{Words, quoted};
use crate::reproduce::runs::{Files, Lengths};
use crate::reproduce::stage::{Stage, Stages};
use crate::reproduce::{Maker, Study, Texts, Watch};

/// What all arms and seeds share.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    /// What may be spent.
    pub effort: &'a Effort,
    /// Texts to fit on.
    pub portions: &'a Portions,
    /// The corpus.
    pub texts: &'a Texts,
    /// What training reads.
    pub files: &'a Files,
    /// The same with digests in place of paths.
    pub file_digests: &'a Files,
    /// Steps that the models were trained for.
    pub lengths: &'a Lengths,
    /// Trains.
    pub maker: &'a dyn Maker,
    /// Where contenders keep what they make.
    pub folder: &'a Path,
    /// Worker threads, at least 1; no number depends on them.
    pub threads: usize,
    /// Set from outside to stop.
    pub cancel: &'a AtomicBool,
    /// Is told of what is made.
    pub watch: &'a dyn Watch,
}

/// The models of one arm and seed, and how to make something of them.
pub(super) struct Bench<'a> {
    /// Texts and tools.
    pub shared: Shared<'a>,
    /// That the models belong to.
    pub study: &'a Study,
    /// Where the models come from.
    pub arm: Arm,
    /// Of the study; also that of random drops.
    pub seed: u64,
    /// The English model.
    pub base: PathBuf,
    /// A model for each language, in the order of [`crate::reproduce::Language::all`].
    pub experts: Vec<PathBuf>,
    /// What stands for paths where it matters what they lead to and not where.
    digests: RefCell<BTreeMap<PathBuf, String>>,
    chosen: BTreeMap<&'static str, Point>,
}

/// Something that a contender makes before it can merge.
#[derive(Clone, Debug)]
pub(super) struct Artefact {
    /// Where it is.
    pub folder: PathBuf,
    /// What making it took, when it was made.
    pub seconds: f64,
}

/// A merge that is ready to be made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// Its recipe.
    pub recipe: String,
    /// What had to be made for it.
    pub artefacts: Vec<Artefact>,
}

impl From<Words> for Made {
    /// A merge that needs nothing but its models.
    fn from(words: Words) -> Self {
        Self { recipe: words.text(), artefacts: Vec::new() }
    }
}

impl<'a> Bench<'a> {
    /// Reads all weights once, to know what they are.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(super) fn new(
        shared: Shared<'a>,
        study: &'a Study,
        (arm, seed): (Arm, u64),
        base: PathBuf,
        experts: Vec<PathBuf>,
    ) -> Result<Self, ExecError> {
        let bench = Self {
            shared,
            study,
            arm,
            seed,
            base,
            experts,
            digests: RefCell::default(),
            chosen: BTreeMap::new(),
        };
        bench.know_weights(&bench.base)?;
        bench.experts.iter().try_for_each(|e| bench.know_weights(e))?;
        let portions = shared.portions.fit.values().chain(shared.portions.choose.values());
        portions.for_each(|p| bench.know(&p.path, sha256_hex(p.sentences.join("\n").as_bytes())));
        Ok(bench)
    }

    /// The merge of all languages' models by a method.
    pub(super) fn merge(&self, method: &'static str) -> Words {
        Words::new(method, self.experts.iter().cloned())
    }

    /// The same of their differences from the English model.
    pub(super) fn merge_from_base(&self, method: &'static str) -> Words {
        self.merge(method).on_base(&self.base)
    }

    /// What an earlier contender was best with; a point without settings where it was not tried.
    pub(super) fn chosen(&self, contender: &str) -> Point {
        self.chosen.get(contender).cloned().unwrap_or_default()
    }

    /// Keeps what a contender was best with.
    pub(super) fn choose(&mut self, contender: &'static str, point: Point) {
        self.chosen.insert(contender, point);
    }

    /// Finds or makes a folder that `identity` decides.
    ///
    /// # Errors
    /// What `make` says; what the machine does.
    pub(super) fn artefact(
        &self,
        name: &str,
        identity: &Value,
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Artefact, Error> {
        let stage = self.stages().new_folder(name, identity, make)?;
        Ok(self.made(stage))
    }

    /// The same for a maker that goes on in the folder where it was interrupted.
    ///
    /// # Errors
    /// As [`Bench::artefact`].
    pub(super) fn continued(
        &self,
        name: &str,
        identity: &Value,
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Artefact, Error> {
        let stage = self.stages().continued(name, identity, make)?;
        Ok(self.made(stage))
    }

    fn stages(&self) -> Stages<'a> {
        let Shared { folder, cancel, watch, .. } = self.shared;
        Stages { folder, cancel, watch }
    }

    /// A name for what is made of the models of this arm and seed.
    pub(super) fn name(&self, name: &str) -> String {
        format!("seed {}, {}, {name}", self.seed, self.arm.name())
    }

    fn made(&self, stage: Stage) -> Artefact {
        self.know(&stage.folder, stage.digest);
        Artefact { folder: stage.folder, seconds: stage.seconds }
    }

    /// Lets a digest stand for a path.
    pub(super) fn know(&self, path: &Path, digest: String) {
        self.digests.borrow_mut().insert(path.to_owned(), digest);
    }

    /// Lets the digest of a model's weights stand for its folder.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn know_weights(&self, folder: &Path) -> Result<(), ExecError> {
        let path = folder.join("model.safetensors");
        let bytes = std::fs::read(&path).map_err(ExecError::io("read", &path))?;
        self.know(folder, sha256_hex(&bytes));
        Ok(())
    }

    /// What stands for a path; the path itself if nothing does.
    pub(super) fn digest(&self, path: &Path) -> String {
        let known = self.digests.borrow();
        known.get(path).cloned().unwrap_or_else(|| path.to_string_lossy().into_owned())
    }

    /// A recipe with digests in place of the paths that are known: equal texts merge to the same.
    pub(super) fn identity(&self, recipe: &str) -> String {
        let known = self.digests.borrow();
        known.iter().fold(recipe.to_owned(), |text, (path, digest)| text.replace(&quoted(path), digest))
    }

    /// Plans a recipe's merge; nothing is written when it is loaded.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn source(&self, recipe: &str) -> Result<ModelSource, Problems> {
        ModelSource::planned("merge", self.plan(recipe)?)
    }

    /// Plans a recipe's merge.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn plan(&self, recipe: &str) -> Result<Plan, Problems> {
        let options = PlanOptions { seed: self.seed, ..PlanOptions::default() };
        Plan::from_reading(Reading::parse("recipe", recipe), &options)
    }
}
