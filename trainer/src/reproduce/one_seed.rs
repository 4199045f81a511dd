//! The models of one seed, in the order in which they come from each other.

use std::path::PathBuf;

use growmerge::problem::Error;
use serde_json::json;

use super::maker::Widening;
use super::models::{Builder, Models, Runs};
use super::runs::{Files, Goal, Lengths, describe};
use super::stage::Stage;
use super::subject::{ENGLISH, Language, Setup, Size, Subject};
use super::texts::{Part, all_languages};
use crate::train::config::Start;

/// The models of one seed.
pub(super) struct OneSeed<'a> {
    /// Has them made.
    pub builder: &'a Builder<'a>,
    /// Of all of them.
    pub tokenizer: &'a Stage,
    /// Of runs.
    pub lengths: &'a Lengths,
    /// Where runs find what they read.
    pub real: &'a Files,
    /// The seed.
    pub seed: u64,
    /// Where they are entered.
    pub models: &'a mut Models,
}

impl OneSeed<'_> {
    /// Seed → English in each setup → languages and joint model of each.
    ///
    /// # Errors
    /// What the maker says.
    pub(super) fn all(mut self) -> Result<(), Error> {
        let scratch = Start::Scratch(self.builder.study.model.config());
        let seed_model = self.train("seed", Goal::Seed, (scratch.clone(), scratch), Vec::new())?;
        let asked = |setup| self.builder.setups.contains(&setup);
        let mut english = Vec::new();
        if asked(Setup::Small) || asked(Setup::Cloned) {
            let small = self.english(Setup::Small, &seed_model)?;
            english.push((Setup::Small, small.clone()));
            if asked(Setup::Cloned) {
                english.push((Setup::Cloned, self.grow("1x-cloned, en", &small)?));
            }
            self.models.curves.insert((self.seed, Setup::Small, Subject::English), small.folder);
        }
        if asked(Setup::Grown) {
            let grown_seed = self.grow("2x, seed", &seed_model)?;
            let grown = self.english(Setup::Grown, &grown_seed)?;
            english.push((Setup::Grown, grown.clone()));
            self.models.curves.insert((self.seed, Setup::Grown, Subject::English), grown.folder);
        }
        for (setup, english) in english.into_iter().filter(|e| asked(e.0)) {
            self.keep(setup, Subject::English, english.folder.clone());
            for language in Language::all() {
                self.language(setup, language, &english)?;
            }
            let name = format!("{}, multilingual", setup.name());
            let joint = self.train(&name, Goal::Joint, from(&english), Vec::new())?;
            self.keep(setup, Subject::Joint, joint.folder.clone());
            self.models.curves.insert((self.seed, setup, Subject::Joint), joint.folder);
        }
        Ok(())
    }

    fn english(&mut self, setup: Setup, seed_model: &Stage) -> Result<Stage, Error> {
        let name = format!("{}, {ENGLISH}", setup.name());
        self.train(&name, Goal::English, from(seed_model), Vec::new())
    }

    /// A language; with a large model also at the cost of the small one's run, on the way and in a run of its own.
    fn language(&mut self, setup: Setup, language: Language, english: &Stage) -> Result<(), Error> {
        let matched = self.lengths.of(Goal::Shorter(language));
        let keep = match setup.size() {
            Size::Small => Vec::new(),
            Size::Large => vec![matched],
        };
        let name = format!("{}, {}", setup.name(), language.code());
        let stage = self.train(&name, Goal::Language(language), from(english), keep)?;
        if setup.size() == Size::Large {
            self.keep(setup, Subject::Matched(language), stage.folder.join(format!("step-{matched}")));
            if self.builder.runs == Runs::All {
                let name = format!("{name}, shorter");
                let shorter = self.train(&name, Goal::Shorter(language), from(english), Vec::new())?;
                self.keep(setup, Subject::Shorter(language), shorter.folder);
            }
        }
        self.keep(setup, Subject::Language(language), stage.folder.clone());
        self.models.curves.insert((self.seed, setup, Subject::Language(language)), stage.folder);
        Ok(())
    }

    fn keep(&mut self, setup: Setup, subject: Subject, folder: PathBuf) {
        self.models.by_subject.insert((self.seed, setup, subject), folder);
    }

    /// Trains from a start, given as it is and as its digest.
    fn train(
        &mut self,
        name: &str,
        goal: Goal,
        (start, start_digest): (Start, Start),
        keep: Vec<u64>,
    ) -> Result<Stage, Error> {
        let Builder { study, texts, maker, .. } = self.builder;
        let run =
            |start, files: &Files| describe(study, self.seed, goal, self.lengths, start, files, keep.clone());
        let digests = |part: Part| all_languages().map(move |l| (l, PathBuf::from(texts.sha256(l, part))));
        let identity = Files {
            tokenizer: PathBuf::from(&self.tokenizer.digest),
            train: digests(Part::Train).collect(),
            valid: digests(Part::Valid).collect(),
        };
        let identity = serde_json::to_value(run(start_digest, &identity)).unwrap_or_default();
        let name = format!("seed {}, {name}", self.seed);
        let stage = self
            .builder
            .stages()
            .continued(&name, &identity, |out| maker.train(&run(start, self.real), out))?;
        self.models.stages.push(stage.clone());
        Ok(stage)
    }

    fn grow(&mut self, name: &str, from: &Stage) -> Result<Stage, Error> {
        let Builder { study, maker, .. } = self.builder;
        let growth = Widening { width: study.growth, noise_snr: study.noise_snr, seed: self.seed };
        let identity = json!({ "grown": from.digest, "growth": growth });
        let name = format!("seed {}, {name}", self.seed);
        let stage = self
            .builder
            .stages()
            .new_folder(&name, &identity, |out| maker.grow(&from.folder, &growth, out))?;
        self.models.stages.push(stage.clone());
        Ok(stage)
    }
}

/// A start from a stage, and its digest.
fn from(stage: &Stage) -> (Start, Start) {
    (Start::Checkpoint(stage.folder.clone()), Start::Checkpoint(PathBuf::from(&stage.digest)))
}
