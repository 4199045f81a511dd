//! A merged model is published, whatever happens on the way.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use growmerge::execute::Observer;
use growmerge::hub::{Policy, Push, Pushed, Readers, RepoName, Settings, Token, push};
use growmerge::problem::Error;
use serde_json::{Value, json};

use crate::loopback::{Access, Fault, Loopback, Port, Repo, Seen};
use crate::support;

const NAME: &str = "me/merged";
const SECRET: &str = "hf_writes";
const TRIES: u32 = 4;

/// A hub with a user, and a merged model of several shards.
struct World {
    hub: Loopback,
    folder: tempfile::TempDir,
}

/// Counts bytes.
#[derive(Default)]
struct Counter {
    total: AtomicU64,
    done: AtomicU64,
}

impl Observer for Counter {
    fn begin(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    fn advance(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::Relaxed);
    }
}

impl World {
    fn new() -> Self {
        let hub = Loopback::start();
        hub.token(SECRET, "me", Access::Write);
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart");
        let recipe = format!(
            "merge_method: linear\nmodels:\n- model: {0}/en\n- model: {0}/et\nparameters: {{weight: 1.0}}\ndtype: bfloat16\n",
            root.display()
        );
        std::fs::write(folder.path().join("recipe"), recipe).unwrap();
        let world = Self { hub, folder };
        let shards = ["--shard-size", "200kB", "--sync", "system", "--quiet"];
        let mut command = support::command();
        command.arg("merge").args([world.folder.path().join("recipe"), world.out()]).args(shards);
        command.assert().success();
        world
    }

    fn out(&self) -> std::path::PathBuf {
        self.folder.path().join("out")
    }

    /// The program, with nothing of this machine's settings.
    fn command(&self) -> assert_cmd::Command {
        let mut command = support::command();
        for name in
            ["HF_HUB_OFFLINE", "HF_TOKEN_PATH", "HTTP_PROXY", "http_proxy", "HF_HUB_DISABLE_IMPLICIT_TOKEN"]
        {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.hub.endpoint()).env("HF_HOME", self.folder.path().join("home"));
        command.env("HF_TOKEN", SECRET).arg("push").arg(self.out()).arg(NAME);
        command
    }

    /// Without the waits that a user has.
    fn push(&self, counter: &Counter) -> Result<Pushed, Error> {
        self.push_by(3, counter)
    }

    fn push_by(&self, jobs: usize, counter: &Counter) -> Result<Pushed, Error> {
        let quick = Duration::from_millis(2);
        let policy = Policy { tries: TRIES, first: quick, longest: quick, patience: quick };
        let settings =
            Settings::from_vars(|_| None).unwrap().with_policy(policy).with_stall(Duration::from_secs(5));
        let settings = settings.with_endpoint(&self.hub.endpoint()).unwrap();
        let settings = settings.with_token(Token::parse(SECRET).unwrap());
        let (folder, repo) = (self.out(), RepoName::parse(NAME).unwrap());
        let order =
            Push { folder: &folder, repo, branch: None, readers: Readers::AsItIs, message: None, jobs };
        push(&settings, &order, counter)
    }

    fn repo(&self) -> Repo {
        self.hub.repo(NAME)
    }

