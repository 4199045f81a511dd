//! A repository at one commit: what a plan sees of it, and how its files come.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::{self, Cache};
use super::download::Download;
use super::name::RepoName;
use super::retry;
use super::trouble::{About, Kind};
use super::web::Web;
use crate::checkpoint::{HEADER_GUESS, Identity, Listed, Remote, Unwatched, Watch};
use crate::problem::{Error, Problem};

/// A longer card is not read.
const LONGEST_CARD: u64 = 256 << 10;

/// A repository at one commit.
pub(super) struct Repo {
    web: Arc<Web>,
    cache: Cache,
    repo: RepoName,
    commit: String,
    snapshot: PathBuf,
    files: Vec<Listed>,
}

impl fmt::Debug for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repo, self.commit)
    }
}

impl Repo {
    /// Lists what the commit holds, without asking if that was done before.
    ///
    /// # Errors
    /// What the Hub or the network does; offline, that nothing of it is in the cache.
    pub(super) fn open(web: Arc<Web>, cache: Cache, repo: RepoName, commit: String) -> Result<Self, Error> {
        let files = match cache.tree(&commit) {
            Some(files) => files,
            None if web.is_offline() => {
                let here = cache.here(&commit);
                if here.is_empty() {
                    let about = About::repo(&repo).revision(&commit);
                    return Err(about.trouble(Kind::Offline).into());
                }
                here
            }
            None => {
                let files = listed(&web, &repo, &commit)?;
                cache.set_tree(&commit, &files);
                files
            }
        };
        let snapshot = cache.snapshot(&commit);
        Ok(Self { web, cache, repo, commit, snapshot, files })
    }

    /// Brings the small files that every plan reads.
    pub(super) fn bring_settings(&self) -> Result<(), Error> {
        let wanted = ["config.json", "model.safetensors.index.json", "adapter_config.json"];
        let there = wanted.into_iter().filter(|name| self.files.iter().any(|f| f.name == *name));
        there.into_iter().try_for_each(|name| self.bring(name, &Unwatched))?;
        // The card says licence and languages, for the card of what is merged; a merge can do without.
        let card = self.files.iter().find(|f| f.name == "README.md" && f.bytes <= LONGEST_CARD);
        if let Some(Err(error)) = card.map(|card| self.bring(&card.name, &Unwatched)) {
            tracing::info!("{error}");
        }
        Ok(())
    }

    /// Weight files, as a plan chooses them.
    pub(super) fn weights(&self) -> impl Iterator<Item = &str> {
        let single = self.files.iter().any(|f| f.name == "model.safetensors");
        let names = self.files.iter().map(|f| f.name.as_str());
        names.filter(
            move |name| {
                if single { *name == "model.safetensors" } else { name.ends_with(".safetensors") }
            },
        )
    }

    /// Reads as much of the beginning of a file as a plan will want first, unless all of it is here.
    pub(super) fn look_at(&self, file: &str) -> Result<(), Error> {
        match self.is_here(file) {
            true => Ok(()),
            false => self.range(file, 0..HEADER_GUESS).map(drop),
        }
    }

    fn file(&self, name: &str) -> Result<&Listed, Error> {
        let found = self.files.iter().find(|f| f.name == name);
        let missing = || About::repo(&self.repo).revision(&self.commit).file(name).trouble(Kind::NoSuchFile);
        found.ok_or_else(|| missing().into())
    }

    /// Some bytes, from the network.
    fn ask(&self, file: &Listed, bytes: Range<u64>) -> Result<Vec<u8>, Error> {
        let about = || About::repo(&self.repo).revision(&self.commit).file(&file.name);
        let wanted = (bytes.end - bytes.start) as usize;
        let read = retry::run(self.web.policy(), |_| {
            let mut body = self.web.get(&self.repo, &self.commit, &file.name, Some(bytes.clone()))?;
            if body.total.is_some_and(|total| total != file.bytes) {
                let what = format!("{} bytes are sent, {} are listed", body.total.unwrap_or(0), file.bytes);
                return Err(about().trouble(Kind::Odd(what)));
            }
            // A server that ignores ranges sends from the beginning: what comes before is passed over.
            let mut skip = bytes.start - body.first.min(bytes.start);
            let mut read = Vec::with_capacity(wanted);
            while let Some(chunk) = body.chunk()? {
                let passed = skip.min(chunk.len() as u64);
                skip -= passed;
                read.extend(&chunk[passed as usize..]);
                if read.len() >= wanted {
                    read.truncate(wanted);
                    return Ok(read);
                }
            }
            Err(about().trouble(Kind::Cut { host: body.host(), why: "the answer is too short".into() }))
        });
        Ok(read?)
    }
}

