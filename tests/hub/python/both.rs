//! One cache and one Hub for the Python client and `growmerge`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{World, hashes, model, quickstart, said, sha256};
use crate::loopback::{Access, Fault, Port};

/// A recipe over models of the Hub, and the words that merge it into `out`.
fn merge(world: &World, out: &str) -> Vec<PathBuf> {
    let recipe = world.path("recipe.yaml");
    let models = "[{model: a/en}, {model: a/et@v1}]";
    std::fs::write(&recipe, format!("merge_method: linear\nmodels: {models}\nparameters: {{weight: 0.5}}\n"))
        .unwrap();
    vec!["merge".into(), recipe, world.path(out), "--quiet".into()]
}

#[test]
fn growmerge_merges_offline_what_python_downloaded() {
    let Some(world) = World::open() else { return };
    model(&world.hub, "a/en", "en");
    model(&world.hub, "a/et", "et").tag("v1");
    world.python(&["snapshot", "a/en", "main"], &[]);
    world.python(&["snapshot", "a/et", "v1"], &[]);
    world.hub.forget();
    said(world.growmerge().args(merge(&world, "told")).arg("--offline"));
    said(world.growmerge().args(merge(&world, "set")).env("HF_HUB_OFFLINE", "1"));
    assert!(world.hub.requests().is_empty());
    // The same bytes as from the folders that the repositories were made of.
    let recipe = world.path("local.yaml");
    let (en, et) = (quickstart("en"), quickstart("et"));
    let models = format!("[{{model: {}}}, {{model: {}}}]", en.display(), et.display());
    std::fs::write(&recipe, format!("merge_method: linear\nmodels: {models}\nparameters: {{weight: 0.5}}\n"))
        .unwrap();
    said(world.growmerge().arg("merge").args([recipe, world.path("local")]).arg("--quiet"));
    let weights = |out: &str| std::fs::read(world.path(out).join("model.safetensors")).unwrap();
    assert!(weights("local") == weights("told") && weights("local") == weights("set"));
    // And with the network there is nothing left to fetch but what the branches are.
    said(world.growmerge().args(merge(&world, "online")));
    assert!(world.hub.requests().iter().all(|s| s.port == Port::Hub && !s.path.contains("/resolve")));
}

#[test]
fn python_finds_offline_what_growmerge_fetched() {
    let Some(world) = World::open() else { return };
    let en = model(&world.hub, "a/en", "en");
    let et = model(&world.hub, "a/et", "et");
    et.tag("v1").put("later.txt", "later").commit();
    // Broken on the way: what is in the cache in the end is whole.
    world.hub.fault(Fault::on("model.safetensors").cut(1000).times(2));
    said(world.growmerge().args(["fetch", "a/en", "a/et@v1", "--quiet"]));
    world.hub.forget();
    let offline = [("HF_HUB_OFFLINE", "1")];
    for (repo, name, revision) in [(&en, "a/en", "main"), (&et, "a/et", "v1")] {
        let all = hashes(repo, revision);
        let found = world.python(&["snapshot", name, revision], &offline);
        let files = found["files"].as_object().unwrap();
        assert!(files.iter().all(|(path, hash)| all[path] == *hash), "{found}");
        for path in ["config.json", "model.safetensors", "tokenizer.json"] {
            assert!(files.contains_key(path), "{found}");
            let file = world.python(&["file", name, revision, path], &offline);
            assert_eq!(file["sha256"], all[path]);
        }
    }
    assert!(world.hub.requests().is_empty());
    let scan = world.python(&["scan"], &[]);
    assert_eq!(scan["warnings"], Value::Array(vec![]));
    let commit = en.head("main").unwrap();
    assert_eq!(scan["repos"]["a/en"]["revisions"][&commit]["refs"][0], "main");
    assert_eq!(scan["repos"]["a/et"]["revisions"][&et.head("v1").unwrap()]["refs"][0], "v1");
    // Online it adds what is missing, and fetches no weights again.
    let all = world.python(&["snapshot", "a/en", "main"], &[]);
    assert_eq!(all["files"], hashes(&en, "main"));
    assert!(world.hub.requests().iter().all(|s| s.port == Port::Hub));
}

#[test]
fn python_downloads_what_growmerge_pushed() {
    let Some(world) = World::open() else { return };
    world.hub.token("hf_w", "me", Access::Write);
    world.hub.part(100_000);
    model(&world.hub, "a/en", "en");
    model(&world.hub, "a/et", "et").tag("v1");
    said(world.growmerge().args(merge(&world, "out")));
    let push = |command: &mut Command| {
        let out = world.path("out");
        said(command.arg("push").arg(out).args(["me/merged", "--private"]).env("HF_TOKEN", "hf_w"))
    };
    push(&mut world.growmerge());
    let repo = world.hub.repo("me/merged");
    assert!(repo.is_private() && repo.is_lfs("main", "model.safetensors"));
    let got = world.python(&["snapshot", "me/merged", "main"], &[("HF_TOKEN", "hf_w")]);
    assert_eq!(got["files"], hashes(&repo, "main"));
    for (path, hash) in got["files"].as_object().unwrap().iter().filter(|(path, _)| *path != ".gitattributes")
    {
        assert_eq!(*hash, sha256(&std::fs::read(world.path("out").join(path)).unwrap()), "{path}");
    }
    let scan = world.python(&["scan"], &[]);
    assert_eq!(scan["warnings"], Value::Array(vec![]));
}
