use std::path::{Path, PathBuf};

use growmerge::eval::{Baseline, Noise, Tolerance, Tolerances, Verdict, Why};
use growmerge::problem::{Error, Problem, Problems};
use growmerge::report::{self, Layout, Report};

use super::{Outcome, measuring, table::show};

/// Fail if a language became worse than a baseline
///
/// A language fails if its bits per byte grew beyond its tolerance and beyond noise; exit code 1 then.
/// Rules that are not given are the baseline's.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A checkpoint folder, or a recipe (.yaml)
    model: String,
    /// The baseline file
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// Write the baseline instead of checking against it; what is not given stays as it was
    #[arg(long)]
    update: bool,
    /// How much worse a language may become: 1% or 0.02 (bits per byte), or fo=2% for one language
    /// [default: the baseline's, else 1%]
    #[arg(long, value_name = "[LANG=]AMOUNT", value_parser = tolerance)]
    tolerance: Vec<(Option<String>, Tolerance)>,
    /// Standard errors that a difference must exceed
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = noise)]
    noise: f64,
    /// What the baseline is of [default: the model's or recipe's name without folder and extension]
    #[arg(long)]
    name: Option<String>,
    /// Write the verdicts as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    options: measuring::Options,
}

fn tolerance(text: &str) -> Result<(Option<String>, Tolerance), String> {
    let (language, amount) = match text.rsplit_once('=') {
        Some((language, amount)) if !language.is_empty() => (Some(language.to_owned()), amount),
        Some(_) => return Err("the language is missing before `=`".into()),
        None => (None, text),
    };
    let amount = Tolerance::parse(amount).ok_or("write 1% or 0.02, or fo=2% for one language")?;
    Ok((language, amount))
}

fn noise(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0).ok_or("write a number, 0 or more".into())
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let options = &args.options;
    let baseline = match (args.update, args.baseline.exists()) {
        (true, false) => None,
        _ => Some(Baseline::read(&args.baseline).map_err(Error::from)?),
    };
    let given = baseline.as_ref().map(|b| &b.rules);
    let mut inputs = options.open(std::slice::from_ref(&args.model), &[], given.map(|r| r.split))?;
    let rules = options.rules(&inputs.models, given).map_err(Error::from)?;
    let subject = args.name.clone().unwrap_or_else(|| stem(&inputs.models[0].name));
    let tolerances = tolerances(args, &inputs).map_err(Error::from)?;
    let at = args.baseline.display().to_string();
    let held_against = baseline.as_ref().filter(|_| !args.update);
    if let Some(baseline) = held_against {
        baseline.expects(&subject, &rules, &inputs.texts, &at).map_err(Error::from)?;
    }
    let evaluations = options.evaluate(&mut inputs, &rules)?;
    if args.update {
        Baseline::keep(&evaluations[0], &subject, &tolerances, baseline.as_ref()).write(&args.baseline)?;
    }
    let mut report = Report { evaluations: &evaluations, verdicts: None, layout: Layout::Apart };
    let verdicts: Vec<Verdict>;
    if let Some(baseline) = held_against {
        baseline.fits(&evaluations[0], &at).map_err(Error::from)?;
        verdicts = baseline.judge(&evaluations[0], &tolerances, Noise(args.noise));
        report.verdicts = Some(&verdicts);
    }
    let failed = report.verdicts.unwrap_or_default().iter().any(|v| v.why == Why::Worse);
    let outcome = if failed { Outcome::CheckFailed } else { Outcome::Done };
    // Printed first: a report that cannot be written must not cost the verdict.
    let said = if options.json { super::print_json(&report::json(&report)) } else { say(args, &report) };
    options.write(&format!("{subject} against its baseline"), &report)?;
    if let (Some(path), Some(verdicts)) = (&args.junit, report.verdicts) {
        measuring::write(path, &report::junit(&format!("growmerge check {subject}"), verdicts))?;
    }
    super::printed(said, outcome)
}

fn say(args: &Args, report: &Report<'_>) -> anyhow::Result<()> {
    let failed = |v: &&Verdict| v.why == Why::Worse;
    match report.verdicts {
        Some(verdicts) if args.options.quiet => {
            let failures: Vec<Verdict> = verdicts.iter().filter(failed).cloned().collect();
            if !failures.is_empty() {
                super::print(&show(&report::verdicts(&failures)))?;
            }
        }
        Some(verdicts) => {
            let rules = report.evaluations[0].rules.describe(report.evaluations[0].start.as_deref());
            let table = show(&report::verdicts(verdicts));
            let verdict = match verdicts.iter().filter(failed).count() {
                0 => "no language became worse".to_owned(),
                n => format!("{n} of {} languages became worse", verdicts.len()),
            };
            super::print(&format!("{}\n{rules}\n\n{table}\n{verdict}\n", args.model))?;
        }
        None if args.options.quiet => {}
        None => {
            let table = show(&report::measured(&report.evaluations[0]));
            super::print(&format!("{table}\nwrote {}\n", args.baseline.display()))?;
        }
    }
    Ok(())
}

fn tolerances(args: &Args, inputs: &measuring::Inputs) -> Result<Tolerances, Problems> {
    let mut tolerances = Tolerances::default();
    let mut problems = Problems::new();
    let languages = || inputs.texts.iter().map(|t| t.language.as_str());
    for (language, amount) in &args.tolerance {
        match language {
            Some(language) if languages().any(|l| l == language) => {
                tolerances.each.insert(language.clone(), *amount);
            }
            Some(language) => {
                let problem = Problem::error("--tolerance", format!("there is no text of `{language}`"));
                problems.push(problem.did_you_mean(language, languages()));
            }
            None => tolerances.all = Some(*amount),
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(tolerances) }
}

/// `out/quickstart/` and `recipes/quickstart.yaml` are both `quickstart`.
fn stem(model: &str) -> String {
    let path = Path::new(model);
    let name = if growmerge::eval::is_recipe(model) { path.file_stem() } else { path.file_name() };
    name.map_or_else(|| model.to_owned(), |n| n.to_string_lossy().into_owned())
}
