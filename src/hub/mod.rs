//! The Hugging Face Hub: models by name. The only network.
//!
//! A [`Hub`] finds repositories for a plan ([`Repositories`]), each at one commit; headers and
//! small files come while a plan is made, and [`fetch`] brings the rest into the cache, which is the Python client's.

mod answer;
mod api;
mod body;
mod cache;
mod digest;
mod download;
mod fetch;
mod name;
mod parallel;
mod pins;
mod push;
mod repo;
mod retry;
mod settings;
mod token;
mod trouble;
mod web;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use fetch::{Observer, fetch};
pub use name::RepoName;
pub use pins::Pins;
pub use push::{Push, Pushed, Readers, push};
pub use retry::Policy;
pub use settings::{Network, Settings};
pub use token::Token;

use crate::checkpoint::Remote;
use crate::plan::Repositories;
use crate::problem::{Error, Problem, Problems};
use crate::recipe::AdapterRef;
use cache::Cache;
use parallel::{all_of, at_once, machines};
use repo::Repo;
use trouble::{About, Kind, Trouble, is_commit};
use web::Web;

/// The branch that a name without a revision means.
const MAIN: &str = "main";

/// Repositories by name and revision, or what is wrong with them.
type Found = BTreeMap<(RepoName, String), Result<Arc<Repo>, Problems>>;

/// Models by name.
pub struct Hub {
    settings: Settings,
    pins: Option<Pins>,
    /// Repositories that are asked for at the same time, and files of each.
    at_once: usize,
    /// Made when it is first needed: recipes of local folders need none.
    web: OnceLock<Arc<Web>>,
    found: Mutex<Found>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Hub {
    /// Opens no connection yet. With pins, only models that have one are found, each at its commit. `at_once` is how much is
    /// asked for at the same time.
    pub fn new(settings: Settings, pins: Option<Pins>, at_once: usize) -> Self {
        Self { settings, pins, at_once, web: OnceLock::new(), found: Mutex::default() }
    }

    /// Finds some models, several at a time, with all that a plan asks of them: what they hold, configurations,
    /// first bytes of weight files. What is no name of a repository, or is on disk, is passed over; what the user can
    /// mend is left to the plan, which says where the model is named.
    ///
    /// # Errors
    /// What the network or the disk does.
    pub fn prepare<'m>(&self, models: impl IntoIterator<Item = &'m AdapterRef>) -> Result<(), Error> {
        let mut wanted: Vec<&AdapterRef> = models.into_iter().collect();
        wanted.sort();
        wanted.dedup();
        wanted.retain(|m| is_elsewhere(m));
        let found = at_once(&wanted, self.at_once, |model| {
            let repo = self.repo(model)?;
            repo.iter().try_for_each(|repo| repo.bring_settings())?;
            Ok(repo)
        });
        let repos: Vec<Arc<Repo>> = machines(found)?.into_iter().flatten().collect();
        let heads: Vec<(&Repo, &str)> =
            repos.iter().flat_map(|repo| repo.weights().map(|file| (&**repo, file))).collect();
        machines(at_once(&heads, self.at_once, |(repo, file)| repo.look_at(file)))?;
        Ok(())
    }

    /// The commits that models are now; those that are no repositories are passed over.
    ///
    /// # Errors
    /// As [`Hub::prepare`].
    pub fn commits(&self, models: &[AdapterRef]) -> Result<Pins, Error> {
        let mut wanted: Vec<&AdapterRef> = models.iter().filter(|m| is_elsewhere(m)).collect();
        wanted.sort();
        wanted.dedup();
        let found = all_of(at_once(&wanted, self.at_once, |model| {
            let Some(name) = RepoName::parse(&model.path) else { return Ok(None) };
            let revision = model.revision.as_deref().unwrap_or(MAIN);
            // What the cache had is not what they are now.
            let state = self.web()?.state(&name, revision).map_err(|trouble| self.told(trouble))?;
            Ok(Some(state.commit))
        }))?;
        let mut pins = Pins::default();
        for (model, commit) in wanted.iter().zip(found) {
            commit.iter().for_each(|commit| pins.add(model, commit));
        }
        Ok(pins)
    }

