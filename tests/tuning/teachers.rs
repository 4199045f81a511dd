//! `tune --teacher`: learning from what models predict.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use growmerge::eval::{Model, ModelSource};
use growmerge::plan::PlanOptions;
use growmerge::tune::{Goal, Groups, Running, Settings, Tuned, Wanted, tune};

use super::support::Silent;
use super::{After, World, bits, planned, quickstart, recipe, settings, text, tokenizer, wanted};

fn model(name: &str) -> Arc<Model> {
    let source = ModelSource::open(&quickstart(name).display().to_string(), &PlanOptions::default());
    Arc::new(source.unwrap().load(1, &Silent).unwrap())
}

/// Every language with its own model.
fn taught() -> Vec<Wanted> {
    let with_teacher = |wanted: Wanted| Wanted { teacher: Some(model(&wanted.text.language)), ..wanted };
    wanted().into_iter().map(with_teacher).collect()
}

fn learn(wanted: Vec<Wanted>, settings: &Settings, threads: usize) -> Tuned {
    let goal = Goal::new(wanted, &tokenizer(), 2048, 128).unwrap();
    let cancel = AtomicBool::new(false);
    let watch = After(0, &cancel);
    let running = Running { threads, cancel: &cancel, watch: &watch, state: None };
    tune(&planned(&recipe()), &goal, settings, &running).unwrap()
}

#[test]
fn predictions_teach_more_than_tokens_and_threads_change_no_bit() {
    let settings = Settings { steps: 40, every: 40, ..settings(Groups::RowColumn) };
    let from_tokens = learn(wanted(), &settings, 2);
    let from_models = learn(taught(), &settings, 1);
    let value = |tuned: &Tuned| tuned.gain().unwrap().0.value;
    assert!(
        value(&from_models) < value(&from_tokens) - 0.02,
        "{} from models, {} from tokens",
        value(&from_models),
        value(&from_tokens)
    );
    let again = learn(taught(), &settings, 3);
    assert_eq!(bits(&from_models.best), bits(&again.best));
    assert_eq!(from_models.looks, again.looks);
}

#[test]
fn a_teacher_that_is_not_listened_to_changes_nothing() {
    let settings = Settings { teaching: 0.0, ..settings(Groups::Row) };
    let (with, without) = (learn(taught(), &settings, 2), learn(wanted(), &settings, 2));
    // A gradient of logits goes to the token and back again: in the last bits it may differ.
    let far = with.best.iter().zip(&without.best).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(far < 1e-3, "{far}");
}

/// One language of three has a teacher: the others learn from their tokens.
#[test]
fn a_teacher_may_be_there_for_one_language_alone() {
    let one = |teacher: &str| {
        let mut wanted = wanted();
        wanted[1].teacher = Some(model(teacher));
        learn(wanted, &settings(Groups::Row), 2).gain().unwrap().0.bits[1]
    };
    let (own, other) = (one("et"), one("fa"));
    assert!(own < other - 0.05, "Estonian: {own} from its own model, {other} from the Persian one");
}

#[test]
fn a_teacher_of_other_tokens_is_refused() {
    // Its tokenizer does not know the most frequent pair of letters.
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(quickstart("et")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let path = folder.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let refused = |json: &serde_json::Value| {
        std::fs::write(&path, serde_json::to_vec(json).unwrap()).unwrap();
        let source = ModelSource::open(&folder.path().display().to_string(), &PlanOptions::default());
        let teacher = Some(Arc::new(source.unwrap().load(1, &Silent).unwrap()));
        let wanted = vec![Wanted { text: text("et", 0, 60), held_out: None, weight: 1.0, teacher }];
        Goal::new(wanted, &tokenizer(), 2048, 128).map_err(|problems| problems.to_string())
    };
    assert!(refused(&json).is_ok(), "another file that means the same");
    json["model"]["merges"].as_array_mut().unwrap().remove(0);
    let told = refused(&json).unwrap_err();
    assert!(told.contains("makes other tokens of the text of `et` than the merge"), "{told}");
}

#[test]
fn the_command_takes_teachers_and_tells_what_is_wrong_with_them() {
    let world = World::new(&recipe());
    let teacher = |name: &str| quickstart(name).display().to_string();
    let all = ["en", "et", "fa"].map(|language| format!("--teacher {language}={}", teacher(language)));
    let (code, said) = world.tune(&format!("--texts texts --steps 4 --every 2 {}", all.join(" ")));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("out.yaml: "), "{said}");
    let one_by_one = std::fs::read(world.0.path().join("out.safetensors")).unwrap();
    let folder = quickstart("");
    let words = format!("--texts texts --steps 4 --every 2 --overwrite --teachers {}", folder.display());
    let (code, said) = world.tune(&words);
    assert_eq!(code, 0, "{said}");
    let at_once = std::fs::read(world.0.path().join("out.safetensors")).unwrap();
    assert!(one_by_one == at_once, "a folder of teachers is each of them");
    let et = teacher("et");
    for (words, wanted) in [
        (format!("--teacher sv={et}"), "there is no text of `sv`"),
        ("--teacher et=nowhere/at/all".to_owned(), "nowhere/at/all"),
        (format!("--teacher {et}"), "write it as LANGUAGE=MODEL"),
        (format!("--teacher et={et} --teaching 2"), "from 0 to 1"),
        (format!("--teacher et={et} --search"), "cannot be used with"),
        (format!("--teacher et={et} --teacher et={et}"), "two teachers of `et`"),
        ("--teachers texts".to_owned(), "has no folder that is called like a language"),
        ("--teaching 0.5".to_owned(), "name them with --teacher"),
    ] {
        let (code, said) = world.tune(&format!("--texts texts --steps 2 --overwrite {words}"));
        assert_eq!(code, 2, "{words}: {said}");
        assert!(said.contains(wanted), "{words}: {said}");
    }
}