    /// What the manifest lists, and the manifest.
    fn listed(&self) -> Vec<String> {
        let text = std::fs::read(self.out().join("growmerge.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&text).unwrap();
        let names =
            manifest["files"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap().to_owned());
        let mut names: Vec<String> = names.chain(["growmerge.json".into()]).collect();
        names.sort();
        names
    }

    /// That the branch has the model and nothing else, byte for byte.
    fn check(&self, branch: &str) {
        let repo = self.repo();
        let mut there = repo.files(branch);
        there.retain(|name| name != ".gitattributes");
        assert_eq!(there, self.listed());
        for name in there {
            let local = std::fs::read(self.out().join(&name)).unwrap();
            assert_eq!(repo.read(branch, &name).unwrap(), local, "{name}");
        }
        for seen in self.hub.requests().iter().filter(|seen| seen.port == Port::Cdn) {
            assert_eq!(seen.authorization, None, "{seen:?}");
        }
    }

    fn seen(&self, method: &str, part: &str) -> Vec<Seen> {
        let mut seen = self.hub.requests();
        seen.retain(|seen| seen.method == method && seen.path.contains(part));
        seen
    }
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(!text.contains(SECRET) && !text.contains("Signature"), "{text}");
    text
}

#[test]
fn what_the_manifest_lists_is_one_commit() {
    let world = World::new();
    std::fs::write(world.out().join("notes.txt"), "not for publication").unwrap();
    let assert = world.command().arg("--message").arg("First").assert().success();
    let printed = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let head = world.repo().head("main").unwrap();
    assert_eq!(printed, format!("{}/{NAME}/commit/{head}\n", world.hub.endpoint()));
    stderr(&assert);
    world.check("main");
    assert!(!world.repo().is_private());
    let shards: Vec<String> = world.listed().into_iter().filter(|n| n.ends_with(".safetensors")).collect();
    assert!(shards.len() > 2 && shards.iter().all(|s| world.repo().is_lfs("main", s)), "{shards:?}");
    assert!(!world.repo().is_lfs("main", "config.json"));
    assert_eq!(world.seen("POST", "/commit/main").len(), 1);
    let elsewhere = world.seen("PUT", "/uploads/");
    assert!(elsewhere.len() >= shards.len() && elsewhere.iter().all(|seen| seen.port == Port::Cdn));

    // The same once more: nothing is sent, and no empty commit is made.
    world.hub.forget();
    let assert = world.command().assert().success();
    assert!(stderr(&assert).contains("has these files already"));
    assert!(String::from_utf8_lossy(&assert.get_output().stdout).ends_with("/me/merged/tree/main\n"));
    assert_eq!(world.repo().head("main").unwrap(), head);
    assert!(world.seen("PUT", "").is_empty() && world.seen("POST", "").is_empty());

    // What changed is sent, what did not is not.
    world.repo().remove("config.json").put("model.safetensors.index.json", "{}").commit();
    world.hub.forget();
    world.command().assert().success();
    world.check("main");
    assert!(world.seen("PUT", "").is_empty());
}

#[test]
fn a_new_private_repository_and_a_branch() {
    let world = World::new();
    world.command().args(["--private", "--revision", "trial/1"]).assert().success();
    world.check("trial/1");
    assert!(world.repo().is_private());
    assert_eq!(world.repo().files("main"), [".gitattributes"]);
}

#[test]
fn what_must_not_be_is_refused_before_anything_is_sent() {
    let world = World::new();
    let refused = |command: &mut assert_cmd::Command, words: &str| {
        let assert = command.assert().code(2);
        let text = stderr(&assert);
        assert!(text.contains(words), "{words}: {text}");
    };
    let none = |world: &World| {
        assert!(world.seen("PUT", "").is_empty() && world.seen("POST", "").is_empty());
    };
    refused(world.command().env_remove("HF_TOKEN"), "there is none");
    refused(world.command().env("HF_HUB_OFFLINE", "1"), "the network is not to be used");
    refused(world.command().env("HF_TOKEN", "hf_unknown"), "refused the token");
    refused(world.command().args(["--revision", &"0a".repeat(20)]), "is a commit");
    world.hub.token("hf_reads", "me", Access::Read);
    world.repo().put("mine.txt", "mine").commit();
    refused(world.command().arg("--private"), "is there already, and public");
    refused(world.command().args(["--private", "--revision", "other"]), "is there already, and public");
    none(&world);
    refused(world.command().env("HF_TOKEN", "hf_reads"), "does not allow");
    world.hub.forget();

    // A byte of a weight, and a name that leads out of the folder.
    let shard = world.out().join(world.listed().into_iter().find(|n| n.ends_with(".safetensors")).unwrap());
    let good = std::fs::read(&shard).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&shard, bad).unwrap();
    refused(&mut world.command(), "is not what its manifest says");
    std::fs::write(&shard, good).unwrap();
    let manifest = world.out().join("growmerge.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    std::fs::write(world.folder.path().join("secret"), "").unwrap();
    let sha256 = growmerge::write::sha256_hex(b"");
    let entry = json!({ "name": "../secret", "bytes": 0, "sha256": sha256, "sha256_bytes": 0 });
    json["files"].as_array_mut().unwrap().push(entry);
    std::fs::write(&manifest, json.to_string()).unwrap();
    let text = stderr(&world.command().assert().code(2));
    assert!(text.contains("../secret"), "{text}");
    std::fs::remove_file(&manifest).unwrap();
    refused(&mut world.command(), "has no growmerge.json");
    none(&world);
    assert_eq!(world.repo().files("main"), ["mine.txt"]);
}

#[test]
fn an_interrupted_push_continues() {
    let world = World::new();
    // Two objects arrive, then the store is gone for as long as patience lasts.
    world.hub.fault(Fault::on("/uploads/").status(500).after(2).times(TRIES as usize));
    let error = world.push_by(1, &Counter::default()).unwrap_err();
    assert!(error.exit_code() == 3 && error.to_string().contains("error 500"), "{error}");
    assert!(!error.to_string().contains("Signature"), "{error}");
    assert!(world.seen("POST", "/commit/").is_empty() && world.hub.faults_left() == 0);
    world.hub.forget();
    let counter = Counter::default();
    world.push_by(1, &counter).unwrap();
    world.check("main");
    let objects = world.listed().iter().filter(|n| world.repo().is_lfs("main", n)).count();
    let sent = world.seen("PUT", "/uploads/");
    assert_eq!(sent.len(), objects - 2);
    assert_eq!(counter.total.into_inner(), sent.iter().map(|seen| seen.received).sum::<u64>());
}

#[test]
fn parts_are_sent_again_where_they_fail() {
    let world = World::new();
    world.hub.part(50_000);
    world.hub.fault(Fault::on("/uploads/").cut_upload(20_000).after(1).times(2));
    world.hub.fault(Fault::on("/uploads/").busy(503, "0").after(5).times(2));
    world.hub.fault(Fault::on("/complete_multipart").close());
    world.hub.fault(Fault::on("/batch").status(502));
    world.hub.fault(Fault::on("/preupload/").status(500));
    let counter = Counter::default();
    assert!(matches!(world.push(&counter).unwrap(), Pushed::Commit(_)));
    world.check("main");
    assert_eq!(world.hub.faults_left(), 0);
    let total = counter.total.into_inner();
    assert_eq!(counter.done.into_inner(), total);
    let sizes = world.listed().into_iter().filter(|n| world.repo().is_lfs("main", n));
    assert_eq!(sizes.map(|n| world.out().join(n).metadata().unwrap().len()).sum::<u64>(), total);
    assert!(world.seen("POST", "complete_multipart").len() > 2);
}

#[test]
fn links_that_expire_are_asked_for_again() {
    let world = World::new();
    world.hub.fault(Fault::on("/uploads/").status(403).after(1).times(2));
    let counter = Counter::default();
    world.push(&counter).unwrap();
    world.check("main");
    assert!(world.seen("POST", "/objects/batch").len() > 1);
    assert_eq!(counter.done.into_inner(), counter.total.into_inner());
}

#[test]
fn a_commit_whose_answer_is_lost_is_not_made_twice() {
    let world = World::new();
    world.hub.fault(Fault::on("/commit/main").cut(3));
    let Pushed::Commit(url) = world.push(&Counter::default()).unwrap() else { panic!("no commit") };
    assert!(url.ends_with(&world.repo().head("main").unwrap()));
    assert_eq!(world.seen("POST", "/commit/main").len(), 1);
    world.check("main");
}

#[test]
fn a_branch_that_moved_meanwhile_is_left_alone() {
    let world = World::new();
    let repo = world.repo();
    let other = repo.clone();
    world.hub.fault(Fault::on("/commit/main").meanwhile(move || {
        other.put("theirs.txt", "theirs").commit();
    }));
    let error = world.push(&Counter::default()).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("changed meanwhile"), "{error}");
    assert_eq!(repo.files("main"), ["theirs.txt"]);
    // As the hint says.
    world.hub.forget();
    world.push(&Counter::default()).unwrap();
    assert!(world.seen("PUT", "").is_empty(), "the objects had arrived");
    assert!(repo.files("main").contains(&"theirs.txt".to_owned()));
}

#[test]
fn an_earlier_model_goes_with_the_commit_and_foreign_weights_are_refused() {
    let world = World::new();
    world.push(&Counter::default()).unwrap();
    let before = world.listed();
    world.repo().put("eval/results.json", "{}").commit();
    std::fs::remove_dir_all(world.out()).unwrap();
    let mut command = support::command();
    command.arg("merge").args([world.folder.path().join("recipe"), world.out()]).arg("--quiet");
    command.assert().success();
    assert!(before.contains(&"model.safetensors.index.json".to_owned()));
    world.push(&Counter::default()).unwrap();
    let mut there = world.repo().files("main");
    there.retain(|name| name != "eval/results.json" && name != ".gitattributes");
    assert_eq!(there, world.listed(), "what is not the model's stays, and nothing of the earlier one");

    world.repo().put_lfs("model-00001-of-00009.safetensors", "foreign").commit();
    let error = world.push(&Counter::default()).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("model-00001-of-00009"), "{error}");
}

