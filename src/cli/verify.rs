use std::path::PathBuf;

use growmerge::write::{Finding, Report, verify};

use super::Outcome;

/// Check a merged checkpoint against its manifest
///
/// Recomputes the hash of every tensor and file that growmerge.json lists, and of the inputs where they
/// are still there. Exit code 1 if anything differs.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Output folder of a merge
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print nothing if all is well
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let report = verify(&args.folder)?;
    let outcome = if report.is_good() { Outcome::Done } else { Outcome::CheckFailed };
    super::printed(say(args, &report), outcome)
}

fn say(args: &Args, report: &Report) -> anyhow::Result<()> {
    if args.json {
        super::print_json(report)?;
    } else {
        let mut good = 0;
        for (name, finding) in &report.checks {
            match finding {
                Finding::Good => good += 1,
                Finding::Bad(why) => super::print(&format!("bad: {name}: {why}\n"))?,
                Finding::Skipped(why) if !args.quiet => {
                    super::print(&format!("not checked: {name}: {why}\n"))?
                }
                Finding::Skipped(_) => {}
            }
        }
        if !args.quiet {
            let verdict = if report.is_good() { "all as recorded" } else { "NOT as recorded" };
            super::print(&format!("{good} of {} checks good: {verdict}\n", report.checks.len()))?;
        }
    }
    Ok(())
}
