use std::path::PathBuf;

use growmerge::hub::{Hub, Pins};
use growmerge::problem::{Error, Problem};
use growmerge::recipe::Contents;

use super::{Outcome, elsewhere};

/// Write down the commits that a recipe's models are now
///
/// They go to RECIPE.lock; every command that reads the recipe uses them from then on, whatever happens to branches and
/// tags. Run it again to take up what is new.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The recipe
    recipe: PathBuf,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    elsewhere: elsewhere::Options,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let contents = Contents::from_file(&args.recipe)?;
    let models = elsewhere::parts_of(&contents);
    let hub = Hub::new(args.elsewhere.settings()?, None, args.elsewhere.jobs());
    let pins: Pins = hub.commits(&models)?;
    if pins.iter().next().is_none() {
        let problem = Problem::error(args.recipe.display().to_string(), "names no model of the Hub");
        return Err(
            Error::from(problem.hint("there is nothing to lock: local folders have no commits")).into()
        );
    }
    let path = pins.write(&args.recipe).map_err(Error::from)?;
    if !args.quiet {
        let mut text = String::new();
        for (model, commit) in pins.iter() {
            text += &format!("{model}  {commit}\n");
        }
        super::print(&format!("{text}wrote {}\n", path.display()))?;
    }
    Ok(Outcome::Done)
}
