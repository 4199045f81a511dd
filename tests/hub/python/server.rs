//! The loopback Hub is one, as far as the Python client can tell.

use serde_json::Value;

use super::{World, hashes, sha256};
use crate::loopback::{Access, Fault, Port};
use crate::plain::bytes;

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
