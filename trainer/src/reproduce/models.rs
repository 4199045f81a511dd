//! Every model of a study, each in a folder that is named after what decides it: what is there already is not made
//! again, and another study in the same folder shares what it has in common.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use growmerge::problem::Error;
use serde_json::json;

use super::Watch;
use super::maker::{Maker, Widening};
use super::runs::{Files, Goal, Lengths, describe};
use super::scale::Study;
use super::stage::{Stage, Stages};
use super::subject::{ENGLISH, Language, Setup, Size, Subject};
use super::texts::{Part, Texts, all_languages};
use crate::train::config::Start;

/// All models of a study.
#[derive(Debug)]
pub(super) struct Models {
    /// By seed, setup and what they are.
    pub by_subject: BTreeMap<(u64, Setup, Subject), PathBuf>,
    /// Everything that was made, in order.
    pub stages: Vec<Stage>,
    /// Folders with curves, by seed, setup and what was trained.
    pub curves: BTreeMap<(u64, Setup, Subject), PathBuf>,
}

impl Models {
    /// How many times as long as the small model's a step of the large ones took by the clock: medians over the runs on
    /// single languages. `None` before there are any.
    pub(super) fn seconds_ratio(&self, lengths: &Lengths) -> Option<f64> {
        let median = |size: Size| {
            let mut seconds: Vec<f64> = Vec::new();
            for ((_, setup, subject), folder) in &self.curves {
                let Subject::Language(language) = *subject else { continue };
                let stage = self.stages.iter().find(|s| s.folder == *folder);
                if let Some(stage) = stage.filter(|_| setup.size() == size) {
                    seconds.push(stage.seconds / lengths.of(Goal::Language(language)) as f64);
                }
            }
            seconds.sort_by(f64::total_cmp);
            seconds.get(seconds.len() / 2).copied()
        };
        Some(median(Size::Large)? / median(Size::Small)?)
    }
}

/// Makes models.
pub(super) struct Builder<'a> {
    /// What is made.
    pub study: &'a Study,
    /// What it is made from.
    pub texts: &'a Texts,
    /// Makes it.
    pub maker: &'a dyn Maker,
    /// Where it is made.
    pub folder: &'a Path,
    /// Set from outside to stop between two stages.
    pub cancel: &'a AtomicBool,
    /// Is told of stages.
    pub watch: &'a dyn Watch,
}

impl Builder<'_> {
    fn stages(&self) -> Stages<'_> {
        Stages { folder: self.folder, cancel: self.cancel, watch: self.watch }
    }

    /// The tokenizer of all models of the study.
    ///
    /// # Errors
    /// What its maker says.
    pub(super) fn tokenizer(&self) -> Result<Stage, Error> {
        let texts: Vec<(&str, &Path)> =
            all_languages().map(|l| (l, self.texts.path(l, Part::Train))).collect();
        let digests: Vec<&str> = all_languages().map(|l| self.texts.sha256(l, Part::Train)).collect();
        let identity = json!({ "texts": digests, "vocab": self.study.model.vocab });
        self.stages().new_folder("tokenizer", &identity, |out| {
            self.maker.tokenizer(&texts, self.study.model.vocab, out)
        })
    }

    /// All models, with the steps that the texts allow; `valid` are sentences that are measured on the way.
    ///
    /// # Errors
    /// What their maker says.
    pub(super) fn models(
        &self,
        tokenizer: &Stage,
        lengths: &Lengths,
        valid: &BTreeMap<&'static str, PathBuf>,
    ) -> Result<Models, Error> {
        let mut models =
            Models { by_subject: BTreeMap::new(), stages: vec![tokenizer.clone()], curves: BTreeMap::new() };
        let train = all_languages().map(|l| (l, self.texts.path(l, Part::Train).to_owned())).collect();
        let real = Files { tokenizer: tokenizer.folder.clone(), train, valid: valid.clone() };
        for seed in &self.study.seeds {
            OneSeed { builder: self, tokenizer, lengths, real: &real, seed: *seed, models: &mut models }
                .all()?;
        }
        Ok(models)
    }
}

