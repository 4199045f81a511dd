//! The training runs of a study, as anybody could start them with `growmerge-trainer train`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use growmerge::eval::{Split, Tokenizer};
use growmerge::problem::{Error, Problems};

use super::curves;
use super::scale::Study;
use super::subject::{ENGLISH, Language};
use super::texts::{Part, Texts, all_languages};
use crate::data::{Mixture, Portion, Sampling, Source};
use crate::files;
use crate::train::config::{Checkpoints, ElementType, Optimizer, Run, Schedule, Start, Validation};

/// Where a run finds what it reads. The identity of a run is its description with digests in place of paths.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// A folder with `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// What is trained on, by language.
    pub train: BTreeMap<&'static str, PathBuf>,
    /// What is measured on the way, by language.
    pub valid: BTreeMap<&'static str, PathBuf>,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The English model that all come from.
    Seed,
    /// The rest of English pretraining.
    English,
    /// One language.
    Language(Language),
    /// One language, at the cost of the small model's run.
    Shorter(Language),
    /// All languages together.
    Joint,
}

impl Goal {
    /// Its place in a list of all: every run of a study seed reads its texts in an order of its own, and the same run in
    /// another setup in the same order, so that setups differ in nothing else.
    fn number(self) -> u64 {
        match self {
            Self::Seed => 0,
            Self::English => 1,
            Self::Joint => 2,
            Self::Language(language) | Self::Shorter(language) => {
                3 + Language::all().position(|l| l == language).unwrap_or_default() as u64
            }
        }
    }
}

/// Steps of every run, as far as the texts allow.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Lengths {
    /// Of the seed model.
    pub seed: u64,
    /// Of the rest of English pretraining.
    pub english: u64,
    /// Of each language, by code.
    pub languages: BTreeMap<&'static str, u64>,
    /// Of a large model, for what the small one's steps on each language cost.
    pub shorter: BTreeMap<&'static str, u64>,
}

impl Lengths {
    /// What the study asks for, but no text more often than it allows; `tokens` are those of each language's text.
    pub(crate) fn new(study: &Study, tokens: &BTreeMap<String, u64>) -> Self {
        let most = |language: &str, share: f64| {
            let chunks = tokens.get(language).copied().unwrap_or(0) / (study.sequence as u64 + 1);
            let sequences = study.max_epochs * chunks as f64 / share;
            ((sequences / study.batch as f64) as u64).max(1)
        };
        let language = |l: Language| {
            let steps = study.steps.language.min(most(l.code(), 1.0 - study.replay));
            (l.code(), steps)
        };
        let shorter = |(code, steps): (&'static str, u64)| {
            (code, ((steps as f64 / study.flop_ratio()).round() as u64).max(1))
        };
        Self {
            seed: study.steps.seed.min(most(ENGLISH, 1.0)),
            english: study.steps.english.min(most(ENGLISH, 1.0)),
            shorter: Language::all().map(language).map(shorter).collect(),
            languages: Language::all().map(language).collect(),
        }
    }

    /// Of a run.
    pub fn of(&self, goal: Goal) -> u64 {
        match goal {
            Goal::Seed => self.seed,
            Goal::English => self.english,
            Goal::Language(language) => self.languages.get(language.code()).copied().unwrap_or(1),
            Goal::Shorter(language) => self.shorter.get(language.code()).copied().unwrap_or(1),
            Goal::Joint => self.languages.values().sum(),
        }
    }
}

/// Tokens of each language's training text, with the token that ends a sentence. They are counted once: `kept`, a file
/// beside the tokenizer, has them afterwards.
///
/// # Errors
/// What is wrong with texts or tokenizer; if the file cannot be written.
pub(crate) fn tokens(texts: &Texts, tokenizer: &Path, vocab: u64) -> Result<BTreeMap<String, u64>, Error> {
    let kept = tokenizer.join("tokens.json");
    if let Some(tokens) = std::fs::read(&kept).ok().and_then(|b| serde_json::from_slice(&b).ok()) {
        return Ok(tokens);
    }
    let tokenizer = Tokenizer::open(tokenizer, &growmerge::eval::Start::Auto)?;
    let count = |language: &'static str| {
        let text = texts.read(language, Part::Train)?;
        let encoded = tokenizer.encode(&text.documents, vocab as usize)?;
        Ok((language.to_owned(), encoded.iter().map(|t| t.ids.len() as u64).sum()))
    };
    let tokens: BTreeMap<String, u64> = all_languages().map(count).collect::<Result<_, Problems>>()?;
    files::write(&kept, serde_json::to_string(&tokens).unwrap_or_default())?;
    Ok(tokens)
}

/// The description of a run; `keep` are steps after which a model is kept beside the last one.
pub(crate) fn describe(
    study: &Study,
    seed: u64,
    goal: Goal,
    lengths: &Lengths,
    start: Start,
    files: &Files,
    keep: Vec<u64>,
) -> Run {
    let steps = lengths.of(goal);
    let valid = |code: &str| files.valid.get(code).map(|p| (code.to_owned(), p.clone()));
    let watched: BTreeMap<String, PathBuf> = match goal {
        Goal::Seed | Goal::English => valid(ENGLISH).into_iter().collect(),
        Goal::Language(language) | Goal::Shorter(language) => {
            [ENGLISH, language.code()].into_iter().filter_map(valid).collect()
        }
        Goal::Joint => {
            std::iter::once(ENGLISH).chain(Language::all().map(Language::code)).filter_map(valid).collect()
        }
    };
    Run {
        start,
        tokenizer: Some(files.tokenizer.clone()),
        seed: seed * 100 + goal.number(),
        sequence: study.sequence,
        batch: study.batch,
        micro_batch: None,
        steps,
        optimizer: Optimizer { lr: study.learning_rate, ..Optimizer::default() },
        schedule: Schedule::default(),
        data: mixture(study, goal, lengths, files),
        validation: Some(Validation { texts: watched, every: (steps / curves::PARTS).max(1) }),
        // float32, so that no rounding of a file stands between training, growing and merging.
        checkpoints: Checkpoints { every: 200, keep, dtype: ElementType::Float32 },
    }
}

/// What is read, and how much of each: languages of the joint model as much as in their own runs.
fn mixture(study: &Study, goal: Goal, lengths: &Lengths, files: &Files) -> Mixture {
    let source = |code: &str, portion| {
        let text = files.train.get(code).cloned().into_iter().collect();
        Source { name: code.to_owned(), text, portion }
    };
    let weighted = |l: Language| source(l.code(), Portion::Weight(lengths.of(Goal::Language(l)) as f64));
    let mut sources: Vec<Source> = match goal {
        Goal::Seed | Goal::English => vec![source(ENGLISH, Portion::Weight(1.0))],
        Goal::Language(language) | Goal::Shorter(language) => vec![weighted(language)],
        Goal::Joint => Language::all().map(weighted).collect(),
    };
    if !matches!(goal, Goal::Seed | Goal::English) {
        sources.push(source(ENGLISH, Portion::Replay(study.replay)));
    }
    Mixture {
        sources,
        max_epochs: study.max_epochs,
        sampling: Sampling::Weights,
        documents: Split::Line,
        field: "text".into(),
    }
}
