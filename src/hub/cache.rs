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
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::name::RepoName;
use super::trouble::is_commit;
use crate::checkpoint::{Identity, Listed};
use crate::problem::ExecError;

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
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<(), ExecError> {
        match self.reference(revision) {
            Some(path) if self.commit(revision).as_deref() != Some(commit) => write(&path, commit.as_bytes()),
            _ => Ok(()),
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
        let target = Path::new("../../blobs").join(key);
        if fs::read_link(&link).is_ok_and(|now| now == target) {
            return Ok(());
        }
        make_parent(&link)?;
        let aside = link.with_file_name(format!(".{file}.{}", std::process::id()));
        let _ = fs::remove_file(&aside);
        symlink(&target, &aside).map_err(ExecError::io("link", &aside))?;
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
    pub(super) fn set_tree(&self, commit: &str, files: &[Listed]) -> Result<(), ExecError> {
        let rows: Vec<_> = files.iter().map(|f| (&f.name, f.bytes, f.identity.as_ref().map(key))).collect();
        write(&self.note("trees", commit), &serde_json::to_vec(&rows).unwrap_or_default())
    }

    /// The first bytes of a file, as far as they were looked at.
    pub(super) fn head(&self, key: &str) -> Vec<u8> {
        fs::read(self.note("heads", key)).unwrap_or_default()
    }

    /// Keeps the first bytes of a file.
    pub(super) fn set_head(&self, key: &str, bytes: &[u8]) -> Result<(), ExecError> {
        write(&self.note("heads", key), bytes)
    }

    /// Whether a blob was checked against its hash when it arrived, and is unchanged since.
    pub(super) fn is_verified(&self, key: &str) -> bool {
        let noted = fs::read_to_string(self.note("verified", key)).ok();
        noted.is_some() && noted == stamp(&self.blob(key))
    }

    /// Notes that a blob was checked.
    pub(super) fn set_verified(&self, key: &str) -> Result<(), ExecError> {
        match stamp(&self.blob(key)) {
            Some(stamp) => write(&self.note("verified", key), stamp.as_bytes()),
            None => Ok(()),
        }
    }
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

/// Writes a small file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), ExecError> {
    make_parent(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let put = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".growmerge-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    put().map_err(ExecError::io("write", path))
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
            cache.set_commit(revision, &commit).unwrap();
            assert_eq!(cache.commit(revision), None, "{revision}");
        }
        for revision in ["main", "feature/x"] {
            cache.set_commit(revision, &commit).unwrap();
            assert_eq!(cache.commit(revision).as_deref(), Some(commit.as_str()));
        }
    }

    #[test]
    fn a_blob_that_changed_is_no_longer_verified() {
        let (_folder, cache) = cache();
        let key = "ab".repeat(32);
        assert!(!cache.is_verified(&key));
        write(&cache.blob(&key), b"bytes").unwrap();
        cache.set_verified(&key).unwrap();
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
        cache.set_tree(&commit, &files).unwrap();
        assert_eq!(cache.tree(&commit).unwrap(), files);
        // A list that somebody else wrote leads nowhere else either.
        cache.set_tree(&commit, &[file("../../a", None)]).unwrap();
        assert_eq!(cache.tree(&commit).unwrap(), []);
        let key = "ab".repeat(32);
        write(&cache.blob(&key), b"bytes").unwrap();
        cache.link(&commit, "a", &key).unwrap();
        cache.link(&commit, "a", &key).unwrap();
        assert_eq!(cache.here(&commit), files[..1]);
        assert_eq!(fs::read(cache.snapshot(&commit).join("a")).unwrap(), b"bytes");
    }
}
