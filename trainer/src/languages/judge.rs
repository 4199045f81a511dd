//! Chooses each contender's settings on one text, and reports what was chosen on another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use growmerge::eval::ModelSource;
use growmerge::plan::PlanOptions;
use growmerge::problem::{Error, ExecError};
use growmerge::write::sha256_hex;

use super::bench::Bench;
use super::contender::Contender;
use super::point::Point;
use super::scores::{Goal, Scores};
use super::search::search;
use crate::reproduce::all_languages;
use crate::reproduce::ledger::{Kept, Ledger};
use crate::reproduce::yardstick::Yardstick;

/// Changes whenever the same merge and sentences would give other numbers.
const NUMBERS: &str = "languages 1";

/// Measures, and remembers what was measured.
pub(super) struct Judge<'a> {
    /// What settings are chosen on.
    pub choose: &'a Yardstick,
    /// What is reported.
    pub test: &'a Yardstick,
    /// What was measured before.
    pub ledger: Ledger,
}

/// What became of a contender with one goal.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Its best settings.
    pub point: Point,
    /// How many were tried.
    pub tries: usize,
    /// Settings that are the first or last of those that were tried.
    pub ends: Vec<&'static str>,
    /// On the text that chose them, by the goal.
    pub chosen_by: f64,
    /// On test text.
    pub scores: Scores,
    /// What making this merge took, apart from merging.
    pub making: f64,
    /// What finding its settings took beside that: everything else that was made, merged and measured for it.
    pub choosing: f64,
}

impl Judge<'_> {
    /// Searches a contender's settings for a goal, and measures the best on test text.
    ///
    /// # Errors
    /// What is wrong with a recipe; [`ExecError::Interrupted`]; what the machine does.
    pub(super) fn judge(
        &mut self,
        bench: &Bench<'_>,
        contender: &Contender,
        goal: Goal,
    ) -> Result<Outcome, Error> {
        let mut artefacts: BTreeMap<PathBuf, f64> = BTreeMap::new();
        let mut measuring = 0.0;
        let found = search(contender.axes, bench.shared.effort.tries, |point| {
            let made = (contender.make)(bench, point)?;
            artefacts.extend(made.artefacts.into_iter().map(|a| (a.folder, a.seconds)));
            let what = format!("{} ({point})", contender.name);
            let (scores, seconds) = self.merge(bench, &what, &made.recipe, Text::Choose)?;
            measuring += seconds;
            Ok(goal.of(&scores))
        })?;
        let made = (contender.make)(bench, &found.point)?;
        let what = format!("{} ({})", contender.name, found.point);
        let (scores, _) = self.merge(bench, &what, &made.recipe, Text::Test)?;
        let making = made.artefacts.iter().map(|a| a.seconds).fold(0.0, |sum, s| sum + s);
        artefacts.retain(|folder, _| made.artefacts.iter().all(|a| a.folder != *folder));
        Ok(Outcome {
            point: found.point,
            tries: found.tries,
            ends: found.ends,
            chosen_by: found.score,
            scores,
            making,
            choosing: artefacts.values().fold(measuring, |sum, s| sum + s),
        })
    }

    /// A model that is there, on test text.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    pub(super) fn model(&mut self, bench: &Bench<'_>, what: &str, folder: &Path) -> Result<Scores, Error> {
        let weights = bench.identity(&super::words::quoted(folder));
        let source = || ModelSource::open(&folder.to_string_lossy(), &PlanOptions::default());
        Ok(self.measure(bench, what, &weights, Text::Test, source)?.0)
    }

    fn merge(
        &mut self,
        bench: &Bench<'_>,
        what: &str,
        recipe: &str,
        text: Text,
    ) -> Result<(Scores, f64), Error> {
        let identity = format!("{}\0{}", bench.seed, bench.identity(recipe));
        self.measure(bench, what, &identity, text, || Ok(bench.source(recipe)?))
    }

    fn measure(
        &mut self,
        bench: &Bench<'_>,
        what: &str,
        identity: &str,
        text: Text,
        source: impl FnOnce() -> Result<ModelSource, Error>,
    ) -> Result<(Scores, f64), Error> {
        let yardstick = match text {
            Text::Choose => self.choose,
            Text::Test => self.test,
        };
        let digest = sha256_hex(format!("{NUMBERS}\0{}\0{identity}", yardstick.digest).as_bytes());
        if let Some(kept) = self.ledger.get(&digest) {
            return Ok((Scores::new(yardstick, &kept.nats), kept.seconds));
        }
        let (threads, cancel) = (bench.shared.threads, bench.shared.cancel);
        if cancel.load(Ordering::Relaxed) {
            return Err(ExecError::Interrupted.into());
        }
        let started = Instant::now();
        let all: Vec<&'static str> = all_languages().collect();
        let nats = yardstick.measure(source()?, &all, threads, cancel)?;
        let seconds = started.elapsed().as_secs_f64();
        let scores = Scores::new(yardstick, &nats);
        let what = format!("seed {}, {}, {what}, {}", bench.seed, bench.arm.name(), text.name());
        self.ledger.keep(&digest, &what, Kept { nats, seconds })?;
        Ok((scores, seconds))
    }
}

/// Which text something is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    /// The one that chooses.
    Choose,
    /// The one that is reported.
    Test,
}

impl Text {
    fn name(self) -> &'static str {
        match self {
            Self::Choose => "choose",
            Self::Test => "test",
        }
    }
}
