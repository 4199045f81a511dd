use std::path::PathBuf;

use growmerge::problem::Problem;
use growmerge::report::{self, Layout, Report};

use super::{Outcome, measuring, table::show, texts};

/// Measure perplexity by language, of checkpoints or of recipes merged in memory
///
/// A token-level perplexity depends on the tokenizer; bits per byte compare between all models. Both
/// depend on the rules, which every report states.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Checkpoint folders, or recipes (.yaml)
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Show models side by side, with their differences from the first and how sure these are
    #[arg(long)]
    compare: bool,
    /// Minimal pairs of a language, .jsonl with `good` and `bad` sentences; again for each language
    #[arg(long, value_name = "LANG=FILE", value_parser = texts::named)]
    pairs: Vec<(String, PathBuf)>,
    #[command(flatten)]
    options: measuring::Options,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let options = &args.options;
    if args.compare && args.models.len() < 2 {
        let problem = Problem::error("--compare", "there is only one model to compare");
        return Err(growmerge::problem::Error::from(problem).into());
    }
    let mut inputs = options.open(&args.models, &args.pairs, None)?;
    let rules = options.rules(&inputs.models, None).map_err(growmerge::problem::Error::from)?;
    let evaluations = options.evaluate(&mut inputs, &rules)?;
    let layout = if args.compare { Layout::Compared } else { Layout::Apart };
    let report = Report { evaluations: &evaluations, verdicts: None, layout };
    // Printed first: a report that cannot be written must not cost the result.
    let said = if options.json {
        super::print_json(&report::json(&report))
    } else if options.quiet {
        Ok(())
    } else {
        super::print(&text(&report).map_err(growmerge::problem::Error::from)?)
    };
    options.write("Perplexity by language", &report)?;
    super::printed(said, Outcome::Done)
}

/// All tables, each below its model's name and rules.
fn text(report: &Report<'_>) -> Result<String, growmerge::problem::Problems> {
    let mut parts = Vec::new();
    for evaluation in report.evaluations {
        let rules = evaluation.rules.describe(evaluation.start.as_deref());
        let mut part = format!("{}\n{rules}\n", evaluation.model);
        for table in [report::measured(evaluation), report::pairs(evaluation)] {
            if !table.rows.is_empty() {
                part += &format!("\n{}", show(&table));
            }
        }
        let skipped: usize = evaluation.languages.iter().map(|l| l.skipped).sum();
        if skipped > 0 {
            part += &format!("\n{skipped} sentences of a single token were not scored\n");
        }
        parts.push(part);
    }
    if report.layout == Layout::Compared {
        let first = report.evaluations.first().map_or("", |e| e.model.as_str());
        let table = show(&report::comparison(report.evaluations)?);
        parts.push(format!("bits/byte, and differences from {first} ± their standard errors\n\n{table}"));
    }
    Ok(parts.join("\n"))
}
