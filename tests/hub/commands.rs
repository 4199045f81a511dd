//! What the commands say, and how they end.

use assert_cmd::assert::Assert;

use crate::loopback::{Access, Fault};
use crate::world::{World, noise, quickstart};

fn stderr(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

fn stdout(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

fn recipe(world: &World, model: &str) -> std::path::PathBuf {
    let path = world.path("recipe.yaml");
    std::fs::write(&path, format!("merge_method: passthrough\nmodels: [{{model: {model}}}]\n")).unwrap();
    path
}

#[test]
fn what_is_wrong_with_a_name_is_said() {
    let world = World::new();
    world.upload("own/en", &quickstart("en"));
    world.upload("own/secret", &quickstart("en")).private("hf_owner");
    world.upload("own/gated", &quickstart("en")).gated("hf_owner");
    world.hub.token("hf_other", "other", Access::Read);
    world.hub.token("hf_owner", "own", Access::Read);
    let told = |model: &str, token: Option<&str>, code: i32| {
        let mut command = world.growmerge();
        command.envs(token.map(|token| ("HF_TOKEN", token)));
        let told = stderr(&command.arg("plan").arg(recipe(&world, model)).assert().code(code));
        assert!(
            !told.contains("hf_owner") && !told.contains("hf_other") && !told.contains("hf_nobody"),
            "{told}"
        );
        told
    };
    for (model, token, words) in [
        ("own/none", None, &["own/none", "private", "HF_TOKEN"][..]),
        ("own/none", Some("hf_other"), &["no such repository"]),
        ("own/secret", None, &["private"]),
        ("own/gated", None, &["gated", "access"]),
        ("own/gated", Some("hf_other"), &["gated"]),
        ("own/en@v9", None, &["own/en@v9", "no such revision"]),
        ("own/en", Some("hf_nobody"), &["refused the token"]),
        ("nothing", None, &["no such folder"]),
        ("./own/en", None, &["no such folder"]),
    ] {
        let told = told(model, token, 2);
        assert!(words.iter().all(|word| told.contains(word)), "{model} {token:?}:\n{told}");
    }
    told("own/en", None, 0);
    told("own/secret", Some("hf_owner"), 0);
    // All that is wrong is said at once.
    let path = world.path("two.yaml");
    std::fs::write(
        &path,
        "merge_method: linear\nmodels: [{model: own/none}, {model: own/en@v9}]\nparameters: {weight: 1}\n",
    )
    .unwrap();
    let told = stderr(&world.growmerge().arg("plan").arg(path).assert().code(2));
    assert!(told.contains("own/none") && told.contains("own/en@v9"), "{told}");
}

#[test]
fn a_network_that_fails_is_the_machines_fault() {
    let world = World::new();
    world.upload("own/en", &quickstart("en"));
    world.hub.fault(Fault::on("/revision/").busy(503, "0").times(9));
    let told = stderr(&world.growmerge().arg("plan").arg(recipe(&world, "own/en")).assert().code(3));
    assert!(told.contains("503") && told.contains("127.0.0.1"), "{told}");
}

#[test]
fn fetch_prints_the_folder_and_knows_what_is_there() {
    let world = World::new();
    world.upload("own/en", &quickstart("en"));
    let folder = stdout(&world.growmerge().args(["fetch", "own/en"]).assert().success());
    let folder = std::path::Path::new(folder.trim_end());
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert_eq!(
            std::fs::read(folder.join(file)).unwrap(),
            std::fs::read(quickstart("en").join(file)).unwrap()
        );
    }
    world.hub.forget();
    let again = stdout(&world.growmerge().args(["fetch", "--quiet", "own/en@main"]).assert().success());
    assert_eq!(std::path::Path::new(again.trim_end()), folder);
    assert_eq!(world.hub.requests().len(), 1, "only what the branch is now");
    let elsewhere = world.path("elsewhere");
    let there =
        stdout(&world.growmerge().args(["fetch", "own/en", "--cache"]).arg(&elsewhere).assert().success());
    assert!(there.starts_with(elsewhere.to_str().unwrap()), "{there}");
    world.growmerge().args(["fetch", "recipes"]).assert().code(2);
}

#[test]
fn inspect_reads_headers_only() {
    let world = World::new();
    world.upload("own/en", &quickstart("en"));
    let local = stdout(&world.growmerge().arg("inspect").arg(quickstart("en")).assert().success());
    let remote = stdout(&world.growmerge().args(["inspect", "own/en"]).assert().success());
    let below = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_eq!(below(&remote), below(&local));
    let reads = world.reads("model.safetensors");
    assert!(!reads.is_empty() && reads.iter().all(Option::is_some), "{reads:?}");
}

#[test]
fn eval_and_extract_bring_what_they_need() {
    let world = World::new();
    world.upload("own/en", &quickstart("en"));
    world.upload("own/et", &quickstart("et"));
    let texts = world.path("texts");
    std::fs::create_dir(&texts).unwrap();
    std::fs::write(texts.join("en.txt"), "This is a sentence.\nThis is another one.\n").unwrap();
    let eval = |models: &[&str]| {
        stdout(
            &world
                .growmerge()
                .args(["eval", "--json", "--texts"])
                .arg(&texts)
                .args(models)
                .assert()
                .success(),
        )
    };
    let numbers = |text: &str| -> serde_json::Value {
        let report: serde_json::Value = serde_json::from_str(text).unwrap();
        let bits = report["models"][0]["languages"][0]["bits_per_byte"].clone();
        assert!(bits["value"].is_f64(), "{report}");
        bits
    };
    let local = eval(&[quickstart("en").to_str().unwrap()]);
    assert_eq!(numbers(&eval(&["own/en"])), numbers(&local));
    let path = recipe(&world, "own/et");
    eval(&[path.to_str().unwrap()]);
    world
        .growmerge()
        .args(["extract-lora", "own/et", "own/en"])
        .arg(world.path("lora"))
        .args(["--rank", "2"])
        .assert()
        .success();
}

/// What is made of models of the Hub is what is made of the same files in folders, byte by byte.
#[test]
fn measuring_writing_and_learning_bring_what_they_need() {
    let names = ["en", "et"];
    let made = |command: &[&str], recipe: bool, file: &str| {
        let of_folders = names.map(|name| quickstart(name).display().to_string());
        let of_hub = names.map(|name| format!("own/{name}"));
        [of_folders, of_hub].map(|[en, et]| {
            let world = World::new();
            names.iter().for_each(|name| drop(world.upload(&format!("own/{name}"), &quickstart(name))));
            let model = match recipe {
                false => et,
                true => {
                    let path = world.path("sum.yaml");
                    let words = format!(
                        "merge_method: task_arithmetic\nbase_model: {en}\nmodels: [{{model: {et}, parameters: {{weight: \
                         0.5}}}}]\nparameters: {{normalize: false}}\n"
                    );
                    std::fs::write(&path, words).unwrap();
                    path.display().to_string()
                }
            };
            let text = quickstart("texts").join("et.txt");
            let command = command.iter().map(|arg| match *arg {
                "MODEL" => model.clone(),
                "TEXT" => format!("et={}", text.display()),
                "OUT" => world.path(file).display().to_string(),
                other => other.to_owned(),
            });
            world.growmerge().args(command).assert().success();
            std::fs::read(world.path(file).with_extension("safetensors"))
                .or_else(|_| std::fs::read(world.path(file)))
                .unwrap()
        })
    };
    let cases: [(&[&str], bool, &str); 3] = [
        (
            &["importance", "MODEL", "--text", "TEXT", "--tokens", "200", "--out", "OUT"],
            false,
            "f.safetensors",
        ),
        (&["generate", "MODEL", "--bytes", "200", "--output", "OUT"], false, "et.txt"),
        (&["tune", "MODEL", "--text", "TEXT", "--steps", "2", "--output", "OUT"], true, "tuned.yaml"),
    ];
    for (command, recipe, file) in cases {
        let [folders, hub] = made(command, recipe, file);
        assert!(!folders.is_empty() && folders == hub, "{}", command[0]);
    }
}

#[test]
fn a_plan_says_what_is_to_be_fetched() {
    let world = World::new();
    let repo = world.upload("own/en", &quickstart("en"));
    repo.put("notes.bin", noise(10)).commit();
    let text = stdout(&world.growmerge().arg("plan").arg(recipe(&world, "own/en")).assert().success());
    assert!(text.contains("to fetch"), "{text}");
    world.growmerge().args(["fetch", "own/en"]).assert().success();
    let text = stdout(&world.growmerge().arg("plan").arg(recipe(&world, "own/en")).assert().success());
    assert!(!text.contains("to fetch"), "{text}");
}
