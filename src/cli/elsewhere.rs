//! Models of the Hub on the command line: the options of every command that names models, and bringing files here.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use growmerge::checkpoint::Place;
use growmerge::plan::{Library, Plan};
use growmerge::problem::{Error, Problem};
use growmerge::recipe::{AdapterRef, Reading};

/// Models of the Hub
#[cfg(feature = "hub")]
#[derive(clap::Args)]
#[group(id = "elsewhere")]
pub(super) struct Options {
    /// Do not use the network: of the Hub, only what is in the cache
    #[arg(long)]
    offline: bool,
    /// Where files of the Hub are kept [default: where the Python client keeps them]
    #[arg(long, value_name = "DIR")]
    cache: Option<std::path::PathBuf>,
    /// Files of the Hub that are asked for at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
}

/// This program was built without the Hub.
#[cfg(not(feature = "hub"))]
#[derive(clap::Args)]
#[group(id = "elsewhere")]
pub(super) struct Options {}

/// A model as the command line names it: `path` or `owner/name`, with `@revision` or without.
pub(super) fn named(text: &str) -> Result<AdapterRef, Error> {
    AdapterRef::parse(text).map_err(|why| Problem::error(text, format!("is no model: {why}")).into())
}

/// Everything that readings name.
fn parts<'r>(readings: impl IntoIterator<Item = &'r Reading>) -> Vec<AdapterRef> {
    readings.into_iter().flat_map(|reading| &reading.models).flat_map(|model| model.value.parts()).collect()
}

/// Everything that a recipe or a grid names.
#[cfg(feature = "hub")]
pub(super) fn parts_of(contents: &growmerge::recipe::Contents) -> Vec<AdapterRef> {
    use growmerge::recipe::Contents;
    match contents {
        Contents::Recipe(reading) => parts([reading]),
        Contents::Grid(grid) => parts(grid.members.iter().map(|m| &m.reading)),
    }
}

impl Options {
    /// The models of a recipe's file, or of some members of a grid.
    ///
    /// # Errors
    /// What is wrong with models of the Hub.
    pub(super) fn library_of<'r>(
        &self,
        recipe: &Path,
        readings: impl IntoIterator<Item = &'r Reading>,
    ) -> Result<Library, Error> {
        self.library(Some(recipe), &parts(readings))
    }

    /// Brings here what a plan reads, and takes it up.
    ///
    /// # Errors
    /// What keeps files from being had.
    pub(super) fn bring_plan(&self, plan: &Plan, silent: bool, cancel: &AtomicBool) -> Result<(), Error> {
        self.bring(&plan.away(), silent, cancel)?;
        Ok(plan.attach()?)
    }
}

#[cfg(feature = "hub")]
impl Options {
    /// Where files are, who asks, and whether to ask at all.
    ///
    /// # Errors
    /// What is wrong with the environment.
    pub(super) fn settings(&self) -> Result<growmerge::hub::Settings, Error> {
        use growmerge::hub::{Network, Settings};
        let mut settings = Settings::from_env()?;
        if let Some(cache) = &self.cache {
            settings = settings.with_cache(cache.clone());
        }
        if self.offline {
            settings = settings.with_network(Network::Offline);
        }
        Ok(settings)
    }

    /// Some models; those of a recipe at the commits that it is locked to.
    ///
    /// # Errors
    /// What is wrong with models of the Hub.
    pub(super) fn library(&self, recipe: Option<&Path>, models: &[AdapterRef]) -> Result<Library, Error> {
        use growmerge::hub::{Hub, Pins};
        let pins = recipe.map(Pins::of).transpose()?.flatten();
        let hub = Hub::new(self.settings()?, pins, self.jobs());
        hub.prepare(models)?;
        Ok(Library::new().with(std::sync::Arc::new(hub)))
    }

    /// Files that are fetched at the same time.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.into()
    }

    /// Brings files here.
    ///
    /// # Errors
    /// What keeps them from being had.
    pub(super) fn bring(&self, places: &[&Place], silent: bool, cancel: &AtomicBool) -> Result<(), Error> {
        let places: Vec<&Place> = places.iter().copied().filter(|place| place.is_away()).collect();
        if places.is_empty() {
            return Ok(());
        }
        if self.settings()?.network() == growmerge::hub::Network::Offline {
            return Err(absent(&places).into());
        }
        let bars = super::fetching::Bars::new(silent);
        let fetched = growmerge::hub::fetch(&places, self.jobs(), &bars, cancel);
        bars.finish();
        fetched
    }
}

/// Files that are wanted offline and are not in the cache.
#[cfg(feature = "hub")]
fn absent(places: &[&Place]) -> growmerge::problem::Problems {
    let mut problems = growmerge::problem::Problems::new();
    for place in places {
        let what = "is not in the cache, and the network is not to be used";
        let remote = place.folder.remote();
        let model = remote.map(|r| format!("{}@{}", r.name(), r.commit())).unwrap_or_default();
        let hint = format!("fetch it first: `growmerge fetch {model}`");
        problems.push(Problem::error(place.folder.at(&place.name), what).hint(hint));
    }
    problems
}

#[cfg(not(feature = "hub"))]
impl Options {
    pub(super) fn library(&self, _recipe: Option<&Path>, _models: &[AdapterRef]) -> Result<Library, Error> {
        Ok(Library::new())
    }

    pub(super) fn bring(&self, _places: &[&Place], _silent: bool, _cancel: &AtomicBool) -> Result<(), Error> {
        Ok(())
    }
}
