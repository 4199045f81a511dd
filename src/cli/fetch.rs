use growmerge::adapter::Adapter;
use growmerge::checkpoint::{Checkpoint, Folder, Place, SafetensorsFile};
use growmerge::plan::{Library, beside};
use growmerge::problem::{Error, Problem, Problems};
use growmerge::recipe::AdapterRef;

use super::{Outcome, elsewhere, merge};

/// Fetch models from the Hub into the cache
///
/// Of each what a merge may need: safetensors, configuration, tokenizer, and code that the configuration names. What
/// arrived before is continued, every file is checked against the hash that the Hub lists, and the folder of each model is
/// printed. The cache is the Python client's.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Repositories, as owner/name or owner/name@revision
    #[arg(required = true, value_name = "REPO")]
    models: Vec<String>,
    /// Print errors and folders only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    elsewhere: elsewhere::Options,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let names = args.models.iter().map(|name| elsewhere::named(name)).collect::<Result<Vec<_>, _>>()?;
    let library = args.elsewhere.library(None, &names)?;
    let mut problems = Problems::new();
    let mut models: Vec<(Folder, Vec<Place>)> = Vec::new();
    for name in &names {
        match files(&library, name, &mut problems) {
            Ok(found) => models.push(found),
            Err(Error::Input(found)) => problems.extend(found),
            Err(other) => return Err(other.into()),
        }
    }
    if problems.has_errors() {
        return Err(Error::from(problems).into());
    }
    if !args.quiet && !problems.is_empty() {
        eprintln!("{problems}");
    }
    let places: Vec<&Place> = models.iter().flat_map(|(_, places)| places).collect();
    let cancel = merge::cancel_on_signal()?;
    args.elsewhere.bring(&places, args.quiet, &cancel)?;
    for (folder, _) in &models {
        super::print(&format!("{}\n", folder.path().display()))?;
    }
    Ok(Outcome::Done)
}

/// What a merge may need of a model or an adapter.
fn files(
    library: &Library,
    name: &AdapterRef,
    problems: &mut Problems,
) -> Result<(Folder, Vec<Place>), Error> {
    let folder = library.folder(name)?;
    let Some(remote) = folder.remote() else {
        let problem = Problem::error(name.to_string(), "is no repository of the Hub");
        return Err(problem.hint("repositories are named owner/name").into());
    };
    let weights = |checkpoint: &Checkpoint| -> Vec<Place> {
        checkpoint.files().iter().map(SafetensorsFile::place).cloned().collect()
    };
    let (mut places, config) = match folder.holds("adapter_config.json") && !folder.holds("config.json") {
        true => (weights(Adapter::open_in(&name.to_string(), folder.clone())?.checkpoint()), None),
        false => {
            let checkpoint = Checkpoint::open_remote(&name.to_string(), remote.clone())?;
            (weights(&checkpoint), checkpoint.config().cloned())
        }
    };
    places.extend(beside(&name.to_string(), &folder, config.as_ref(), problems));
    Ok((folder, places))
}
