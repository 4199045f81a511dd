//! `tune --teacher` and `--teachers`: models whose predictions are learned from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use growmerge::checkpoint::Place;
use growmerge::eval::{Model, ModelSource};
use growmerge::plan::Plan;
use growmerge::problem::{Error, ExecError, Problem, Problems};
use growmerge::tune::suits;

use super::super::one_model;
use super::super::progress::{Measure, Progress};
use super::Args;
use super::goal::Given;

/// `et=models/et`.
fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((language, model)) if !language.is_empty() && !model.is_empty() => {
            Ok((language.to_owned(), model.to_owned()))
        }
        _ => Err("write it as LANGUAGE=MODEL, for instance et=models/et".into()),
    }
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("it is a number from 0 to 1".into()),
    }
}

/// Learning from what models predict
#[derive(clap::Args)]
#[group(id = "teaching_models")]
pub(super) struct Options {
    /// A model of a language, as et=models/et: learn from what it predicts at each token of the language's text instead of
    /// from the token; again for each language. It must have the merge's vocabulary. Memory beside the models: 4 bytes for each token of a
    /// step and each of the vocabulary, a MiB a token where that has 262144
    #[arg(long, value_name = "LANG=MODEL", value_parser = named)]
    pub(super) teacher: Vec<(String, String)>,
    /// Folder of such models, each a folder that is called like its language; languages that it lacks learn from their
    /// tokens
    #[arg(long, value_name = "DIR")]
    teachers: Option<PathBuf>,
    /// How much of a token's place a teacher's prediction takes: with less than 1 the token itself has the rest [default: 1]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(super) teaching: Option<f64>,
}

impl Options {
    /// Of each language that there is text of the model that teaches it.
    fn named(&self, given: &Given) -> Result<Vec<(String, String)>, Problems> {
        let (mut problems, mut named) = (Problems::new(), self.teacher.clone());
        for (at, (language, _)) in self.teacher.iter().enumerate() {
            if self.teacher[..at].iter().any(|(other, _)| other == language) {
                problems.push(Problem::error("--teacher", format!("there are two teachers of `{language}`")));
            }
        }
        if let Some(folder) = &self.teachers {
            let at = folder.display().to_string();
            let in_folder = given.languages().map(|language| (language, folder.join(language)));
            let in_folder: Vec<_> = in_folder.filter(|(_, model)| model.is_dir()).collect();
            if !folder.is_dir() {
                problems.push(Problem::error(at, "there is no such folder of teachers"));
            } else if in_folder.is_empty() {
                let what = "has no folder that is called like a language that there is text of";
                problems.push(Problem::error(at, what));
            }
            let known = |language: &str| self.teacher.iter().any(|(other, _)| other == language);
            let others = in_folder.into_iter().filter(|(language, _)| !known(language));
            named.extend(others.map(|(l, model)| (l.to_owned(), model.display().to_string())));
        }
        if self.teaching.is_some() && named.is_empty() && !problems.has_errors() {
            let problem = Problem::error("--teaching", "is how much teachers count, and there are none");
            problems.push(problem.hint("name them with --teacher LANG=MODEL or --teachers DIR"));
        }
        if problems.has_errors() { Err(problems) } else { Ok(named) }
    }
}

/// Teachers of which the headers were read, and the languages that each teaches.
pub(super) struct Found(Vec<(ModelSource, Vec<String>)>);

impl Args {
    /// Finds every teacher; what is wrong with any of them is reported together.
    pub(super) fn find_teachers(&self, plan: &Plan, given: &Given) -> Result<Found, Error> {
        let named = self.teachers.named(given)?;
        let (mut problems, mut found) = (Problems::new(), Vec::<(ModelSource, Vec<String>)>::new());
        let class = match named.is_empty() {
            true => (0, 0),
            false => {
                let config = self.config(plan)?;
                (config.vocab, self.window(&config)?)
            }
        };
        for (language, name) in named {
            if let Some((_, languages)) = found.iter_mut().find(|(source, _)| source.name == name) {
                languages.push(language);
                continue;
            }
            match one_model::source(&name, &self.numbers, &self.elsewhere) {
                Ok(source) => {
                    problems.extend(suits(&source, &language, class).err().unwrap_or_default());
                    found.push((source, vec![language]));
                }
                Err(Error::Input(wrong)) => problems.extend(wrong),
                Err(other) => return Err(other),
            }
        }
        if problems.has_errors() { Err(problems.into()) } else { Ok(Found(found)) }
    }
}

impl Found {
    /// Brings what is elsewhere and reads every weight, and says who learns from whom.
    pub(super) fn load(
        self,
        args: &Args,
        given: &Given,
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Taught, Error> {
        let away: Vec<Place> = self.0.iter().flat_map(|(source, _)| source.away()).collect();
        args.elsewhere.bring(&away.iter().collect::<Vec<&Place>>(), args.silent(), cancel)?;
        let mut taught = Taught::default();
        for (source, languages) in self.0 {
            if cancel.load(Ordering::Relaxed) {
                return Err(ExecError::Interrupted.into());
            }
            source.attach()?;
            if !args.silent() && !source.warnings.is_empty() {
                eprintln!("{}", source.warnings);
            }
            let progress = Progress::new(Measure::Bytes, args.silent());
            let model = source.load(threads, &progress);
            progress.finish();
            let model = Arc::new(model?);
            taught.0.extend(languages.into_iter().map(|language| (language, model.clone())));
        }
        let untaught: Vec<&str> = given.languages().filter(|l| !taught.0.contains_key(*l)).collect();
        if !args.silent() && !taught.0.is_empty() && !untaught.is_empty() {
            eprintln!("without a teacher, from tokens: {}", untaught.join(", "));
        }
        Ok(taught)
    }
}

/// The teacher of each language that has one.
#[derive(Default)]
pub(super) struct Taught(pub(super) BTreeMap<String, Arc<Model>>);
