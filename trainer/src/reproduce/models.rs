//! Every model of a study, each in a folder that is named after what decides it: what is there already is not made
//! again, and another study in the same folder shares what it has in common.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use growmerge::problem::Error;
use serde_json::json;

use super::Watch;
use super::maker::Maker;
use super::one_seed::OneSeed;
use super::runs::{Files, Goal, Lengths};
use super::scale::Study;
use super::stage::{Stage, Stages};
use super::subject::{Setup, Size, Subject};
use super::texts::{Part, Texts, all_languages};

/// All models of a study.
#[derive(Debug)]
pub(crate) struct Models {
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
    pub(crate) fn seconds_ratio(&self, lengths: &Lengths) -> Option<f64> {
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
pub(crate) struct Builder<'a> {
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
    /// For which setups.
    pub setups: &'a [Setup],
    /// Which of their models.
    pub runs: Runs,
}

/// Which models of a setup are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// All.
    All,
    /// Those that merges are made of and held against: English, each language and all together.
    Merged,
}

impl Builder<'_> {
    /// Finds or makes what it wants.
    pub(crate) fn stages(&self) -> Stages<'_> {
        Stages { folder: self.folder, cancel: self.cancel, watch: self.watch }
    }

    /// The tokenizer of all models of the study.
    ///
    /// # Errors
    /// What its maker says.
    pub(crate) fn tokenizer(&self) -> Result<Stage, Error> {
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
    pub(crate) fn models(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::Scale;
    use crate::reproduce::maker::Widening;
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
        let builder = Builder {
            study: &study,
            texts: &texts,
            maker: &Nothing,
            folder,
            cancel: &cancel,
            watch: &watch,
            setups: &Setup::ALL,
            runs: Runs::All,
        };
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
