//! A merged model goes to the Hub: what its manifest lists, in one commit, in place of an earlier model.
//!
//! Large files go to the Hub's store first, each under its SHA-256, so what arrived before an interruption is not
//! sent again. The commit comes last: until then nothing of the model can be seen, and after it all of it.

mod card;
mod commit;
mod earlier;
mod files;
mod modes;
mod part;
mod store;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Url;

use super::api::{State, Visibility};
use super::parallel::at_once;
use super::settings::Settings;
use super::trouble::{About, Kind, is_commit};
use super::web::Web;
use super::{MAIN, RepoName};
use crate::execute::Observer;
use crate::problem::{Error, Problem};
use commit::Commit;
use files::LocalFile;
use modes::Planned;

/// Who may read a repository that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everybody, or as the repository has it already.
    AsItIs,
    /// Its owners. A repository that everybody reads is refused.
    OwnersOnly,
}

/// What is to be published, and where.
#[derive(Clone, Debug)]
pub struct Push<'a> {
    /// An output folder of a merge.
    pub folder: &'a Path,
    /// The repository; it is made if it is not there.
    pub repo: RepoName,
    /// The branch, `main` if not given; it is made if it is not there.
    pub branch: Option<&'a str>,
    /// Who may read a repository that is made.
    pub readers: Readers,
    /// The commit's message.
    pub message: Option<&'a str>,
    /// Connections at once.
    pub jobs: usize,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The address of the commit.
    Commit(String),
    /// The branch has these files already; its address.
    Unchanged(String),
}

/// Publishes a model.
///
/// # Errors
/// If the folder is not what its manifest says, if the token, the repository or the branch does not allow it, or if
/// the network fails for too long. What had arrived by then is not sent again by the next call.
pub fn push(settings: &Settings, push: &Push<'_>, observer: &dyn Observer) -> Result<Pushed, Error> {
    let web = Web::open(settings)?;
    let branch = push.branch.unwrap_or(MAIN);
    let target = Target { web: &web, repo: &push.repo, branch };
    let about = target.about();
    if is_commit(branch) {
        let problem = Problem::error("--revision", "is a commit; only a branch can get a new one");
        return Err(problem.into());
    }
    web.may_ask(&about)?;
    if web.token().is_none() {
        return Err(about.trouble(Kind::TokenMissing).into());
    }
    let model = files::of(push.folder)?;
    // Whether it may be written is known before minutes of hashing.
    let parent = target.open(push.readers)?.commit;
    let files = each(push.jobs, &model.paths, |path| LocalFile::read(push.folder, path))?;
    let tree = web.tree(&push.repo, &parent)?;
    let changed = files::changed(&files, &tree);
    let outdated = earlier::outdated(&target, &parent, &files, &tree)?;
    if changed.is_empty() && outdated.is_empty() {
        return Ok(Pushed::Unchanged(target.page("tree", branch)));
    }
    card::check(&target, &changed)?;
    let Planned { small, large } = modes::ask(&target, &changed)?;
    store::send(&target, &large, push.jobs, observer)?;
    let message = push.message.map_or_else(|| model.message(), str::to_owned);
    let commit = Commit { parent: &parent, message: &message, small, large, outdated };
    let commit = commit.make(&target, &files)?;
    Ok(Pushed::Commit(target.page("commit", &commit)))
}

/// Where it goes.
struct Target<'a> {
    web: &'a Web,
    repo: &'a RepoName,
    branch: &'a str,
}

impl Target<'_> {
    fn about(&self) -> About {
        About::repo(self.repo).revision(self.branch)
    }

    /// Where the branch is asked for something.
    fn api(&self, what: &str) -> Url {
        self.web.url(["api", "models", self.repo.owner(), self.repo.name(), what, self.branch])
    }

    /// Where people look at it.
    fn page(&self, what: &str, revision: &str) -> String {
        self.web.url([self.repo.owner(), self.repo.name(), what, revision]).into()
    }

    /// The branch as it is now; what is missing is made.
    fn open(&self, readers: Readers) -> Result<State, Error> {
        let Self { web, repo, branch } = self;
        let state = match web.state(repo, branch) {
            Err(trouble) if matches!(trouble.kind, Kind::NoSuchRepo | Kind::Hidden) => {
                let visibility = match readers {
                    Readers::AsItIs => Visibility::Public,
                    Readers::OwnersOnly => Visibility::Private,
                };
                web.create_repo(repo, visibility)?;
                web.state(repo, branch)
            }
            known => known,
        };
        let state = match state {
            Err(trouble) if trouble.kind == Kind::NoSuchRevision && *branch != MAIN => {
                // In a repository that is refused, no branch is made either.
                self.allow(readers, web.state(repo, MAIN)?)?;
                web.create_branch(repo, branch)?;
                web.state(repo, branch)
            }
            known => known,
        };
        self.allow(readers, state?)
    }

    fn allow(&self, readers: Readers, state: State) -> Result<State, Error> {
        if readers == Readers::OwnersOnly && state.visibility == Visibility::Public {
            let problem = Problem::error("--private", format!("{} is there already, and public", self.repo));
            let hint = "make it private at the Hub first, or push without --private";
            return Err(problem.hint(hint).into());
        }
        Ok(state)
    }
}

/// Does something with each, several at once; results are in the order of `items`. After a failure no other one is
/// begun.
fn each<T: Sync, R: Send, E: Send>(
    jobs: usize,
    items: &[T],
    once: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let failed = AtomicBool::new(false);
    let unless_failed = |item: &T| {
        let done = (!failed.load(Ordering::Relaxed)).then(|| once(item));
        if matches!(done, Some(Err(_))) {
            failed.store(true, Ordering::Relaxed);
        }
        done
    };
    at_once(items, jobs, unless_failed).into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_keeps_order_and_stops_at_a_failure() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(each(7, &items, |n| Ok::<_, ()>(n * n)), Ok(items.iter().map(|n| n * n).collect()));
        let begun = std::sync::atomic::AtomicUsize::new(0);
        let ended = each(1, &items, |n| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *n == 3 { Err("three") } else { Ok(()) }
        });
        assert_eq!((ended, begun.into_inner()), (Err("three"), 4));
        assert_eq!(each(4, &[] as &[usize], |_| Ok::<(), ()>(())), Ok(vec![]));
    }
}
