//! Repositories: commits of trees of files, branches and tags, and who may see them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::objects::{self, Content};
use super::{Hub, upload};

/// What a token allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Visibility {
    Public,
    /// There is no such repository for those who may not see it.
    Private,
    /// Seen by all, read by some.
    Gated,
}

/// A file in a tree.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) content: Content,
    /// What git calls it; of a large file, its pointer.
    pub(super) oid: String,
    /// SHA-256 of a large file.
    pub(super) lfs: Option<String>,
}

impl Entry {
    pub(super) fn regular(bytes: Vec<u8>) -> Self {
        Self { oid: objects::blob_id(&bytes), content: bytes.into(), lfs: None }
    }

    pub(super) fn large(content: Content, sha256: String) -> Self {
        let oid = objects::blob_id(objects::pointer(&sha256, content.len()).as_bytes());
        Self { content, oid, lfs: Some(sha256) }
    }

    /// What names the file in the caches of clients.
    pub(super) fn etag(&self) -> String {
        format!("\"{}\"", self.lfs.as_ref().unwrap_or(&self.oid))
    }
}

pub(super) type Tree = BTreeMap<String, Entry>;

pub(super) struct Repository {
    pub(super) name: String,
    pub(super) visibility: Visibility,
    /// Tokens that may read what not all may.
    pub(super) readers: BTreeSet<String>,
    pub(super) branches: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) commits: BTreeMap<String, Tree>,
    /// Large objects that were uploaded, whether or not a commit has them.
    pub(super) objects: BTreeMap<String, Content>,
    /// Parts of objects by object and number, with what each was answered with.
    pub(super) parts: BTreeMap<(String, usize), (Content, String)>,
    staged: Tree,
    removed: BTreeSet<String>,
}

impl Repository {
    pub(super) fn new(name: &str) -> Self {
        let mut repository = Self {
            name: name.into(),
            visibility: Visibility::Public,
            readers: BTreeSet::new(),
            branches: BTreeMap::new(),
            tags: BTreeMap::new(),
            commits: BTreeMap::new(),
            objects: BTreeMap::new(),
            parts: BTreeMap::new(),
            staged: Tree::new(),
            removed: BTreeSet::new(),
        };
        repository.add("main", Tree::new());
        repository
    }

    /// A branch, a tag, a commit or the beginning of one.
    pub(super) fn commit(&self, revision: &str) -> Option<&str> {
        let named = self.branches.get(revision).or_else(|| self.tags.get(revision));
        let short = || (revision.len() >= 7).then(|| self.commits.keys().find(|id| id.starts_with(revision)));
        named.or_else(|| short().flatten()).map(String::as_str)
    }

    /// A commit of this tree on top of a branch.
    pub(super) fn add(&mut self, branch: &str, tree: Tree) -> String {
        let parent = self.branches.get(branch);
        // The number makes commits of equal trees differ, as dates do.
        let mut text = format!("{} {parent:?} {}\n", self.name, self.commits.len());
        for (path, entry) in &tree {
            text += &format!("{path} {}\n", entry.oid);
        }
        let id = objects::git_id("commit", text.as_bytes());
        self.commits.insert(id.clone(), tree);
        self.branches.insert(branch.into(), id.clone());
        id
    }
}

/// A repository in the hands of a test.
#[derive(Clone)]
pub struct Repo {
    hub: Arc<Hub>,
    name: String,
}

impl Repo {
    pub(super) fn new(hub: Arc<Hub>, name: &str) -> Self {
        Self { hub, name: name.into() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Repository) -> T) -> T {
        act(self.hub.state().repositories.get_mut(&self.name).expect(&self.name))
    }

