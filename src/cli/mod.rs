//! The command line: one file for each subcommand, its doc comment being the help.

mod check;
mod completions;
mod count;
mod device;
mod devices;
mod elsewhere;
mod eval;
mod explain;
mod extract_lora;
#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod fetching;
mod generate;
mod grid;
mod importance;
mod inspect;
#[cfg(feature = "hub")]
mod lock;
mod measuring;
mod merge;
mod methods;
mod one_model;
mod plan;
mod progress;
#[cfg(feature = "hub")]
mod push;
mod schema;
mod size;
mod table;
mod texts;
mod tune;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use growmerge::problem::Error;

/// Merge language-model checkpoints: mergekit recipes, streamed, in bounded memory.
///
/// Exit codes: 0 done, 1 a check failed, 2 the input is wrong, 3 the machine failed, 130 interrupted.
#[derive(Parser)]
#[command(name = "growmerge", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say more about what happens; twice for even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    Plan(plan::Args),
    Explain(explain::Args),
    Merge(merge::Args),
    #[cfg(feature = "hub")]
    Fetch(fetch::Args),
    #[cfg(feature = "hub")]
    Lock(lock::Args),
    #[cfg(feature = "hub")]
    Push(push::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Eval(eval::Args),
    Check(check::Args),
    Tune(tune::Args),
    Count(count::Args),
    Importance(importance::Args),
    Generate(generate::Args),
    ExtractLora(extract_lora::Args),
    Methods(methods::Args),
    Devices(devices::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// How a command ended, other than by failing.
enum Outcome {
    Done,
    CheckFailed,
    /// What failed was told; the exit code of the worst.
    Failed(u8),
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.verbose {
        // hf-hub's own errors come with addresses; ours say the same without.
        0 => "warn,hf_hub=off",
        1 => "growmerge=info",
        _ => "growmerge=debug",
    };
    let filter = tracing_subscriber::EnvFilter::new(level);
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    log.without_time().init();
    let outcome = match cli.command {
        Command::Plan(args) => plan::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Merge(args) => merge::run(&args),
        #[cfg(feature = "hub")]
        Command::Fetch(args) => fetch::run(&args),
        #[cfg(feature = "hub")]
        Command::Lock(args) => lock::run(&args),
        #[cfg(feature = "hub")]
        Command::Push(args) => push::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Count(args) => count::run(&args),
        Command::Importance(args) => importance::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::ExtractLora(args) => extract_lora::run(&args),
        Command::Methods(args) => methods::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::CheckFailed) => ExitCode::from(1),
        Ok(Outcome::Failed(code)) => ExitCode::from(code),
        Err(error) => fail(&error),
    }
}

/// Standard output was closed by a reader that has seen enough (`growmerge plan … | head`).
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
struct Closed;

/// The outcome of a command that printed it: a reader that went away does not change it.
fn printed(result: anyhow::Result<()>, outcome: Outcome) -> anyhow::Result<Outcome> {
    match result {
        Err(error) if !error.is::<Closed>() => Err(error),
        _ => Ok(outcome),
    }
}

/// Prints an error and picks the exit code.
fn fail(error: &anyhow::Error) -> ExitCode {
    if error.is::<Closed>() {
        return ExitCode::SUCCESS;
    }
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

/// Prints to standard output; a closed pipe is an error of its own, [`Closed`].
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Closed.into()),
        other => Ok(other?),
    }
}

/// Worker threads if nobody says how many.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}
