//! `tune --search`: without a gradient.

use std::path::PathBuf;

use growmerge::plan::Plan;
use growmerge::problem::{Error, Problem, Problems};
use growmerge::tune::{self, Aims, Groups, Running, Search};

use super::super::{measuring, texts};
use super::goal::Read;
use super::{Args, Done, into_folder};

/// What is of no use to a search: it takes no steps, and what it did is not kept.
const OF_STEPS: [&str; 8] =
    ["steps", "rate", "every", "patience", "resume", "teacher", "teachers", "teaching"];

/// Search without a gradient
#[derive(clap::Args)]
#[group(id = "searching")]
pub(super) struct Options {
    /// Search instead of following the gradient: tries points and moves to where they are good (CMA-ES), for at most 50
    /// coefficients. A search that was interrupted begins anew
    #[arg(long, conflicts_with_all = OF_STEPS)]
    search: bool,
    /// Minimal pairs of a language, .jsonl with `good` and `bad` sentences; again for each language. Implies --search: of
    /// seven in eight the part that is judged wrong is to become small, the others are held out. With texts too, the
    /// objective is the sum of both means, of bits per byte and of that part
    #[arg(long, value_name = "LANG=FILE", value_parser = texts::named, conflicts_with_all = OF_STEPS)]
    pub(super) pairs: Vec<(String, PathBuf)>,
    /// Points that a search tries, at most; at least a generation, which is 4 and more [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    values: Option<u32>,
    /// How far from the recipe's coefficients a search begins, as a factor on them [default: 0.3]
    #[arg(long, value_name = "NUMBER")]
    sigma: Option<f64>,
    /// Write every point that a search tried and no other is better than in all languages, as comma-separated values
    #[arg(long, value_name = "FILE")]
    front: Option<PathBuf>,
}

impl Options {
    pub(super) fn wanted(&self) -> bool {
        self.search || !self.pairs.is_empty()
    }

    /// Refuses options of a search where there is none, and a front that cannot be written.
    pub(super) fn check(&self) -> Result<(), Problems> {
        let mut problems = Problems::new();
        let given = [
            ("--values", self.values.is_some()),
            ("--sigma", self.sigma.is_some()),
            ("--front", self.front.is_some()),
        ];
        for (option, _) in given.iter().filter(|(_, given)| *given && !self.wanted()) {
            problems.push(Problem::error(*option, "is of a search, and there is none").hint("add --search"));
        }
        if let Some(sigma) = self.sigma.filter(|s| !(s.is_finite() && *s > 0.0)) {
            problems.push(Problem::error("--sigma", format!("{sigma} is no number above zero")));
        }
        if let Some(Err(problem)) = self.front.as_deref().map(into_folder) {
            problems.extend(problem);
        }
        if problems.has_errors() { Err(problems) } else { Ok(()) }
    }
}

impl Args {
    pub(super) fn search_settings(&self) -> Search {
        let settings = Search::of(self.groups.map_or(Groups::Model, Groups::from));
        Search {
            values: self.search.values.map_or(settings.values, |n| n as usize),
            sigma: self.search.sigma.unwrap_or(settings.sigma),
            tokens: self.tokens.map_or(settings.tokens, |n| n as usize),
            seed: self.numbers.plan_options().seed,
            ..settings
        }
    }
}

/// Searches, and writes the front.
pub(super) fn search(args: &Args, plan: &Plan, read: Read, running: &Running<'_>) -> Result<Done, Error> {
    let settings = args.search_settings();
    let at = (&read.tokenizer, read.vocab, read.context);
    let aims = Aims::new(read.goal, read.pairs, at, &settings)?;
    let measures = aims.measures();
    let found = tune::search(plan, &aims, &settings, running)?;
    if let Some(path) = &args.search.front {
        measuring::write(path, &tune::csv(&measures, &found))?;
    }
    let page = tune::search_parts(plan, &aims, &found);
    Ok(Done { measures, page, points: Some(found.tried.len()), tuned: found.tuned })
}
