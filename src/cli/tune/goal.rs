//! What is learned from: texts and pairs, in the tokens of the model that the plan will make.

use std::path::PathBuf;

use growmerge::decoder::Config;
use growmerge::eval::{Home, ModelSource, Pairs, Start, Text, Tokenizer};
use growmerge::plan::Plan;
use growmerge::problem::{Error, Problem, Problems};
use growmerge::tune::{Goal, Wanted, no_text};

use super::super::one_model;
use super::Args;
use super::teachers::Taught;

/// `en=0.3`.
pub(super) fn share(text: &str) -> Result<(String, f64), String> {
    let (language, number) =
        text.split_once('=').ok_or("write it as LANGUAGE=NUMBER, for instance en=0.3")?;
    match number.parse() {
        Ok(number) if f64::is_finite(number) && number > 0.0 => Ok((language.to_owned(), number)),
        _ => Err(format!("`{number}` is no number above zero")),
    }
}

/// What the user gave, before anything is known of the model.
pub(super) struct Given {
    texts: Vec<Text>,
    held_out: Vec<Text>,
    /// With how often they count.
    pairs: Vec<(f64, Pairs)>,
}

impl Given {
    /// Those that there is text of.
    pub(super) fn languages(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|text| text.language.as_str())
    }
}

/// Everything that was read.
pub(super) struct Read {
    /// None if there are only pairs.
    pub(super) goal: Option<Goal>,
    /// With how often they count.
    pub(super) pairs: Vec<(f64, Pairs)>,
    pub(super) tokenizer: Tokenizer,
    pub(super) vocab: usize,
    pub(super) context: usize,
}

impl Read {
    /// What there will be values of, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let texts = self.goal.iter().flat_map(|goal| &goal.languages).map(|l| l.name.clone());
        texts.chain(self.pairs.iter().map(|(_, pairs)| format!("{} pairs", pairs.language))).collect()
    }
}

impl Args {
    /// Every language that there is text of, and pairs.
    pub(super) fn given(&self) -> Result<Given, Problems> {
        let mut problems = Problems::new();
        let mut keep = |found: Problems| problems.extend(found);
        let texts = self.texts.read(None).map_err(&mut keep).unwrap_or_default();
        let held_out = self.texts.read_all(&self.held_out, None).map_err(&mut keep).unwrap_or_default();
        let pairs = pairs(&self.search.pairs).map_err(&mut keep).unwrap_or_default();
        let weighed = |pairs: Pairs| (self.share(&pairs.language), pairs);
        let pairs: Vec<(f64, Pairs)> = pairs.into_iter().map(weighed).collect();
        if !problems.has_errors() && texts.is_empty() && !self.search.wanted() {
            problems.push(no_text());
        }
        if !problems.has_errors() {
            problems.extend(self.unknown(&texts, &pairs));
        }
        if problems.has_errors() { Err(problems) } else { Ok(Given { texts, held_out, pairs }) }
    }

    /// How often a language counts.
    fn share(&self, language: &str) -> f64 {
        self.share.iter().rev().find(|s| s.0 == language).map_or(1.0, |s| s.1)
    }

    /// The same in the tokens of the model that the plan will make.
    pub(super) fn read(
        &self,
        plan: &Plan,
        given: Given,
        Taught(mut teachers): Taught,
    ) -> Result<Read, Error> {
        let Given { texts, mut held_out, pairs } = given;
        let mut problems = Problems::new();
        let mut wanted: Vec<Wanted> = Vec::new();
        for text in texts {
            let weight = self.share(&text.language);
            let of_language = |held_out: &Text| held_out.language == text.language;
            let held_out = held_out.iter().position(of_language).map(|at| held_out.swap_remove(at));
            let teacher = teachers.remove(&text.language);
            wanted.push(Wanted { text, held_out, weight, teacher });
        }
        let source = model(plan)?;
        let config = Config::read(&source.config, &source.name).map_err(&mut |found| problems.extend(found));
        let start = Start::named(&self.bos);
        let tokenizer = Tokenizer::of(&source.tokenizer, &start).map_err(&mut |found| problems.extend(found));
        let (Ok(config), Ok(tokenizer)) = (config, tokenizer) else { return Err(problems.into()) };
        let context = self.window(&config).map_err(|found| problems.extend(found)).unwrap_or(2);
        let vocab = config.vocab;
        let goal = match wanted.is_empty() && !pairs.is_empty() {
            true => None,
            false => {
                Goal::new(wanted, &tokenizer, vocab, context).map_err(|found| problems.extend(found)).ok()
            }
        };
        if problems.has_errors() {
            return Err(problems.into());
        }
        Ok(Read { goal, pairs, tokenizer, vocab, context })
    }

    /// How the model that the plan will make computes.
    pub(super) fn config(&self, plan: &Plan) -> Result<Config, Error> {
        let Made { name, config, .. } = model(plan)?;
        Ok(Config::read(&config, &name)?)
    }

    /// Tokens of a window.
    pub(super) fn window(&self, config: &Config) -> Result<usize, Problems> {
        one_model::tokens(("--context", "windows"), self.context, config)
    }

    /// Languages that options name and nothing is there of.
    fn unknown(&self, texts: &[Text], pairs: &[(f64, Pairs)]) -> Problems {
        let of_texts: Vec<&str> = texts.iter().map(|t| t.language.as_str()).collect();
        let of_all: Vec<&str> =
            of_texts.iter().copied().chain(pairs.iter().map(|(_, p)| p.language.as_str())).collect();
        let shares = self.share.iter().map(|(language, _)| ("--share", language, &of_all));
        let held_out = self.held_out.iter().map(|(language, _)| ("--held-out", language, &of_texts));
        let mut problems = Problems::new();
        let teachers = self.teachers.teacher.iter().map(|(language, _)| ("--teacher", language, &of_texts));
        for (option, language, known) in shares.chain(held_out).chain(teachers) {
            if of_all.is_empty() || known.contains(&language.as_str()) {
                continue;
            }
            let problem = Problem::error(option, format!("there is no text of `{language}`"));
            let problem = problem.did_you_mean(language, known.iter().copied());
            let hint = match known.is_empty() {
                true => "there are only pairs, which divide themselves".to_owned(),
                false => format!("there are texts of {}", known.join(", ")),
            };
            problems.push(if problem.hint.is_none() { problem.hint(hint) } else { problem });
        }
        problems
    }
}

fn pairs(named: &[(String, PathBuf)]) -> Result<Vec<Pairs>, Problems> {
    let (mut problems, mut read) = (Problems::new(), Vec::<Pairs>::new());
    for (language, path) in named {
        if read.iter().any(|pairs| pairs.language == *language) {
            let what = format!("there are two files of pairs of `{language}`");
            problems.push(Problem::error(path.display().to_string(), what));
        }
        match Pairs::read(language, path) {
            Ok(pairs) => read.push(pairs),
            Err(found) => problems.extend(found),
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(read) }
}

/// What the plan will make, before it is made.
struct Made {
    name: String,
    config: serde_json::Value,
    tokenizer: Home,
}

fn model(plan: &Plan) -> Result<Made, Error> {
    let name = plan.recipe.0.clone();
    let Some(config) = plan.config.clone() else {
        let what = "there is no config.json, so nothing says how the model computes";
        return Err(Problem::error(name, what).into());
    };
    Ok(Made { tokenizer: ModelSource::tokenizer_of(&name, plan), name, config })
}
