//! A Hub, a cache, and models for both.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use assert_cmd::Command;
use growmerge::checkpoint::{Folder, Place, Remote};
use growmerge::hub::{Hub, Observer, Policy, Settings, fetch};
use growmerge::plan::Repositories;
use growmerge::problem::Error;

use crate::loopback::{Loopback, Port, Repo};

/// A Hub and an empty cache.
pub struct World {
    pub hub: Loopback,
    pub folder: tempfile::TempDir,
}

/// Tells nobody.
pub struct Quiet;

impl Observer for Quiet {
    fn begin(&self, _bytes: u64, _here: u64) {}
    fn file(&self, _file: usize, _name: &str, _bytes: u64) {}
    fn here(&self, _file: usize, _bytes: u64) {}
    fn done(&self, _file: usize) {}
}

impl World {
    pub fn new() -> Self {
        Self { hub: Loopback::start(), folder: tempfile::tempdir().unwrap() }
    }

    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Impatient ones, of nobody.
    pub fn settings(&self) -> Settings {
        let cache = self.cache().display().to_string();
        let var = |name: &str| match name {
            "HF_ENDPOINT" => Some(self.hub.endpoint()),
            "HF_HUB_CACHE" => Some(cache.clone()),
            "HF_HOME" => Some(self.path("home").display().to_string()),
            _ => None,
        };
        Settings::from_vars(var).unwrap().with_policy(quick(4)).with_stall(Duration::from_millis(400))
    }

    pub fn client(&self) -> Hub {
        Hub::new(self.settings(), None, 4)
    }

    /// The command, with an environment that knows this Hub only.
    pub fn growmerge(&self) -> Command {
        let mut command = Command::cargo_bin("growmerge").unwrap();
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HF_")) {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.hub.endpoint()).env("HF_HOME", self.path("home"));
        command.env("HF_HUB_CACHE", self.cache()).env_remove("HTTP_PROXY").env_remove("http_proxy");
        command
    }

    /// A repository with the files of a folder; weights are large files.
    pub fn upload(&self, name: &str, folder: &Path) -> Repo {
        let repo = self.hub.repo(name);
        let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries.iter().filter(|path| path.is_file()) {
            let (file, bytes) = (path.file_name().unwrap().to_str().unwrap(), std::fs::read(path).unwrap());
            if file.ends_with(".safetensors") || file == "tokenizer.json" {
                repo.put_lfs(file, bytes);
            } else {
                repo.put(file, bytes);
            }
        }
        repo.commit();
        repo
    }

    /// Bytes that were sent so far.
    pub fn sent(&self) -> u64 {
        self.hub.requests().iter().map(|r| r.sent).sum()
    }

    /// Requests for the bytes of a file, with their ranges: those that reach where it is kept.
    pub fn reads(&self, file: &str) -> Vec<Option<String>> {
        let all = self.hub.requests();
        let of = |port| {
            all.iter().filter(move |r| r.port == port && r.method == "GET" && (200..300).contains(&r.status))
        };
        let names = |r: &&crate::loopback::Seen| r.path.ends_with(file) || r.query.contains(file);
        let cdn: Vec<_> = of(Port::Cdn).filter(names).map(|r| r.range.clone()).collect();
        match cdn.is_empty() {
            true => of(Port::Hub)
                .filter(|r| r.path.contains("/resolve/"))
                .filter(names)
                .map(|r| r.range.clone())
                .collect(),
            false => cdn,
        }
    }
}

/// So many tries without a wait.
pub fn quick(tries: u32) -> Policy {
    let wait = Duration::from_millis(5);
    Policy { tries, first: wait, longest: wait, patience: Duration::from_secs(2) }
}

/// A repository as a plan sees it.
pub fn find(hub: &Hub, name: &str) -> Result<Arc<dyn Remote>, Error> {
    Ok(hub.find(name, None)?.unwrap())
}

/// One file, into the cache.
pub fn bring(hub: &Hub, name: &str, file: &str) -> Result<PathBuf, Error> {
    let place = Place { folder: Folder::Remote(find(hub, name)?), name: file.into() };
    fetch(&[&place], 2, &Quiet, &AtomicBool::new(false))?;
    Ok(place.path())
}

/// Bytes that look like nothing.
pub fn noise(length: usize) -> Vec<u8> {
    let mut x = 0x2545_f491_4f6c_dd1du64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The files below a folder, by their paths in it.
pub fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(now) = folders.pop() {
        for entry in std::fs::read_dir(&now).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// A model of this repository.
pub fn quickstart(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart").join(language)
}