#[test]
fn a_card_says_where_the_model_comes_from_by_the_hubs_rules() {
    let there = crate::world::World::new();
    for (name, language) in [("own/en", "en"), ("own/et", "et")] {
        let repo = there.upload(name, &crate::world::quickstart(language));
        let card = format!("---\nlicense: apache-2.0\nlanguage: [{language}]\n---\n# A model\n");
        repo.put("README.md", card).commit();
    }
    let recipe = there.path("recipe.yaml");
    let local = crate::world::quickstart("fo");
    std::fs::create_dir(there.path("fo")).unwrap();
    for entry in std::fs::read_dir(local).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, there.path("fo").join(path.file_name().unwrap())).unwrap();
    }
    let card = "---\nlicense: apache-2.0\nlanguage: [fo, no, faroese]\n---\n";
    std::fs::write(there.path("fo").join("README.md"), card).unwrap();
    let models =
        format!("[{{model: own/en}}, {{model: own/et@main}}, {{model: {}}}]", there.path("fo").display());
    let text = format!("merge_method: linear\nmodels: {models}\nparameters: {{weight: 1}}\n");
    std::fs::write(&recipe, text).unwrap();
    let out = there.path("out");
    there.growmerge().arg("merge").arg(&recipe).arg(&out).arg("--quiet").assert().success();

    let text = std::fs::read_to_string(out.join("README.md")).unwrap();
    let (front, _) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let card: Value = serde_yaml::from_str(front).unwrap();
    let want = json!({
        "library_name": "transformers", "license": "apache-2.0", "language": ["en", "et", "fo", "no"],
        "base_model": ["own/en", "own/et"], "base_model_relation": "merge",
        "tags": ["merge", "growmerge", "linear"],
    });
    assert_eq!(card, want);
    assert!(!front.contains(there.folder.path().to_str().unwrap()), "{front}");

    // As the Hub itself sees it, and what it says of one that is wrong.
    there.hub.token(SECRET, "me", Access::Write);
    let push = || {
        let mut command = there.growmerge();
        command.env("HF_TOKEN", SECRET).arg("push").arg(&out).arg(NAME);
        command.assert()
    };
    let manifest = out.join("growmerge.json");
    let good = std::fs::read(&manifest).unwrap();
    let bad = "---\nbase_model: here\n---\n# Mine\n";
    std::fs::write(out.join("README.md"), bad).unwrap();
    let mut json: Value = serde_json::from_slice(&good).unwrap();
    for file in json["files"].as_array_mut().unwrap().iter_mut().filter(|f| f["name"] == "README.md") {
        file["sha256"] = growmerge::write::sha256_hex(bad.as_bytes()).into();
        (file["bytes"], file["sha256_bytes"]) = (bad.len().into(), bad.len().into());
    }
    std::fs::write(&manifest, json.to_string()).unwrap();
    let said = stderr(&push().code(2));
    assert!(said.contains("README.md") && said.contains("base_model"), "{said}");
    std::fs::write(&manifest, good).unwrap();
    std::fs::write(out.join("README.md"), text).unwrap();
    push().success();
}
