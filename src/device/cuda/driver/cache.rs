//! Compiled kernels on disk. Losing them costs a second of compiling, so nothing here is an error.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::missing::Version;
use super::target::Target;
use crate::device::cuda::source::Source;

/// The variable that names the folder, or with nothing in it says that there is none.
pub const VARIABLE: &str = "GROWMERGE_KERNEL_CACHE";

/// Bytes of a file's own checksum, which is in front.
const SUM: usize = 32;

/// What a file's name ends in.
const EXTENSION: &str = "kernel";

/// A folder of compiled kernels. It need not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Of this user: what [`VARIABLE`] says, else `growmerge/kernels` among the user's caches.
    pub fn of_user() -> Option<Self> {
        Self::by(|name| std::env::var_os(name))
    }

    /// The same by any variables.
    fn by(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        if let Some(folder) = variable(VARIABLE) {
            return (!folder.is_empty()).then(|| Self::at(folder));
        }
        // The standard says to pass over paths that are not absolute.
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        caches.map(|caches| Self::at(caches.join("growmerge").join("kernels")))
    }

    /// At a folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many kernels there are, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let kernels =
            entries.filter(|e| Path::new(&e.file_name()).extension().is_some_and(|e| e == EXTENSION));
        kernels
            .fold((0, 0), |(many, bytes), entry| (many + 1, bytes + entry.metadata().map_or(0, |m| m.len())))
    }

    /// Code that was kept, if all of it is there as it was.
    pub(super) fn read(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.path(key);
        let mut bytes = fs::read(&path).ok()?;
        let code = bytes.split_off(SUM.min(bytes.len()));
        if Sha256::digest(&code)[..] == bytes[..] {
            return Some(code);
        }
        tracing::info!("{} is damaged; compiling its kernel anew", path.display());
        None
    }

    /// Keeps code, written aside and renamed: whoever reads meanwhile finds all of it or nothing.
    pub(super) fn write(&self, key: &Key, code: &[u8]) {
        let path = self.path(key);
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let mut aside = tempfile::NamedTempFile::new_in(&self.folder)?;
            aside.write_all(&Sha256::digest(code))?;
            aside.write_all(code)?;
            aside.persist(&path)?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::info!("cannot keep a compiled kernel as {}: {error}", path.display());
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}.{EXTENSION}", key.0))
    }
}

/// What code is known by: its source, what it is for, and what made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn new(source: &Source, target: Target, compiler: Version) -> Self {
        Self(format!("{}-{target}-nvrtc{compiler}", source.sha256()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::driver::target::Arch;

    fn key(text: &str, number: u32) -> Key {
        let source = Source { text: text.into(), words: 1 };
        Key::new(&source, Target::Cubin(Arch::of_number(number)), Version { major: 13, minor: 0 })
    }

    #[test]
    fn what_was_kept_is_found_and_what_was_damaged_is_not() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path().join("not/there/yet"));
        assert_eq!((cache.read(&key("a", 90)), cache.size()), (None, (0, 0)));
        cache.write(&key("a", 90), b"code");
        assert_eq!(cache.read(&key("a", 90)).as_deref(), Some(&b"code"[..]));
        assert_eq!((cache.read(&key("b", 90)), cache.read(&key("a", 80))), (None, None), "another's");
        assert_eq!(cache.size(), (1, 36));
        let path = cache.path(&key("a", 90));
        for damaged in [&fs::read(&path).unwrap()[..35], b"", b"short"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(cache.read(&key("a", 90)), None);
        }
        let left: Vec<_> = fs::read_dir(cache.folder()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing is left aside");
        // Where no folder can be, there is no cache, and nobody fails.
        fs::write(home.path().join("file"), "").unwrap();
        let nowhere = Cache::at(home.path().join("file"));
        nowhere.write(&key("a", 90), b"code");
        assert_eq!((nowhere.read(&key("a", 90)), nowhere.size()), (None, (0, 0)));
    }

    #[test]
    fn variables_say_where() {
        let by = |set: &[(&str, &str)]| {
            let set: Vec<(String, OsString)> = set.iter().map(|(n, v)| ((*n).into(), v.into())).collect();
            Cache::by(|name| set.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())).map(|c| c.folder)
        };
        let xdg = ("XDG_CACHE_HOME", "/x");
        assert_eq!(by(&[xdg, ("HOME", "/h"), (VARIABLE, "k")]), Some("k".into()));
        assert_eq!(by(&[xdg, ("HOME", "/h"), (VARIABLE, "")]), None);
        assert_eq!(by(&[xdg, ("HOME", "/h")]), Some("/x/growmerge/kernels".into()));
        assert_eq!(
            by(&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")]),
            Some("/h/.cache/growmerge/kernels".into())
        );
        assert_eq!(by(&[]), None);
    }
}
