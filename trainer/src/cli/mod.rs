//! The command line: one file for each subcommand, its doc comment being the help.

mod convert;
mod grow;
mod growing;
mod languages;
mod reproduce;
mod studying;
mod tokenizer;
mod train;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use growmerge::problem::{Error, ExecError};
use indicatif::{ProgressBar, ProgressStyle};

/// Grow language-model checkpoints by HyperCloning and continue their pretraining, language by language.
///
/// Exit codes: 0 done, 1 a check failed, 2 the input is wrong, 3 the machine failed, 130 interrupted.
#[derive(Parser)]
#[command(name = "growmerge-trainer", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tokenizer(tokenizer::Args),
    Grow(grow::Args),
    Convert(convert::Args),
    Train(train::Args),
    Reproduce(reproduce::Args),
    Languages(languages::Args),
}

/// How a command ended, other than by failing.
enum Outcome {
    Done,
    CheckFailed,
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome: anyhow::Result<Outcome> = match cli.command {
        Command::Tokenizer(args) => tokenizer::run(&args),
        Command::Grow(args) => grow::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Languages(args) => languages::run(&args),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::CheckFailed) => ExitCode::from(1),
        Err(error) => fail(&error),
    }
}

/// Prints an error and picks the exit code.
fn fail(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<Error>() {
        Some(known) => {
            eprintln!("{known}");
            ExitCode::from(known.exit_code())
        }
        None => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// Worker threads: as many as were asked for, or one for each core.
fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// A bar on a terminal; elsewhere, or where it should be quiet, one that is not seen.
fn bar(quiet: bool, template: &str) -> ProgressBar {
    let hidden = quiet || !std::io::stderr().is_terminal();
    let bar = if hidden { ProgressBar::hidden() } else { ProgressBar::new(0) };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Whether there is work that a signal should let come to a good end.
static UNDERWAY: AtomicBool = AtomicBool::new(true);

/// Is set by the first Ctrl-C or SIGTERM; the second ends the process, as the first does where nothing is underway.
fn cancel_on_signal() -> anyhow::Result<&'static AtomicBool> {
    static CANCEL: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if CANCEL.swap(true, Ordering::Relaxed) || !UNDERWAY.load(Ordering::Relaxed) {
            eprintln!("{}", Error::from(ExecError::Interrupted));
            std::process::exit(130);
        }
    })?;
    Ok(&CANCEL)
}