    /// A model's repository, looked for once.
    ///
    /// # Errors
    /// Why it could not be found.
    fn repo(&self, model: &AdapterRef) -> Result<Option<Arc<Repo>>, Error> {
        let Some(name) = RepoName::parse(&model.path) else { return Ok(None) };
        let known = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = model.revision.as_deref().unwrap_or(MAIN);
        let key = (name.clone(), revision.to_owned());
        if let Some(known) = known().get(&key) {
            return Ok(Some(known.clone()?));
        }
        let found = match self.open(model, name) {
            Ok(repo) => Ok(Arc::new(repo)),
            Err(Error::Input(problems)) => Err(problems),
            Err(machine) => return Err(machine),
        };
        known().insert(key, found.clone());
        Ok(Some(found?))
    }

    fn open(&self, model: &AdapterRef, name: RepoName) -> Result<Repo, Error> {
        let cache = Cache::of(&self.settings.cache, &name);
        let revision = model.revision.as_deref().unwrap_or(MAIN);
        let commit = match &self.pins {
            Some(pins) => pins.commit(model)?.to_owned(),
            None if is_commit(revision) => revision.to_owned(),
            None => self.commit(&cache, &name, revision)?,
        };
        Repo::open(self.web()?, cache, name, commit)
    }

    /// The commit that a branch or tag is now; where the Hub cannot be reached, was when it was last asked.
    fn commit(&self, cache: &Cache, repo: &RepoName, revision: &str) -> Result<String, Error> {
        let asked = self.web()?.state(repo, revision);
        let trouble = match asked {
            Ok(state) => {
                cache.set_commit(revision, &state.commit);
                return Ok(state.commit);
            }
            Err(trouble) => trouble,
        };
        let before = cache.commit(revision);
        match (&trouble.kind, before) {
            (Kind::Offline, Some(before)) => Ok(before),
            (Kind::Connection { .. } | Kind::Stalled { .. }, Some(before)) => {
                tracing::warn!("{trouble}; going on with what the cache has of {repo}, commit {before}");
                Ok(before)
            }
            (Kind::Offline, None) => {
                let about = About::repo(repo).revision(revision);
                Err(Problem::error(
                    about.to_string(),
                    "is not in the cache, and the network is not to be used; nor is there a folder of this name",
                )
                .hint(format!("fetch it first: `growmerge fetch {about}`"))
                .into())
            }
            _ => Err(self.told(trouble)),
        }
    }

    /// What is wrong with a model, where a folder of its name would have been as good.
    fn told(&self, trouble: Trouble) -> Error {
        match trouble.kind {
            Kind::NoSuchRepo | Kind::Hidden => {
                let mut problem = Problem::from(trouble);
                problem.what += "; nor is there a folder of this name";
                problem.into()
            }
            _ => trouble.into(),
        }
    }

    /// The way to the Hub.
    fn web(&self) -> Result<Arc<Web>, Error> {
        if let Some(web) = self.web.get() {
            return Ok(web.clone());
        }
        let web = Arc::new(Web::open(&self.settings)?);
        Ok(self.web.get_or_init(|| web).clone())
    }
}

impl Repositories for Hub {
    fn find(&self, name: &str, revision: Option<&str>) -> Result<Option<Arc<dyn Remote>>, Problems> {
        let model = AdapterRef { path: name.to_owned(), revision: revision.map(str::to_owned) };
        Ok(self.repo(&model)?.map(|repo| repo as Arc<dyn Remote>))
    }
}

/// Whether a name is that of a repository, and of nothing on disk.
fn is_elsewhere(model: &AdapterRef) -> bool {
    !Path::new(&model.path).exists() && RepoName::parse(&model.path).is_some()
}