    /// A file in git itself, with the next commit.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) -> &Self {
        let entry = Entry::regular(bytes.into());
        self.with(|r| r.staged.insert(path.into(), entry));
        self
    }

    /// A large file, with the next commit.
    pub fn put_lfs(&self, path: &str, bytes: impl Into<Vec<u8>>) -> &Self {
        self.large(path, bytes.into().into())
    }

    /// A large file that stays where it is on disk.
    pub fn put_file(&self, path: &str, on_disk: &Path) -> &Self {
        let content =
            Content::file(on_disk.to_owned()).unwrap_or_else(|e| panic!("{}: {e}", on_disk.display()));
        self.large(path, content)
    }

    /// All files below a folder on disk, which stay there if the hub takes them for large.
    pub fn put_folder(&self, folder: &Path) -> &Self {
        let mut folders = vec![folder.to_owned()];
        while let Some(now) = folders.pop() {
            for entry in std::fs::read_dir(&now).unwrap_or_else(|e| panic!("{}: {e}", now.display())) {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if upload::is_large(&name, path.metadata().unwrap().len(), &[]) {
                    self.put_file(&name, &path);
                } else {
                    self.put(&name, std::fs::read(&path).unwrap());
                }
            }
        }
        self
    }

    fn large(&self, path: &str, content: Content) -> &Self {
        let entry = Entry::large(content.clone(), content.sha256().unwrap());
        self.with(|r| {
            r.objects.insert(entry.lfs.clone().unwrap(), content);
            r.staged.insert(path.into(), entry);
        });
        self
    }

    /// A file that the next commit has not.
    pub fn remove(&self, path: &str) -> &Self {
        self.with(|r| r.removed.insert(path.into()));
        self
    }

    /// Commits what was put and removed since the last commit to `main`.
    pub fn commit(&self) -> String {
        self.commit_to("main")
    }

    pub fn commit_to(&self, branch: &str) -> String {
        self.with(|r| {
            let mut tree = r.branches.get(branch).map(|id| r.commits[id].clone()).unwrap_or_default();
            tree.append(&mut std::mem::take(&mut r.staged));
            let removed = std::mem::take(&mut r.removed);
            tree.retain(|path, _| !removed.contains(path));
            r.add(branch, tree)
        })
    }

    /// A branch that begins where `main` is.
    pub fn branch(&self, name: &str) -> &Self {
        self.with(|r| r.branches.insert(name.into(), r.branches["main"].clone()));
        self
    }

    /// A tag for where `main` is.
    pub fn tag(&self, name: &str) -> &Self {
        self.with(|r| r.tags.insert(name.into(), r.branches["main"].clone()));
        self
    }

    /// Only this token sees the repository from now on, and those that were given before.
    pub fn private(&self, token: &str) -> &Self {
        self.restrict(Visibility::Private, token)
    }

    /// All see the repository, and who has this token may read its files.
    pub fn gated(&self, token: &str) -> &Self {
        self.restrict(Visibility::Gated, token)
    }

    fn restrict(&self, visibility: Visibility, token: &str) -> &Self {
        self.with(|r| {
            r.visibility = visibility;
            r.readers.insert(token.into());
        });
        self
    }

    /// The commit that a branch, tag or commit is.
    pub fn head(&self, revision: &str) -> Option<String> {
        self.with(|r| r.commit(revision).map(Into::into))
    }

    /// The paths at a revision.
    pub fn files(&self, revision: &str) -> Vec<String> {
        self.with(|r| r.commits[r.commit(revision).expect(revision)].keys().cloned().collect())
    }

    /// A file at a revision.
    pub fn read(&self, revision: &str, path: &str) -> Option<Vec<u8>> {
        self.with(|r| r.commits[r.commit(revision)?].get(path).map(|e| e.content.read().unwrap()))
    }

    /// Whether a file at a revision is a large one.
    pub fn is_lfs(&self, revision: &str, path: &str) -> bool {
        self.with(|r| r.commits[r.commit(revision).expect(revision)][path].lfs.is_some())
    }

    pub fn is_private(&self) -> bool {
        self.with(|r| r.visibility == Visibility::Private)
    }
}