impl Remote for Repo {
    fn name(&self) -> &str {
        self.repo.as_str()
    }

    fn commit(&self) -> &str {
        &self.commit
    }

    fn folder(&self) -> &Path {
        &self.snapshot
    }

    fn files(&self) -> &[Listed] {
        &self.files
    }

    /// First bytes are kept: they are headers, which are asked for again and again.
    fn range(&self, file: &str, bytes: Range<u64>) -> Result<Vec<u8>, Error> {
        let file = self.file(file)?;
        let bytes = bytes.start.min(file.bytes)..bytes.end.min(file.bytes);
        let Some(key) = file.identity.as_ref().map(cache::key) else { return self.ask(file, bytes) };
        let mut head = self.cache.head(key);
        if bytes.start > head.len() as u64 {
            return self.ask(file, bytes);
        }
        if bytes.end > head.len() as u64 {
            let missing = head.len() as u64..bytes.end;
            head.extend(self.ask(file, missing)?);
            self.cache.set_head(key, &head);
        }
        Ok(head[bytes.start as usize..bytes.end as usize].to_vec())
    }

    fn is_here(&self, file: &str) -> bool {
        let there = std::fs::metadata(self.snapshot.join(file)).ok().filter(|about| about.is_file());
        let listed = self.files.iter().find(|f| f.name == file);
        there.zip(listed).is_some_and(|(there, listed)| there.len() == listed.bytes)
    }

    fn bring(&self, file: &str, watch: &dyn Watch) -> Result<(), Error> {
        if self.is_here(file) {
            return Ok(());
        }
        let file = self.file(file)?;
        let Self { web, cache, repo, commit, .. } = self;
        Download { web, cache, repo, commit, file, watch }.run()
    }

    fn arrived(&self, file: &str) -> u64 {
        let Some(listed) = self.files.iter().find(|f| f.name == file) else { return 0 };
        if self.is_here(file) {
            return listed.bytes;
        }
        let Some(key) = listed.identity.as_ref().map(cache::key) else { return 0 };
        let len = |path: PathBuf| std::fs::metadata(path).map_or(0, |about| about.len());
        len(self.cache.blob(key)).max(len(self.cache.partial(key))).min(listed.bytes)
    }

    fn verified(&self, file: &str) -> Option<String> {
        let listed = self.files.iter().find(|f| f.name == file)?;
        match &listed.identity {
            Some(Identity::Sha256(hex)) => {
                let known = self.cache.is_link(&self.commit, file, hex) && self.cache.is_verified(hex);
                known.then(|| hex.clone())
            }
            _ => None,
        }
    }
}

/// The files at the top of a commit. Folders below hold other forms of a model; names that could lead out of the
/// cache are no files of ours.
fn listed(web: &Web, repo: &RepoName, commit: &str) -> Result<Vec<Listed>, Error> {
    let mut files = Vec::new();
    for file in web.tree(repo, commit)? {
        if cache::is_plain(&file.path) {
            let identity = cache::identity(file.sha256.as_deref(), &file.oid);
            files.push(Listed { name: file.path, bytes: file.size, identity });
        } else if !file.path.contains('/') || file.path.split('/').any(|part| [".", "..", ""].contains(&part))
        {
            let what = format!("holds a file named {:?}, which could lead out of the cache", file.path);
            return Err(Problem::error(repo.as_str(), what).into());
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files.dedup_by(|a, b| a.name == b.name);
    Ok(files)
}
