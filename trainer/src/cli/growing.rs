//! What `grow` and `convert` share: one model in, one out.

use std::path::{Path, PathBuf};

use growmerge::execute::Observer;
use growmerge::plan::Input;
use growmerge::problem::{Error, ExecError};
use growmerge::recipe::{Grow, HeadForm};
use growmerge::write::{Existing, Sync};
use growmerge_trainer::grow::{self, Rounding};
use growmerge_trainer::train::config::ElementType;
use indicatif::ProgressBar;

use super::{Outcome, bar, cancel_on_signal, threads};

/// Options of both commands.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Element type of the output [default: the model's own]
    #[arg(long, value_enum)]
    dtype: Option<ElementType>,
    /// Continue after an interruption
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Replace the model that is in the output folder
    #[arg(long)]
    overwrite: bool,
    /// Run both models on the beginning of a text file; exit code 1 where they differ by more than rounding explains
    #[arg(long, value_name = "TEXT")]
    check: Option<PathBuf>,
    /// Worker threads [default: one for each core]; the result does not depend on them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
}

/// Forms of a head whose weights are the embedding's.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Head {
    /// The final norm's weight makes up for the width: loads everywhere
    Norm,
    /// lm_head_normalization_factor in config.json, as the HyperLlama models have it
    Factor,
    /// A head of its own
    Untied,
}

impl From<Head> for HeadForm {
    fn from(head: Head) -> Self {
        match head {
            Head::Norm => Self::Norm,
            Head::Factor => Self::Factor,
            Head::Untied => Self::Untied,
        }
    }
}

struct Progress(ProgressBar);

impl Observer for Progress {
    fn begin(&self, total: u64) {
        self.0.set_length(total);
    }

    fn advance(&self, amount: u64) {
        self.0.inc(amount);
    }
}

pub(super) fn run(model: &str, out: &Path, words: &Grow, options: &Options) -> anyhow::Result<Outcome> {
    if let Some(text) = &options.check {
        // Better now than after the work.
        std::fs::File::open(text).map_err(ExecError::io("read", text)).map_err(Error::from)?;
    }
    let how = grow::Options {
        existing: match (options.resume, options.overwrite) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        },
        sync: Sync::Disk,
        threads: threads(options.threads),
        cancel: cancel_on_signal()?,
    };
    let bar = bar(options.quiet, "{bar:40} {percent:>3}%  {bytes}/{total_bytes}  {eta} left");
    let recipe = grow::recipe(model, words, options.dtype.map(ElementType::name));
    let written = grow::write(&recipe, out, &how, &Progress(bar.clone()));
    bar.finish_and_clear();
    let plan = written?;
    if !options.quiet {
        if !plan.warnings.is_empty() {
            eprintln!("{}", plan.warnings);
        }
        let before: usize = plan
            .inputs
            .iter()
            .flat_map(Input::checkpoints)
            .flat_map(|c| c.tensors())
            .map(|t| t.elements())
            .sum();
        println!("{model} → {}: {before} → {} parameters", out.display(), plan.parameters());
    }
    let Some(text) = &options.check else { return Ok(Outcome::Done) };
    let difference = grow::compare(model, &out.display().to_string(), text)?;
    let allowed = difference.allowed(Rounding::of(&plan));
    let kept = difference.largest <= allowed;
    println!(
        "{} tokens: max |Δlogit| {:.2e}, max |logit| {:.4}; rounding explains {allowed:.1e}: the function is {}",
        difference.tokens,
        difference.largest,
        difference.logit,
        if kept { "kept" } else { "NOT kept" }
    );
    Ok(if kept { Outcome::Done } else { Outcome::CheckFailed })
}
