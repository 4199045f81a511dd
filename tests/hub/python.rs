//! The Python client, `huggingface_hub`: it must find the loopback Hub to be one, what it fetched must be found by
//! `growmerge`, and what `growmerge` fetched or pushed by it.
//!
//! `GROWMERGE_PYTHON` is an interpreter that has it (`python3` where unset). Where there is none, these tests say so
//! and end, unless `GROWMERGE_REQUIRE_PYTHON` is set.

mod both;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::loopback::{Loopback, Repo};
use crate::plain;

/// A Hub, and a home of its own for each client.
struct World {
    hub: Loopback,
    folder: tempfile::TempDir,
    python: PathBuf,
}

impl World {
    /// `None` where there is no Python client; said where tests are read.
    fn open() -> Option<Self> {
        let python = std::env::var_os("GROWMERGE_PYTHON").map_or("python3".into(), PathBuf::from);
        let found = Command::new(&python).args(["-c", "import huggingface_hub"]).output();
        if !found.is_ok_and(|run| run.status.success()) {
            let told = format!("{} has no huggingface_hub", python.display());
            assert!(std::env::var_os("GROWMERGE_REQUIRE_PYTHON").is_none(), "{told}");
            eprintln!("skipped: {told}; name an interpreter in GROWMERGE_PYTHON");
            return None;
        }
        Some(Self { hub: Loopback::start(), folder: tempfile::tempdir().unwrap(), python })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that knows this Hub and this cache and nothing of the machine's settings.
    fn run(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let own = |name: &str| name.starts_with("HF_") || name.to_lowercase().ends_with("_proxy");
        for (name, _) in std::env::vars().filter(|(name, _)| own(name)) {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.hub.endpoint()).env("HF_HOME", self.path("home"));
        command
    }

    fn growmerge(&self) -> Command {
        self.run(env!("CARGO_BIN_EXE_growmerge"))
    }

    /// An action of `client.py`; Xet is a protocol that the loopback Hub does not speak.
    fn python(&self, action: &[&str], settings: &[(&str, &str)]) -> Value {
        let mut command = self.run(&self.python);
        command.env("HF_HUB_DISABLE_XET", "1").env("HF_HUB_DISABLE_PROGRESS_BARS", "1");
        command.envs(settings.iter().copied());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hub/python/client.py");
        let told = said(command.arg(script).args(action));
        serde_json::from_str(told.lines().last().unwrap()).unwrap()
    }
}

/// What a program prints, if it succeeds.
fn said(command: &mut Command) -> String {
    let run = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{command:?}\n{out}\n{err}");
    out.into_owned()
}

fn sha256(bytes: &[u8]) -> Value {
    plain::sha256(bytes).into()
}

/// Paths and hashes of what a repository has, as `client.py` tells them.
fn hashes(repo: &Repo, revision: &str) -> Value {
    let files = repo.files(revision).into_iter();
    let files: BTreeMap<String, Value> =
        files.map(|path| (path.clone(), sha256(&repo.read(revision, &path).unwrap()))).collect();
    serde_json::to_value(files).unwrap()
}

fn quickstart(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart").join(language)
}

/// A repository with a model of this one.
fn model(hub: &Loopback, name: &str, language: &str) -> Repo {
    let repo = hub.repo(name);
    repo.put_folder(&quickstart(language)).commit();
    repo
}
