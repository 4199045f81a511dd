//! `tune --teacher`: models whose predictions are learned from.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use growmerge::checkpoint::Place;
use growmerge::eval::{Model, ModelSource};
use growmerge::problem::{Error, Problem, Problems};

use super::super::one_model;
use super::super::progress::{Measure, Progress};
use super::Args;

/// `et=models/et`.
pub(super) fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((language, model)) if !language.is_empty() && !model.is_empty() => {
            Ok((language.to_owned(), model.to_owned()))
        }
        _ => Err("write it as LANGUAGE=MODEL, for instance et=models/et".into()),
    }
}

/// A number from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("it is a number from 0 to 1".into()),
    }
}

/// Teachers of which the headers were read.
pub(super) struct Called(Vec<(String, ModelSource)>);

impl Args {
    /// Finds every teacher; what is wrong with any of them is reported together.
    pub(super) fn call(&self) -> Result<Called, Error> {
        let (mut problems, mut called) = (Problems::new(), Vec::new());
        for (at, (language, name)) in self.teacher.iter().enumerate() {
            if self.teacher[..at].iter().any(|(other, _)| other == language) {
                problems.push(Problem::error("--teacher", format!("there are two teachers of `{language}`")));
            }
            match one_model::source(name, &self.numbers, &self.elsewhere) {
                Ok(source) => called.push((language.clone(), source)),
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
