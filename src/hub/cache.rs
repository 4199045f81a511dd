//! A repository's folder in the cache. Its layout is the Python client's, so that either finds what the other fetched:
//!
//! ```text
//! models--owner--name/refs/main              the commit that a branch or tag was
//! models--owner--name/blobs/HASH             the bytes of a file, by what they are known by
//! models--owner--name/snapshots/COMMIT/FILE  a link to a blob
//! .locks/models--owner--name/HASH.lock       locked while a blob arrives
//! models--owner--name/.growmerge/            ours: what a commit holds, first bytes of files, which hashes were checked
//! ```

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::name::RepoName;
use super::trouble::is_commit;
use crate::checkpoint::{Identity, Listed};
use crate::problem::ExecError;
use crate::write::write_small;

/// Bytes of a note's own checksum.
const SUM: usize = 32;

/// A repository's part of the cache.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
}

impl Cache {
    /// Of a repository; nothing is created.
    pub(super) fn of(cache: &Path, repo: &RepoName) -> Self {
        let name = format!("models--{}--{}", repo.owner(), repo.name());
        Self { folder: cache.join(&name), locks: cache.join(".locks").join(&name) }
    }

    /// Where the files of a commit are.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Where bytes are.
    pub(super) fn blob(&self, key: &str) -> PathBuf {
        self.folder.join("blobs").join(key)
    }

    /// Where bytes are until all of them have arrived.
    pub(super) fn partial(&self, key: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{key}.incomplete"))
    }

    /// The file that is locked while a blob arrives.
    pub(super) fn lock(&self, key: &str) -> Result<File, ExecError> {
        let path = self.locks.join(format!("{key}.lock"));
        make_parent(&path)?;
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        open.map_err(ExecError::io("open", &path))
    }

    /// The commit that a branch or tag was when it was last looked at.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.reference(revision)?).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Keeps the commit of a branch or tag.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) {
        if let Some(path) = self.reference(revision)
            && self.commit(revision).as_deref() != Some(commit)
        {
            write(&path, commit.as_bytes());
        }
    }

    /// Branches may have slashes in their names, but nothing leaves the folder.
    fn reference(&self, revision: &str) -> Option<PathBuf> {
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
        let stays = !revision.is_empty() && Path::new(revision).components().all(plain);
        stays.then(|| self.folder.join("refs").join(revision))
    }

    /// Shows a blob as a file of a commit.
    pub(super) fn link(&self, commit: &str, file: &str, key: &str) -> Result<(), ExecError> {
        let link = self.snapshot(commit).join(file);
        if self.is_link(commit, file, key) {
            return Ok(());
        }
        make_parent(&link)?;
        // A name that nobody else has: others may be at the same file.
        let chance = std::hash::RandomState::new().build_hasher().finish();
        let aside = link.with_file_name(format!(".{file}.{chance:016x}"));
        symlink(&link_to(key), &aside).map_err(ExecError::io("link", &aside))?;
        fs::rename(&aside, &link).map_err(ExecError::io("link", &link))
    }

    /// The files that are here of a commit, where nothing tells what else there is.
    pub(super) fn here(&self, commit: &str) -> Vec<Listed> {
        let entries = fs::read_dir(self.snapshot(commit)).into_iter().flatten().flatten();
        let listed = entries.filter_map(|entry| {
            let about = fs::metadata(entry.path()).ok().filter(fs::Metadata::is_file)?;
            let target = fs::read_link(entry.path()).ok();
            let key = target.as_deref().and_then(Path::file_name).and_then(|n| n.to_str());
            let identity = key.and_then(identity_of);
            Some(Listed { name: entry.file_name().into_string().ok()?, bytes: about.len(), identity })
        });
        let mut listed: Vec<Listed> = listed.collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        listed
    }

    fn note(&self, kind: &str, name: &str) -> PathBuf {
        self.folder.join(".growmerge").join(kind).join(name)
    }

    /// What a commit holds, if it was looked at before: it does not change.
    pub(super) fn tree(&self, commit: &str) -> Option<Vec<Listed>> {
        let rows: Vec<(String, u64, Option<String>)> =
            serde_json::from_slice(&fs::read(self.note("trees", commit)).ok()?).ok()?;
        let listed = |(name, bytes, key): (String, u64, Option<String>)| {
            let identity = key.as_deref().and_then(identity_of);
            Listed { name, bytes, identity }
        };
        Some(rows.into_iter().map(listed).filter(|f| is_plain(&f.name)).collect())
    }

    /// Keeps what a commit holds.
    pub(super) fn set_tree(&self, commit: &str, files: &[Listed]) {
        let rows: Vec<_> = files.iter().map(|f| (&f.name, f.bytes, f.identity.as_ref().map(key))).collect();
        write(&self.note("trees", commit), &serde_json::to_vec(&rows).unwrap_or_default());
    }

    /// The first bytes of a file, as far as they were looked at; a note that was damaged is none.
    pub(super) fn head(&self, key: &str) -> Vec<u8> {
        let note = fs::read(self.note("heads", key)).unwrap_or_default();
        let (sum, bytes) = note.split_at(note.len().min(SUM));
        if sum == Sha256::digest(bytes).as_slice() { bytes.to_vec() } else { Vec::new() }
    }

    /// Keeps the first bytes of a file.
    pub(super) fn set_head(&self, key: &str, bytes: &[u8]) {
        write(&self.note("heads", key), &[Sha256::digest(bytes).as_slice(), bytes].concat());
    }

    /// Whether a file of a commit is a link to this blob.
    pub(super) fn is_link(&self, commit: &str, file: &str, key: &str) -> bool {
        fs::read_link(self.snapshot(commit).join(file)).is_ok_and(|now| now == link_to(key))
    }

    /// Whether a blob was checked against its hash when it arrived, and is unchanged since.
    pub(super) fn is_verified(&self, key: &str) -> bool {
        let noted = fs::read_to_string(self.note("verified", key)).ok();
        noted.is_some() && noted == stamp(&self.blob(key))
    }

    /// Notes that a blob was checked.
    pub(super) fn set_verified(&self, key: &str) {
        if let Some(stamp) = stamp(&self.blob(key)) {
            write(&self.note("verified", key), stamp.as_bytes());
        }
    }
}

