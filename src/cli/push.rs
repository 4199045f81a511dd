use std::path::PathBuf;

use growmerge::hub::{self, Push, Pushed, Readers, RepoName, Settings};
use growmerge::problem::{Error, Problem};

use super::Outcome;
use super::progress::{Measure, Progress};

/// Publish a merged model on the Hub
///
/// Checks the folder as `verify` does, then sends what growmerge.json lists, growmerge.json itself and the
/// model card, and nothing else, in one commit; prints the commit's address. A repository or a branch that is not
/// there is made. What arrived before an interruption is not sent again. Needs a token that may write:
/// HF_TOKEN, or `hf auth login`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Output folder of a merge
    folder: PathBuf,
    /// The repository, as owner/name
    repo: String,
    /// Make it private; refused if it is there already and public
    #[arg(long)]
    private: bool,
    /// The branch [default: main]
    #[arg(long, value_name = "BRANCH")]
    revision: Option<String>,
    /// The commit's message [default: says the method]
    #[arg(short, long)]
    message: Option<String>,
    /// Connections at once
    #[arg(short, long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Print the address only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let Some(repo) = RepoName::parse(&args.repo) else {
        let problem = Problem::error(&args.repo, "is no name of a repository");
        return Err(
            Error::from(problem.hint("write owner/name, of letters, digits, `-`, `_` and `.`")).into()
        );
    };
    let settings = Settings::from_env().map_err(Error::from)?;
    let readers = if args.private { Readers::OwnersOnly } else { Readers::AsItIs };
    let push = Push {
        folder: &args.folder,
        repo,
        branch: args.revision.as_deref(),
        readers,
        message: args.message.as_deref(),
        jobs: args.jobs.into(),
    };
    if !args.quiet {
        eprintln!("checking {}", args.folder.display());
    }
    let progress = Progress::new(Measure::Bytes, args.quiet);
    let pushed = hub::push(&settings, &push, &progress);
    progress.finish();
    match pushed? {
        Pushed::Commit(url) => super::print(&format!("{url}\n"))?,
        Pushed::Unchanged(url) => {
            if !args.quiet {
                eprintln!("the branch has these files already");
            }
            super::print(&format!("{url}\n"))?;
        }
    }
    Ok(Outcome::Done)
}
