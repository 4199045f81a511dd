//! The command `growmerge-trainer`: a table of contents; each subcommand is a file in `cli/`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