/// What a file of a commit is.
fn link_to(key: &str) -> PathBuf {
    Path::new("../../blobs").join(key)
}

/// Length and time of change.
fn stamp(path: &Path) -> Option<String> {
    let about = fs::metadata(path).ok()?;
    let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", about.len(), changed.as_nanos()))
}

/// A file name that stays in its folder.
pub(super) fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    one && !name.contains(['\\', '\0', '\n', '\r'])
}

/// What a blob is called.
pub(super) fn key(identity: &Identity) -> &str {
    match identity {
        Identity::Sha256(hex) | Identity::Git(hex) => hex,
    }
}

/// What the name of a blob says of its bytes.
fn identity_of(key: &str) -> Option<Identity> {
    let is_hex = key.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match key.len() {
        64 if is_hex => Some(Identity::Sha256(key.to_owned())),
        40 if is_hex => Some(Identity::Git(key.to_owned())),
        _ => None,
    }
}

/// The identity that the Hub gives a file.
pub(super) fn identity(sha256: Option<&str>, oid: &str) -> Option<Identity> {
    match (sha256.map(identity_of), identity_of(oid)) {
        (Some(Some(known @ Identity::Sha256(_))), _) | (None, Some(known @ Identity::Git(_))) => Some(known),
        _ => None,
    }
}

pub(super) fn make_parent(path: &Path) -> Result<(), ExecError> {
    path.parent().map_or(Ok(()), |parent| fs::create_dir_all(parent).map_err(ExecError::io("create", parent)))
}

/// Writes a note whole or not at all. It spares a question next time; where it cannot be written, as in a cache that
/// others keep, that is all that is lost.
fn write(path: &Path, bytes: &[u8]) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let put = || write_small(path.parent().unwrap_or(Path::new(".")), name, bytes);
    if let Err(why) = make_parent(path).and_then(|()| put()) {
        tracing::info!("{why}");
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// As the Python client does where links are not to be had.
#[cfg(not(unix))]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    fs::copy(link.parent().unwrap_or(Path::new(".")).join(target), link).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::of(folder.path(), &RepoName::parse("own/name").unwrap());
        (folder, cache)
    }

    #[test]
    fn names_stay_in_their_folders() {
        for name in ["config.json", "a b", "ä.txt", "..x", ".gitattributes"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", ".", "..", "../x", "a/b", "/x", "a\\b", "a/", "./a", "a\0b", "a\nb"] {
            assert!(!is_plain(name), "{name:?}");
        }
        let (_folder, cache) = cache();
        let commit = "0a".repeat(20);
        for revision in ["../../x", "/etc/x", "", "a/../../../b"] {
            cache.set_commit(revision, &commit);
            assert_eq!(cache.commit(revision), None, "{revision}");
        }
        for revision in ["main", "feature/x"] {
            cache.set_commit(revision, &commit);
            assert_eq!(cache.commit(revision).as_deref(), Some(commit.as_str()));
        }
    }

    #[test]
    fn a_blob_that_changed_is_no_longer_verified() {
        let (_folder, cache) = cache();
        let key = "ab".repeat(32);
        assert!(!cache.is_verified(&key));
        write(&cache.blob(&key), b"bytes");
        cache.set_verified(&key);
        assert!(cache.is_verified(&key));
        fs::write(cache.blob(&key), b"bytes and more").unwrap();
        assert!(!cache.is_verified(&key));
    }

    #[test]
    fn what_was_noted_is_read_again() {
        let (_folder, cache) = cache();
        let commit = "0b".repeat(20);
        let file = |name: &str, identity| Listed { name: name.into(), bytes: 5, identity };
        let files = [
            file("a", Some(Identity::Sha256("ab".repeat(32)))),
            file("b", Some(Identity::Git("cd".repeat(20)))),
            file("c", None),
        ];
        assert_eq!(cache.tree(&commit), None);
        cache.set_tree(&commit, &files);
        assert_eq!(cache.tree(&commit).unwrap(), files);
        // A list that somebody else wrote leads nowhere else either.
        cache.set_tree(&commit, &[file("../../a", None)]);
        assert_eq!(cache.tree(&commit).unwrap(), []);
        let key = "ab".repeat(32);
        write(&cache.blob(&key), b"bytes");
        cache.link(&commit, "a", &key).unwrap();
        cache.link(&commit, "a", &key).unwrap();
        assert_eq!(cache.here(&commit), files[..1]);
        assert!(cache.is_link(&commit, "a", &key) && !cache.is_link(&commit, "b", &key));
        cache.set_head(&key, b"a header");
        assert_eq!(cache.head(&key), b"a header");
        fs::write(cache.note("heads", &key), b"damaged").unwrap();
        assert_eq!(cache.head(&key), b"");
        assert_eq!(fs::read(cache.snapshot(&commit).join("a")).unwrap(), b"bytes");
    }
}
