//! `tune --teacher` and `--teachers`: models whose predictions are learned from.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use growmerge::checkpoint::Place;
use growmerge::eval::{Model, ModelSource};
use growmerge::problem::{Error, Problem, Problems};

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
    /// from the token; again for each language. It must have the merge's vocabulary. Memory beside the model: its predictions for
    /// the tokens of a step, of the whole vocabulary in float32
    #[arg(long, value_name = "LANG=MODEL", value_parser = named)]
    pub(super) teacher: Vec<(String, String)>,
    /// Folder of such models, each called like its language; languages that it lacks learn from their tokens
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
            let known = |language: &str| self.teacher.iter().any(|(other, _)| other == language);
            let languages = given.languages().filter(|language| !known(language));
            let in_folder = languages.map(|language| (language.to_owned(), folder.join(language)));
            let in_folder: Vec<_> = in_folder.filter(|(_, model)| model.is_dir()).collect();
            if in_folder.is_empty() {
                let what = "has no folder that is called like a language that there is text of";
                problems.push(Problem::error(folder.display().to_string(), what));
            }
            named.extend(in_folder.into_iter().map(|(l, model)| (l, model.display().to_string())));
        }
        if self.teaching.is_some() && named.is_empty() && !problems.has_errors() {
            let problem = Problem::error("--teaching", "is how much teachers count, and there are none");
            problems.push(problem.hint("name them with --teacher LANG=MODEL or --teachers DIR"));
        }
        if problems.has_errors() { Err(problems) } else { Ok(named) }
    }
}

/// Teachers of which the headers were read.
pub(super) struct Called(Vec<(String, ModelSource)>);

impl Args {
    /// Finds every teacher; what is wrong with any of them is reported together.
    pub(super) fn call(&self, given: &Given) -> Result<Called, Error> {
        let (mut problems, mut called) = (Problems::new(), Vec::new());
        for (language, name) in self.teachers.named(given)? {
            match one_model::source(&name, &self.numbers, &self.elsewhere) {
                Ok(source) => called.push((language, source)),
                Err(Error::Input(found)) => problems.extend(found),
                Err(other) => return Err(other),
            }
        }
        if problems.has_errors() { Err(problems.into()) } else { Ok(Called(called)) }
    }
}

impl Called {
    /// Brings what is elsewhere and reads every weight.
    pub(super) fn load(
        self,
        args: &Args,
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Vec<(String, Arc<Model>)>, Error> {
        let away: Vec<Place> = self.0.iter().flat_map(|(_, source)| source.away()).collect();
        args.elsewhere.bring(&away.iter().collect::<Vec<&Place>>(), args.silent(), cancel)?;
        let load = |(language, source): (String, ModelSource)| {
            source.attach()?;
            let progress = Progress::new(Measure::Bytes, true);
            Ok((language, Arc::new(source.load(threads, &progress)?)))
        };
        self.0.into_iter().map(load).collect()
    }
}
