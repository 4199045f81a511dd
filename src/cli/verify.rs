use std::path::PathBuf;

use growmerge::problem::Error;
use growmerge::write::{Finding, Report, members, verify};
use serde_json::json;

use super::Outcome;

/// Check a merged checkpoint against its manifest
///
/// Recomputes the hash of every tensor and file that growmerge.json lists, and of the inputs where they
/// are still there. Of a folder that a grid was merged into, every member is checked. Exit code 1 if anything
/// differs.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Output folder of a merge or of a grid
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print nothing if all is well
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let members = members(&args.folder);
    if !members.is_empty() {
        return each(args, &members);
    }
    let report = verify(&args.folder)?;
    let outcome = if report.is_good() { Outcome::Done } else { Outcome::CheckFailed };
    super::printed(say(args, &report), outcome)
}

fn say(args: &Args, report: &Report) -> anyhow::Result<()> {
    if args.json {
        return super::print_json(report);
    }
    super::print(&details(args, report, ""))?;
    if !args.quiet {
        super::print(&verdict(report))?;
    }
    Ok(())
}

/// What is not as recorded, and what could not be checked; each line begins with `lead`.
fn details(args: &Args, report: &Report, lead: &str) -> String {
    let line = |(name, finding): &(String, Finding)| match finding {
        Finding::Bad(why) => format!("{lead}bad: {name}: {why}\n"),
        Finding::Skipped(why) if !args.quiet => format!("{lead}not checked: {name}: {why}\n"),
        Finding::Good | Finding::Skipped(_) => String::new(),
    };
    report.checks.iter().map(line).collect()
}

fn verdict(report: &Report) -> String {
    let good = report.checks.iter().filter(|(_, finding)| *finding == Finding::Good).count();
    let verdict = if report.is_good() { "all as recorded" } else { "NOT as recorded" };
    format!("{good} of {} checks good: {verdict}\n", report.checks.len())
}

/// Checks the members of a grid, a line for each and more where something is wrong; one that cannot be checked
/// does not keep the others from being checked.
fn each(args: &Args, members: &[PathBuf]) -> anyhow::Result<Outcome> {
    let (mut records, mut differing, mut unread) = (Vec::new(), 0, Vec::new());
    // A reader that went away does not end the checks.
    let mut told = Ok(());
    for member in members {
        let name = member.file_name().unwrap_or_default().to_string_lossy();
        match verify(member) {
            Ok(report) => {
                differing += usize::from(!report.is_good());
                let lead = format!("{name}: ");
                let end = if args.quiet { String::new() } else { format!("{lead}{}", verdict(&report)) };
                if !args.json && told.is_ok() {
                    told = super::print(&(details(args, &report, &lead) + &end));
                }
                records.push(json!({ "name": name, "checks": report.checks }));
            }
            Err(error) => {
                eprintln!("{error}");
                records.push(json!({ "name": name, "error": error.to_string() }));
                unread.push(error);
            }
        }
    }
    let good = members.len() - differing - unread.len();
    if told.is_ok() && args.json {
        told = super::print_json(&json!({ "members": records }));
    } else if told.is_ok() && !args.quiet {
        told = super::print(&format!("{good} of {} members good\n", members.len()));
    }
    let outcome = match unread.iter().map(Error::exit_code).max() {
        Some(code) => Outcome::Failed(code),
        None if differing > 0 => Outcome::CheckFailed,
        None => Outcome::Done,
    };
    super::printed(told, outcome)
}
