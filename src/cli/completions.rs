use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Outcome};

/// Print completions for a shell
///
/// For bash: growmerge completions bash > ~/.local/share/bash-completion/completions/growmerge
#[derive(clap::Args)]
pub(super) struct Args {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "growmerge", &mut text);
    super::print(&String::from_utf8_lossy(&text))?;
    Ok(Outcome::Done)
}
