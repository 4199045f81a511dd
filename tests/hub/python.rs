//! The Python client, `huggingface_hub`: it must find the loopback Hub to be one, what it fetched must be found by
//! `growmerge`, and what `growmerge` fetched or pushed by it.
//!
//! `GROWMERGE_PYTHON` is an interpreter that has it (`python3` where unset). Where there is none, these tests say so
//! and end, unless `GROWMERGE_REQUIRE_PYTHON` is set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::loopback::{Access, Fault, Loopback, Port, Repo};

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

    fn cache(&self) -> PathBuf {
        self.path("home/hub")
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
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hub/client.py");
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
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>().into()
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 251) as u8).collect()
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
    for entry in std::fs::read_dir(quickstart(language)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        if file.ends_with(".safetensors") {
            repo.put_file(&file, &path);
        } else {
            repo.put(&file, std::fs::read(&path).unwrap());
        }
    }
    repo.commit();
    repo
}

#[test]
fn python_downloads_from_the_loopback_hub() {
    let Some(world) = World::open() else { return };
    let repo = world.hub.repo("a/m");
    repo.put("config.json", "{}")
        .put("deep/er/ä b+c.txt", "text")
        .put_lfs("model.safetensors", bytes(24 << 20));
    let first = repo.private("hf_friend").commit();
    repo.tag("v1");
    repo.put("config.json", "{\"new\": 1}").put("more.json", "[]").commit();
    world.hub.token("hf_friend", "friend", Access::Read);
    world.hub.page(2);
    let token = [("HF_TOKEN", "hf_friend")];
    // Broken twice on the way: continued from the last block of 10 MiB.
    world.hub.fault(Fault::on("model.safetensors").cut(11 << 20).times(2));
    let got = world.python(&["snapshot", "a/m", "v1"], &token);
    assert_eq!(got["files"], hashes(&repo, "v1"));
    assert!(got["folder"].as_str().unwrap().ends_with(&format!("snapshots/{first}")), "{got}");
    let seen = world.hub.requests();
    let ranges: Vec<_> = seen.iter().filter(|s| s.port == Port::Cdn && s.method == "GET").collect();
    let ranges: Vec<_> = ranges.iter().map(|s| s.range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("bytes=10485760-"), Some("bytes=20971520-")]);
    let strayed = seen
        .iter()
        .filter(|s| s.path.contains("a/m"))
        .find(|s| (s.port == Port::Cdn) != s.authorization.is_none());
    assert!(strayed.is_none(), "{strayed:#?}");
    assert_eq!(world.python(&["snapshot", "a/m", "main"], &token)["files"], hashes(&repo, "main"));
    let file = world.python(&["file", "a/m", "main", "config.json"], &token);
    assert_eq!(file["sha256"], sha256(b"{\"new\": 1}"));
    world.hub.rename("a/m", "b/n");
    world.python(&["file", "a/m", "main", "more.json"], &token);
    let scan = world.python(&["scan"], &[]);
    assert_eq!(scan["warnings"], Value::Array(vec![]));
    assert_eq!(scan["repos"]["a/m"]["revisions"].as_object().unwrap().len(), 2);
}

#[test]
fn python_knows_why_the_loopback_hub_refuses() {
    let Some(world) = World::open() else { return };
    world.hub.repo("a/m").put("config.json", "{}").commit();
    world.hub.repo("a/private").private("hf_owner").put("config.json", "{}").commit();
    world.hub.repo("a/gated").gated("hf_owner").put("config.json", "{}").commit();
    world.hub.token("hf_owner", "a", Access::Write);
    world.hub.token("hf_other", "o", Access::Read);
    let ask = |repo: &str, revision: &str, path: &str, token: &str| {
        let settings = [("HF_TOKEN", token)];
        let told = world.python(&["refusals", repo, revision, path], &settings);
        ["info", "tree", "file"].map(|act| told[act].as_str().unwrap_or("fine").to_owned())
    };
    const REPO: &str = "RepositoryNotFoundError";
    const REVISION: &str = "RevisionNotFoundError";
    // Before the file is in the cache, where no token matters.
    assert_eq!(ask("a/m", "main", "config.json", "hf_unknown"), ["HfHubHTTPError"; 3]);
    assert_eq!(ask("a/m", "main", "config.json", ""), ["fine"; 3]);
    assert_eq!(ask("a/m", "gone", "config.json", ""), [REVISION; 3]);
    assert_eq!(ask("a/m", "main", "gone", ""), ["fine", "fine", "RemoteEntryNotFoundError"]);
    assert_eq!(ask("a/none", "main", "config.json", ""), [REPO; 3]);
    assert_eq!(ask("a/private", "main", "config.json", "hf_other"), [REPO; 3]);
    assert_eq!(ask("a/private", "main", "config.json", "hf_owner"), ["fine"; 3]);
    assert_eq!(ask("a/gated", "main", "config.json", ""), ["fine", "fine", "GatedRepoError"]);
    assert_eq!(ask("a/gated", "main", "config.json", "hf_other"), ["fine", "fine", "GatedRepoError"]);
}

#[test]
fn python_uploads_to_the_loopback_hub() {
    let Some(world) = World::open() else { return };
    world.hub.token("hf_w", "a", Access::Write);
    world.hub.part(100_000);
    let folder = world.path("upload");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    for (file, content) in [
        ("README.md", b"---\nbase_model: [a/b]\nlanguage: [et, en]\ntags: [merge]\n---\n# Card\n".to_vec()),
        ("config.json", b"{}".to_vec()),
        ("sub/small.safetensors", bytes(99_000)),
        ("large.safetensors", bytes(250_001)),
    ] {
        std::fs::write(folder.join(file), content).unwrap();
    }
    let done = world.python(&["upload", "a/m", folder.to_str().unwrap(), "x/y"], &[("HF_TOKEN", "hf_w")]);
    let repo = world.hub.repo("a/m");
    assert!(repo.is_private());
    assert_eq!(repo.head("x/y").as_deref(), done["commit"].as_str());
    assert_eq!(done["again"], done["commit"], "nothing to commit");
    let files = [".gitattributes", "README.md", "config.json", "large.safetensors", "sub/small.safetensors"];
    assert_eq!(repo.files("x/y"), files);
    for file in &files[1..] {
        assert_eq!(repo.read("x/y", file).unwrap(), std::fs::read(folder.join(file)).unwrap(), "{file}");
        assert_eq!(repo.is_lfs("x/y", file), file.ends_with(".safetensors"));
    }
    assert_eq!(repo.files("main"), [".gitattributes"]);
    let puts: Vec<_> = world.hub.requests().into_iter().filter(|s| s.method == "PUT").collect();
    assert_eq!(puts.len(), 4, "one, and three parts");
    assert!(puts.iter().all(|s| s.port == Port::Cdn && s.authorization.is_none()));
}
