//! The models that are merged: those of a study, found or made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use growmerge::problem::{Error, Problem};

use super::arm::Arm;
use super::bench::{Bench, Shared};
use super::judge::Judge;
use super::results::{Cell, Results};
use super::scores::{Goal, Scores};
use super::{Experiment, Options};
use crate::reproduce::ledger::Ledger;
use crate::reproduce::models::{Builder, Models, Runs};
use crate::reproduce::runs::{self, Files};
use crate::reproduce::stage::Stage;
use crate::reproduce::yardstick::{Pick, Yardstick};
use crate::reproduce::{self, Language, Lengths, Maker, Part, Setup, Study, Subject, Texts, all_languages};

/// Models of all arms and seeds.
pub(super) struct Trained {
    /// Of all of them.
    pub tokenizer: Stage,
    /// Steps of every run.
    pub lengths: Lengths,
    /// What training read.
    pub files: Files,
    /// The same with digests in place of paths.
    pub file_digests: Files,
    models: Vec<(Arm, Models)>,
}

impl Trained {
    /// Finds or makes them, as the study itself would.
    ///
    /// # Errors
    /// Another process that works in the folder; what makers say; what the machine does.
    pub(super) fn new(
        experiment: &Experiment,
        texts: &Texts,
        out: &Path,
        maker: &dyn Maker,
        options: Options<'_>,
    ) -> Result<Self, Error> {
        let study = &experiment.study;
        let folder = out.join("models");
        // Held as long as models may be made, so that no study makes them at the same time.
        let _alone = Ledger::open(&out.join("measured.jsonl"))?;
        let Options { cancel, watch, .. } = options;
        let (all, runs) = (&Setup::ALL[..], Runs::Merged);
        let builder = Builder { study, texts, maker, folder: &folder, cancel, watch, setups: all, runs };
        let tokenizer = builder.tokenizer()?;
        let watched = Yardstick::new(
            texts,
            Part::Valid,
            (Pick::First, study.texts.valid_tokens),
            &tokenizer.folder,
            study.model.vocab as usize,
            study.sequence,
        )?;
        let lengths = Lengths::new(study, &runs::tokens(texts, &tokenizer.folder, study.model.vocab)?);
        watch.begin(study, &lengths);
        let valid = reproduce::sentences(&watched, &out.join("valid"))?;
        let mut models = Vec::new();
        for arm in &experiment.arms {
            let (study, setups) = (arm.study(study), [arm.setup()]);
            let builder = Builder { study: &study, setups: &setups, ..builder };
            models.push((*arm, builder.models(&tokenizer, &lengths, &valid)?));
        }
        let train = |of: &dyn Fn(&'static str) -> PathBuf| all_languages().map(|l| (l, of(l))).collect();
        let files = Files {
            tokenizer: tokenizer.folder.clone(),
            train: train(&|l| texts.path(l, Part::Train).to_owned()),
            valid: BTreeMap::new(),
        };
        let file_digests = Files {
            tokenizer: PathBuf::from(&tokenizer.digest),
            train: train(&|l| PathBuf::from(texts.sha256(l, Part::Train))),
            valid: BTreeMap::new(),
        };
        Ok(Self { tokenizer, lengths, files, file_digests, models })
    }

    fn folder(&self, arm: Arm, seed: u64, subject: Subject) -> Result<&Path, Error> {
        let models = self.models.iter().find(|(a, _)| *a == arm);
        let folder = models.and_then(|(_, m)| m.by_subject.get(&(seed, arm.setup(), subject)));
        let missing = || Problem::error(arm.name(), format!("seed {seed} has no model {subject}"));
        Ok(folder.ok_or_else(missing)?)
    }

    /// Seconds that a model's training took.
    fn seconds(&self, folder: &Path) -> f64 {
        let mut stages = self.models.iter().flat_map(|(_, m)| &m.stages);
        stages.find(|s| s.folder == folder).map_or(f64::NAN, |s| s.seconds)
    }

    /// Judges every contender of `results` on the models of an arm and seed.
    ///
    /// # Errors
    /// What is wrong with a recipe; what the machine does.
    pub(super) fn cell(
        &self,
        judge: &mut Judge<'_>,
        shared: Shared<'_>,
        study: &Study,
        (arm, seed): (Arm, u64),
        results: &Results,
    ) -> Result<Cell, Error> {
        let folder = |subject| self.folder(arm, seed, subject);
        let base = folder(Subject::English)?.to_owned();
        let joint = folder(Subject::Joint)?;
        let experts = Language::all().map(|l| Ok(folder(Subject::Language(l))?.to_owned()));
        let experts: Vec<PathBuf> = experts.collect::<Result<_, Error>>()?;
        let mut bench = Bench::new(shared, study, (arm, seed), base.clone(), experts.clone())?;
        bench.know_weights(joint)?;
        let mut own = Scores::default();
        for (language, expert) in Language::all().zip(&experts) {
            let scores = judge.model(&bench, language.code(), expert)?;
            own.0.extend(scores.0.get_key_value(language.code()).map(|(l, e)| (*l, *e)));
        }
        let mut cell = Cell {
            seed,
            english: judge.model(&bench, "English", &base)?,
            own,
            joint: judge.model(&bench, "joint training", joint)?,
            joint_seconds: self.seconds(joint),
            outcomes: BTreeMap::new(),
        };
        for contender in &results.contenders {
            for goal in Goal::ALL {
                let outcome = judge.judge(&bench, contender, goal)?;
                if goal == Goal::Five {
                    bench.choose(contender.name, outcome.point.clone());
                }
                cell.outcomes.insert((contender.name, goal), outcome);
            }
            shared.watch.measured(1);
        }
        Ok(cell)
    }
}
