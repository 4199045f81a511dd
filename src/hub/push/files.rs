//! The files of a model, and which of them the Hub has not.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::hub::api::TreeFile;
use crate::plan::hex;
use crate::problem::{Error, ExecError, Problem, Problems};
use crate::write::{Finding, JOURNAL, MANIFEST, Manifest, verify};

/// The model card's name.
pub(super) const CARD: &str = "README.md";
/// The Hub looks at so much of a file's beginning.
const SAMPLE: usize = 512;
/// Bad findings that are shown.
const SHOWN: usize = 5;

/// What a manifest says of a model.
pub(super) struct Model {
    /// Names of its files, sorted.
    pub(super) paths: Vec<String>,
    method: String,
}

impl Model {
    /// Of a commit that nobody gave one for.
    pub(super) fn message(&self) -> String {
        format!("Merge by {} (growmerge {})", self.method, env!("CARGO_PKG_VERSION"))
    }
}

/// The model in a folder, if it is all that its manifest says.
///
/// # Errors
/// If it is not, or cannot be read.
pub(super) fn of(folder: &Path) -> Result<Model, Error> {
    let at = || folder.display().to_string();
    if folder.join(MANIFEST).exists() && folder.join(JOURNAL).exists() {
        let problem = Problem::error(at(), "the merge in this folder is unfinished");
        return Err(problem.hint("run it again with --resume").into());
    }
    let report = verify(folder)?;
    let bad: Problems = report
        .checks
        .iter()
        .filter_map(|(name, finding)| match finding {
            Finding::Bad(why) => Some(Problem::error(format!("{}: {name}", at()), why.clone())),
            _ => None,
        })
        .fold(Problems::new(), |mut all, problem| {
            if all.iter().count() < SHOWN {
                all.push(problem);
            }
            all
        });
    if bad.has_errors() {
        let mut problems = bad;
        let whole = Problem::error(at(), "is not what its manifest says, and is not published");
        problems.push(whole.hint("`growmerge verify` shows all; merge again, or restore the files"));
        return Err(problems.into());
    }
    let path = folder.join(MANIFEST);
    let bytes = std::fs::read(&path).map_err(ExecError::io("read", &path))?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|e| Problem::error(at(), format!("{MANIFEST} cannot be understood: {e}")))?;
    let mut paths: Vec<String> = manifest.files.into_iter().map(|f| f.name).collect();
    // A manifest is a file like any other: it must not make us publish what is not below its folder.
    if let Some(outside) = paths.iter().find(|p| !is_below(p)) {
        let what = format!("{MANIFEST} lists `{outside}`, which is not a file of this folder");
        return Err(Problem::error(at(), what).into());
    }
    paths.push(MANIFEST.to_owned());
    if folder.join(CARD).is_file() {
        paths.push(CARD.to_owned());
    }
    paths.sort();
    paths.dedup();
    Ok(Model { paths, method: manifest.method })
}

fn is_below(path: &str) -> bool {
    let parts = || Path::new(path).components();
    !path.is_empty() && parts().all(|part| matches!(part, Component::Normal(_))) && !path.contains('\\')
}

/// A file as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalFile {
    /// Name in the repository.
    pub(super) path: String,
    /// Where it is.
    pub(super) on_disk: PathBuf,
    /// Bytes.
    pub(super) size: u64,
    /// Of all of them.
    pub(super) sha256: String,
    /// What git calls it.
    pub(super) git: String,
    /// How it begins.
    pub(super) sample: Vec<u8>,
}

impl LocalFile {
    /// Reads it once, for both hashes.
    pub(super) fn read(folder: &Path, path: &str) -> Result<Self, ExecError> {
        let on_disk = folder.join(path);
        let failed = |e| ExecError::io("read", &on_disk)(e);
        let mut file = File::open(&on_disk).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut sha256 = Sha256::new();
        let mut git = Sha1::new_with_prefix(format!("blob {size}\0"));
        let mut sample = Vec::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => &buffer[..read],
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(failed(e)),
            };
            sample.extend(read.iter().take(SAMPLE - sample.len()));
            sha256.update(read);
            git.update(read);
        }
        let (sha256, git) = (hex(&sha256.finalize()), hex(&git.finalize()));
        Ok(Self { path: path.to_owned(), on_disk, size, sha256, git, sample })
    }

    /// Whether it is the same as one on the Hub.
    fn is(&self, there: &TreeFile) -> bool {
        let same = match &there.sha256 {
            Some(sha256) => *sha256 == self.sha256,
            None => there.oid == self.git,
        };
        self.path == there.path && self.size == there.size && same
    }
}

/// The files that a tree has not, or has otherwise.
pub(super) fn changed<'f>(files: &'f [LocalFile], tree: &[TreeFile]) -> Vec<&'f LocalFile> {
    files.iter().filter(|file| !tree.iter().any(|there| file.is(there))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_of_the_hub() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hello"), "hello world\n").unwrap();
        let file = LocalFile::read(folder.path(), "hello").unwrap();
        // By `git hash-object` and `sha256sum`.
        assert_eq!(file.git, "3b18e512dba79e4c8300dd08aeb37f8e728b8dad");
        assert_eq!(file.sha256, "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447");
        assert_eq!((file.size, file.sample.as_slice()), (12, b"hello world\n".as_slice()));
        let there = |oid: &str, sha256: Option<&str>| TreeFile {
            path: "hello".into(),
            size: 12,
            oid: oid.into(),
            sha256: sha256.map(str::to_owned),
        };
        let files = [file.clone()];
        assert!(changed(&files, &[there(&file.git, None)]).is_empty());
        assert!(changed(&files, &[there("pointer", Some(&file.sha256))]).is_empty());
        for other in [there("other", None), there(&file.git, Some("ff"))] {
            assert_eq!(changed(&files, &[other]), [&file]);
        }
        assert_eq!(changed(&files, &[]), [&file]);
    }

    #[test]
    fn names_stay_below_the_folder() {
        assert!(is_below("model.safetensors") && is_below("a/b.json"));
        for path in ["", "/etc/passwd", "../x", "a/../../x", "./x", "a\\b"] {
            assert!(!is_below(path), "{path}");
        }
    }
}
