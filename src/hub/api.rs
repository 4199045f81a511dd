//! Questions about repositories: what a revision is, what is in it; and two things that can be made. Asked by hf-hub
//! where it can.

use std::future::Future;

use hf_hub::repository::{HFRepository, RepoTypeModel};
use hf_hub::{HFError, HFResult};
use reqwest::header::LINK;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::answer::{Failure, From, unanswered};
use super::name::RepoName;
use super::retry;
use super::trouble::{About, Kind, Trouble, is_commit};
use super::web::Web;

/// What a revision of a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// 40 hexadecimal digits.
    pub(super) commit: String,
    /// Who may read the repository.
    pub(super) visibility: Visibility,
}

/// Who may read a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visibility {
    /// Everybody.
    Public,
    /// Its owners.
    Private,
}

/// A file of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeFile {
    /// Below the repository's root, with `/`.
    pub(super) path: String,
    /// Bytes.
    pub(super) size: u64,
    /// What git calls it: SHA-1 of its blob, or of the pointer's if the bytes are kept elsewhere.
    pub(super) oid: String,
    /// Of a file that is kept elsewhere (LFS, Xet), SHA-256 of its bytes.
    pub(super) sha256: Option<String>,
}

/// An entry of a listing, as the Hub writes it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Entry {
    File {
        path: String,
        size: u64,
        oid: String,
        lfs: Option<Lfs>,
    },
    /// Directories, and what may come.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "sha256")]
    oid: String,
}

impl Entry {
    fn file(self) -> Option<TreeFile> {
        match self {
            Self::File { path, size, oid, lfs } => {
                Some(TreeFile { path, size, oid, sha256: lfs.map(|lfs| lfs.oid) })
            }
            Self::Other => None,
        }
    }
}

/// Of `Link: <https://…>; rel="next"`, the address.
fn next_page(link: &str, from: &Url) -> Option<Url> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    from.join(next.split_once('<')?.1.split_once('>')?.0).ok()
}

impl Web {
    /// The commit that a branch, a tag or a commit is now.
    pub(super) fn commit(&self, repo: &RepoName, revision: &str) -> Result<String, Trouble> {
        Ok(self.state(repo, revision)?.commit)
    }

    /// What a revision is now, and whose the repository is.
    pub(super) fn state(&self, repo: &RepoName, revision: &str) -> Result<State, Trouble> {
        let about = About::repo(repo).revision(revision);
        if ["", ".", ".."].contains(&revision) {
            return Err(about.trouble(Kind::NoSuchRevision));
        }
        let model = self.model(repo);
        let wanted = || vec!["sha".to_owned(), "private".to_owned()];
        let ask = || model.info().revision(revision).expand(wanted()).send();
        let info = retry::run(self.policy(), |_| self.ask(&about, ask()))?;
        let commit = info.sha.filter(|sha| is_commit(sha));
        let commit = commit.ok_or_else(|| about.trouble(Kind::Odd("it names no commit".into())))?;
        let visibility = if info.private == Some(true) { Visibility::Private } else { Visibility::Public };
        Ok(State { commit, visibility })
    }

    /// Every file of a revision. Not by hf-hub, which reads the hashes of large files under another name than the
    /// Hub gives them here, and so finds none.
    pub(super) fn tree(&self, repo: &RepoName, commit: &str) -> Result<Vec<TreeFile>, Trouble> {
        let about = About::repo(repo).revision(commit);
        let mut url = self.url(["api", "models", repo.owner(), repo.name(), "tree", commit]);
        url.set_query(Some("recursive=true"));
        let mut next = Some(url);
        let mut files = Vec::new();
        while let Some(url) = next {
            let (page, then) = retry::run(self.policy(), |_| self.page(&about, &url))?;
            files.extend(page.into_iter().filter_map(Entry::file));
            next = then;
        }
        Ok(files)
    }

    /// A page of a listing, and where the next one is.
    fn page(&self, about: &About, url: &Url) -> Result<(Vec<Entry>, Option<Url>), Trouble> {
        let response = self.send(about, Method::GET, url.clone(), |request| request)?;
        let next = response.headers().get(LINK).and_then(|link| next_page(link.to_str().ok()?, url));
        Ok((self.json(about, response)?, next))
    }

    /// Makes a repository, unless it is there.
    pub(super) fn create_repo(&self, repo: &RepoName, visibility: Visibility) -> Result<(), Trouble> {
        let about = About::repo(repo);
        let private = visibility == Visibility::Private;
        let ask = || {
            let create = self.hub.create_repository().repo_id(repo.as_str()).repo_type(RepoTypeModel);
            create.private(private).exist_ok(true).send()
        };
        retry::run(self.policy(), |_| self.ask(&about, ask())).map(|_| ())
    }

    /// Makes a branch where the main one is, unless it is there.
    pub(super) fn create_branch(&self, repo: &RepoName, branch: &str) -> Result<(), Trouble> {
        let about = About::repo(repo).revision(branch);
        let made = retry::run(self.policy(), |_| {
            self.ask(&about, self.model(repo).create_branch().branch(branch).send())
        });
        match made {
            // Somebody else was quicker, or a try whose answer was lost.
            Err(Trouble { kind: Kind::Conflict(_), .. }) => Ok(()),
            made => made,
        }
    }

    fn model(&self, repo: &RepoName) -> HFRepository<RepoTypeModel> {
        self.hub.model(repo.owner(), repo.name())
    }

    /// One try.
    fn ask<T>(&self, about: &About, answer: impl Future<Output = HFResult<T>>) -> Result<T, Trouble> {
        self.may_ask(about)?;
        match self.wait(self.stall(), answer) {
            Some(answer) => answer.map_err(|e| self.trouble(about, e)),
            None => Err(about.trouble(Kind::Stalled { host: self.host(), after: self.stall() })),
        }
    }

    /// hf-hub's errors have the address of the request in them, and take a revision that is not there for a missing
    /// file; of the answers that it keeps, the same is made as of our own.
    fn trouble(&self, about: &About, error: HFError) -> Trouble {
        let (context, after) = match error {
            HFError::Request { source, .. } => {
                return about.trouble(unanswered(&source, &self.host(), self.stall()));
            }
            HFError::RateLimited { retry_after, context } => (context, retry_after),
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context }
            | HFError::RepoNotFound { context: Some(context), .. }
            | HFError::RevisionNotFound { context: Some(context), .. }
            | HFError::EntryNotFound { context: Some(context), .. } => (context, None),
            HFError::Json(error) => return about.trouble(Kind::Odd(error.to_string())),
            HFError::MalformedResponse { what, .. } => return about.trouble(Kind::Odd(what)),
            _ => return about.trouble(Kind::Odd("hf-hub cannot read it".into())),
        };
        let failure = Failure {
            from: From::Hub(self.host()),
            status: context.status.as_u16(),
            code: context.error_code.as_deref(),
            message: context.server_message.as_deref().unwrap_or_default(),
            after,
            token: self.token(),
        };
        failure.trouble(about)
    }
}
