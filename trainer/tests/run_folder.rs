//! The folder of a run: whose it is, what goes into it, and what is left when the end of a run fails.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod run;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use growmerge::problem::Error;
use growmerge_trainer::train::Unfinished;
use growmerge_trainer::train::config::{Run, Start};
use run::{carry_out, described, interrupted, names, outcome, problem, quickstart, warnings, whole};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in names(from) {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn a_folder_belongs_to_its_run_before_there_is_a_state() {
    let folder = tempfile::tempdir().unwrap();
    let (run, out) = (described(|_| {}), folder.path().join("out"));
    assert!(interrupted(&carry_out(&run, &out, Unfinished::Refuse, 2, 1)));
    // As a kill before the first state leaves it.
    std::fs::remove_file(out.join("state.safetensors")).unwrap();
    let before = std::fs::read(out.join("metrics.jsonl")).unwrap();
    let other = described(|run| run.seed = 2);
    for unfinished in [Unfinished::Refuse, Unfinished::Continue] {
        let said = problem(carry_out(&other, &out, unfinished, 1, 1));
        assert!(said.contains("unfinished run with another configuration"), "{said}");
    }
    assert_eq!(std::fs::read(out.join("metrics.jsonl")).unwrap(), before);
    let said = problem(carry_out(&run, &out, Unfinished::Refuse, 1, 1));
    assert!(said.contains("at step 0") && said.contains("--resume"), "{said}");
    carry_out(&run, &out, Unfinished::Continue, u64::MAX, 2).unwrap();
    whole(&run, &folder.path().join("whole"));
    assert_eq!(outcome(&out), outcome(&folder.path().join("whole")));
}

#[test]
fn a_model_of_no_known_run_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "metrics.jsonl", "config.json", "run.yaml"] {
        let out = folder.path().join(name);
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join(name), "mine").unwrap();
        let said = problem(carry_out(&described(|_| {}), &out, Unfinished::Continue, 1, 1));
        assert!(said.contains(name), "{said}");
        assert_eq!(std::fs::read(out.join(name)).unwrap(), b"mine");
    }
}

#[test]
fn a_description_in_the_folder_keeps_its_comments() {
    let folder = tempfile::tempdir().unwrap();
    let run = described(|_| {});
    let text = format!("# mine\n{}", serde_yaml::to_string(&run).unwrap());
    std::fs::write(folder.path().join("run.yaml"), &text).unwrap();
    whole(&run, folder.path());
    assert_eq!(std::fs::read_to_string(folder.path().join("run.yaml")).unwrap(), text);
}

/// What stops a run after its last step, as a full disk does, leaves a state to go on from.
#[test]
fn the_end_of_a_run_can_be_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = described(|run| run.checkpoints.every = 100);
    let out = folder.path().join("out");
    for obstacle in ["curves.svg.partial", "training.json.partial"] {
        std::fs::create_dir_all(out.join(obstacle)).unwrap();
        let stopped = carry_out(&run, &out, Unfinished::Continue, u64::MAX, 2);
        assert!(matches!(stopped, Err(Error::Exec(_))), "{obstacle}: {stopped:?}");
        assert!(out.join("model.safetensors").is_file() && !out.join("training.json").is_file());
        std::fs::remove_dir(out.join(obstacle)).unwrap();
    }
    // No step is left to be taken.
    carry_out(&run, &out, Unfinished::Continue, 1, 2).unwrap();
    whole(&run, &folder.path().join("whole"));
    assert_eq!(outcome(&out), outcome(&folder.path().join("whole")));
}