/// The models of one seed.
struct OneSeed<'a> {
    builder: &'a Builder<'a>,
    tokenizer: &'a Stage,
    lengths: &'a Lengths,
    real: &'a Files,
    seed: u64,
    models: &'a mut Models,
}

impl OneSeed<'_> {
    /// Seed → English in each setup → languages and joint model of each.
    fn all(mut self) -> Result<(), Error> {
        let scratch = Start::Scratch(self.builder.study.model.config());
        let seed_model = self.train("seed", Goal::Seed, (scratch.clone(), scratch), Vec::new())?;
        let small = self.english(Setup::Small, &seed_model)?;
        let cloned = self.grow("1x-cloned, en", &small)?;
        let grown_seed = self.grow("2x, seed", &seed_model)?;
        let grown = self.english(Setup::Grown, &grown_seed)?;
        self.models.curves.insert((self.seed, Setup::Small, Subject::English), small.folder.clone());
        self.models.curves.insert((self.seed, Setup::Grown, Subject::English), grown.folder.clone());
        for (setup, english) in [(Setup::Small, small), (Setup::Cloned, cloned), (Setup::Grown, grown)] {
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
            let shorter =
                self.train(&format!("{name}, shorter"), Goal::Shorter(language), from(english), Vec::new())?;
            self.keep(setup, Subject::Shorter(language), shorter.folder);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::Scale;
    use crate::reproduce::stage::tests::Deaf;
    use crate::train::config::Run;

    /// Makes empty folders.
    struct Nothing;
    impl Maker for Nothing {
        fn tokenizer(&self, _: &[(&str, &Path)], _: u64, out: &Path) -> Result<(), Error> {
            std::fs::create_dir(out).unwrap();
            Ok(())
        }
        fn train(&self, _: &Run, out: &Path) -> Result<(), Error> {
            std::fs::create_dir(out).unwrap();
            Ok(())
        }
        fn grow(&self, _: &Path, _: &Widening, out: &Path) -> Result<(), Error> {
            std::fs::create_dir(out).unwrap();
            Ok(())
        }
    }

    /// Names of folders that were made on 2026-11-24. Where this fails though models would be the same, what was made before
    /// is not found any more; where they would not be the same, `NUMBERS` changes, and this with it.
    #[test]
    fn models_of_mini_that_were_made_before_are_found() {
        let texts = Texts::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("texts")).unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let (study, cancel, watch) = (Scale::Mini.study(Some(1)), AtomicBool::new(false), Deaf);
        let folder = temporary.path();
        let builder =
            Builder { study: &study, texts: &texts, maker: &Nothing, folder, cancel: &cancel, watch: &watch };
        let tokenizer = builder.tokenizer().unwrap();
        let tokens = [
            ("en", 808_082),
            ("et", 385_163),
            ("fa", 368_821),
            ("fo", 73_739),
            ("is", 443_119),
            ("sv", 457_231),
        ];
        let lengths = Lengths::new(&study, &tokens.map(|(l, n)| (l.to_owned(), n)).into());
        let valid = all_languages().map(|l| (l, PathBuf::from(l))).collect();
        builder.models(&tokenizer, &lengths, &valid).unwrap();
        for name in [
            "tokenizer-135d1a53",
            "seed1-seed-db353ea4",
            "seed1-1x-en-b81cfdfc",
            "seed1-1x-fo-9d6aff75",
            "seed1-2x-seed-a5972123",
            "seed1-2x-fo-shorter-c82fd808",
            "seed1-1x-cloned-multilingual-7e1ae6a2",
            "seed1-2x-multilingual-9b08179d",
        ] {
            assert!(folder.join(name).is_dir(), "{name}");
        }
    }
}