#[test]
fn a_run_is_known_by_what_it_reads_not_by_where_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let finished = whole(&described(|_| {}), &at("out"));
    let texts = quickstart().join("texts");
    copy(&quickstart().join("en"), &at("moved"));
    let fo = std::fs::read_to_string(texts.join("fo.txt")).unwrap();
    let half = fo.lines().count() / 2;
    let lines = |part: &[&str]| part.join("\n") + "\n";
    let all: Vec<&str> = fo.lines().collect();
    std::fs::write(at("first.txt"), lines(&all[..half])).unwrap();
    std::fs::write(at("second.txt"), lines(&all[half..])).unwrap();
    std::fs::write(at("valid.txt"), &fo).unwrap();
    let moved = |run: &mut Run| {
        run.start = Start::Checkpoint(at("moved"));
        run.tokenizer = Some(at("moved"));
        run.data.sources[0].text = vec![at("first.txt"), at("second.txt")];
        run.validation.as_mut().unwrap().texts = [("fo".to_owned(), at("valid.txt"))].into();
        run.checkpoints.every = 5;
    };
    let again = carry_out(&described(moved), &at("out"), Unfinished::Refuse, 1, 1);
    assert_eq!(again.unwrap(), finished);

    let refused = || problem(carry_out(&described(moved), &at("out"), Unfinished::Continue, 1, 1));
    std::fs::write(at("valid.txt"), lines(&all[1..])).unwrap();
    assert!(refused().contains("another configuration"), "a text that is measured has changed");
    std::fs::write(at("valid.txt"), &fo).unwrap();
    let tokenizer = at("moved/tokenizer.json");
    let json = std::fs::read_to_string(&tokenizer).unwrap();
    std::fs::write(&tokenizer, json + "\n").unwrap();
    assert!(refused().contains("another configuration"), "the tokenizer has changed");
}

#[test]
fn what_belongs_to_a_model_goes_along() {
    let folder = tempfile::tempdir().unwrap();
    let (start, tokenizer) = (folder.path().join("start"), folder.path().join("tokenizer"));
    copy(&quickstart().join("en"), &start);
    copy(&quickstart().join("en"), &tokenizer);
    let config = std::fs::read(start.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["auto_map"] = serde_json::json!({"AutoModelForCausalLM": "modeling_x.X", "AutoConfig": "gone.X"});
    std::fs::write(start.join("config.json"), config.to_string()).unwrap();
    std::fs::write(start.join("modeling_x.py"), "from .parts_x import y\n").unwrap();
    std::fs::write(start.join("parts_x.py"), "y = 1\n").unwrap();
    let ours = ["modeling_x.py", "parts_x.py"];
    let vocabulary = ["tokenizer.model", "vocab.json", "merges.txt", "chat_template.json"];
    for name in vocabulary {
        std::fs::write(start.join(name), format!("start's {name}")).unwrap();
        std::fs::write(tokenizer.join(name), format!("tokenizer's {name}")).unwrap();
    }
    let own = described(|run| run.start = Start::Checkpoint(start.clone()));
    let other = described(|run| {
        run.start = Start::Checkpoint(start.clone());
        run.tokenizer = Some(tokenizer.clone());
    });
    for (run, whose) in [(own, "start"), (other, "tokenizer")] {
        let out = folder.path().join(format!("of {whose}"));
        whole(&run, &out);
        for folder in [&out, &out.join("step-5")] {
            for name in ours {
                assert!(folder.join(name).is_file(), "{whose}: {name}");
            }
            for name in vocabulary {
                let text = std::fs::read_to_string(folder.join(name)).unwrap();
                assert_eq!(text, format!("{whose}'s {name}"));
            }
        }
        let said = warnings(&run);
        assert!(said.contains("gone.py"), "{said}");
    }
}

/// Whoever may read other new files may read these; nothing is left of what a kill interrupted.
#[test]
fn files_have_usual_permissions_and_leave_no_litter() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let shards = out.join("shards");
    std::fs::create_dir_all(&shards).unwrap();
    let dead = std::fs::File::create(shards.join(".tokens-dead")).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    dead.set_modified(old).unwrap();
    let busy = std::fs::File::create(shards.join(".tokens-busy")).unwrap();
    busy.set_modified(old).unwrap();
    busy.lock().unwrap();
    drop(dead);
    let run = described(|_| {});
    assert!(interrupted(&carry_out(&run, &out, Unfinished::Refuse, 5, 1)));
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&out.join("state.safetensors")), mode(&plain));
    carry_out(&run, &out, Unfinished::Continue, u64::MAX, 1).unwrap();
    for part in [out.clone(), shards.clone(), out.join("step-5")] {
        for name in names(&part).iter().filter(|name| part.join(name).is_file()) {
            assert_eq!(mode(&part.join(name)), mode(&plain), "{name}");
            assert!(!name.ends_with(".partial"), "{name}");
        }
    }
    let left: Vec<String> = names(&shards).into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [".tokens-busy"]);
}
