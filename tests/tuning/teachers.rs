//! `tune --teacher`: learning from what models predict.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use growmerge::eval::{Model, ModelSource};
use growmerge::plan::PlanOptions;
use growmerge::tune::{Goal, Groups, Running, Settings, Tuned, Wanted, tune};

use super::cli::World;
use super::support::Silent;
use super::{After, bits, planned, quickstart, recipe, settings, text, tokenizer, wanted};

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
fn a_teacher_that_is_not_listened_to_changes_no_bit() {
    let settings = Settings { teaching: 0.0, ..settings(Groups::Row) };
    let (with, without) = (learn(taught(), &settings, 2), learn(wanted(), &settings, 2));
    assert_eq!(bits(&with.best), bits(&without.best));
}

/// A run goes on with the same teachers, computing alike and counting as much, or not at all.
#[test]
fn a_run_of_other_teachers_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("r.tune-state");
    let run = |wanted: Vec<Wanted>, teaching: f64, stop: u64| {
        let goal = Goal::new(wanted, &tokenizer(), 2048, 128).unwrap();
        let cancel = AtomicBool::new(false);
        let watch = After(stop, &cancel);
        let running = Running { threads: 2, cancel: &cancel, watch: &watch, state: Some(&state) };
        let settings = Settings { teaching, ..settings(Groups::Row) };
        tune(&planned(&recipe()), &goal, &settings, &running).map_err(|error| error.to_string())
    };
    let changed = |change: &dyn Fn(&mut Wanted)| {
        let mut wanted = taught();
        change(&mut wanted[1]);
        wanted
    };
    let other_theta = |wanted: &mut Wanted| {
        let mut model = Arc::into_inner(model("et")).unwrap();
        model.config["rope_theta"] = 500.0.into();
        wanted.teacher = Some(Arc::new(model));
    };
    assert!(run(taught(), 1.0, 7).is_err() && state.is_file());
    let others = [
        (changed(&|wanted| wanted.teacher = Some(model("fa"))), 1.0),
        (changed(&|wanted| wanted.teacher = None), 1.0),
        (changed(&other_theta), 1.0),
        (taught(), 0.5),
    ];
    for (wanted, teaching) in others {
        let told = run(wanted, teaching, 0).unwrap_err();
        assert!(told.contains("is the state of another run"), "{told}");
    }
    let whole = learn(taught(), &settings(Groups::Row), 1);
    assert_eq!(bits(&run(taught(), 1.0, 0).unwrap().best), bits(&whole.best));
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

/// The Estonian model, with files that may be changed.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(quickstart("et")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

fn change(folder: &Path, file: &str, change: impl Fn(&mut serde_json::Value)) {
    let path = folder.join(file);
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&path, serde_json::to_vec(&json).unwrap()).unwrap();
}

#[test]
fn a_teacher_of_other_tokens_is_refused() {
    let refused = |file: &str, of_file: &dyn Fn(&mut serde_json::Value)| {
        let folder = copied();
        change(folder.path(), file, of_file);
        let source = ModelSource::open(&folder.path().display().to_string(), &PlanOptions::default());
        let teacher = Some(Arc::new(source.unwrap().load(1, &Silent).unwrap()));
        let wanted = vec![Wanted { text: text("et", 0, 60), held_out: None, weight: 1.0, teacher }];
        Goal::new(wanted, &tokenizer(), 2048, 128).map_err(|problems| problems.to_string())
    };
    assert!(refused("tokenizer.json", &|_| ()).is_ok(), "another file that means the same");
    let told =
        refused("tokenizer.json", &|json| drop(json["model"]["merges"].as_array_mut().unwrap().remove(0)));
    let told = told.unwrap_err();
    assert!(told.contains("makes other tokens of the text") && told.contains("cannot teach `et`"), "{told}");
    let exchanged = refused("tokenizer.json", &|json| {
        // Two tokens that no text has.
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        let mut at: Vec<String> = vocab.keys().filter(|token| token.chars().count() == 1).cloned().collect();
        at.sort();
        let (a, b) = (at.pop().unwrap(), at.pop().unwrap());
        let (of_a, of_b) = (vocab[&a].clone(), vocab[&b].clone());
        vocab[&a] = of_b;
        vocab[&b] = of_a;
    });
    let told = exchanged.unwrap_err();
    assert!(told.contains("ids stand for other tokens"), "{told}");
}

#[test]
fn the_command_learns_from_teachers() {
    let world = World::new(&recipe());
    let learned = |words: &str| {
        let (code, said) = world.tune(&format!("--texts texts --steps 4 --every 2 --overwrite {words}"));
        assert_eq!(code, 0, "{said}");
        (std::fs::read(world.0.path().join("out.safetensors")).unwrap(), said)
    };
    let teacher = |language: &str| format!("--teacher {language}={}", quickstart(language).display());
    let all = ["en", "et", "fa"].map(teacher).join(" ");
    let (one_by_one, said) = learned(&all);
    assert!(!said.contains("without a teacher"), "{said}");
    let (at_once, _) = learned(&format!("--teachers {}", quickstart("").display()));
    assert!(one_by_one == at_once, "a folder of teachers is each of them");
    let (half, _) = learned(&format!("{all} --teaching 0.5"));
    let (of_one, said) = learned(&teacher("et"));
    assert!(said.contains("without a teacher, from tokens: en, fa"), "{said}");
    let (none, _) = learned("");
    let kinds = [&at_once, &half, &of_one, &none];
    assert!((1..4).all(|i| kinds[..i].iter().all(|other| *other != kinds[i])), "all of them differ");
    // A recipe may teach too: here it makes the model itself.
    let et = quickstart("et").display().to_string();
    let recipe = format!(
        "merge_method: linear\nmodels: [{{model: {et}}}]\nparameters: {{weight: 1}}\ndtype: float32\n"
    );
    std::fs::write(world.0.path().join("teacher.yaml"), recipe).unwrap();
    let (of_recipe, _) = learned("--teacher et=teacher.yaml");
    assert!(of_recipe == of_one, "what a recipe makes teaches like the model");
}

#[test]
fn the_command_tells_what_is_wrong_with_teachers() {
    let world = World::new(&recipe());
    let et = quickstart("et").display().to_string();
    let narrow = copied();
    change(narrow.path(), "config.json", |json| json["max_position_embeddings"] = 64.into());
    let larger = copied();
    change(larger.path(), "config.json", |json| json["vocab_size"] = 2049.into());
    let mute = copied();
    std::fs::remove_file(mute.path().join("tokenizer.json")).unwrap();
    let [narrow, larger, mute] = [&narrow, &larger, &mute].map(|folder| folder.path().display().to_string());
    for (words, wanted) in [
        (format!("--teacher sv={et}"), "there is no text of `sv`"),
        ("--teacher et=nowhere/at/all".to_owned(), "nowhere/at/all"),
        (format!("--teacher {et}"), "write it as LANGUAGE=MODEL"),
        (format!("--teacher et={et} --teaching 2"), "from 0 to 1"),
        (format!("--teacher et={et} --search"), "cannot be used with"),
        (format!("--teacher et={et} --teacher et={et}"), "two teachers of `et`"),
        ("--teachers texts".to_owned(), "has no folder that is called like a language"),
        ("--teachers nowhere".to_owned(), "no such folder of teachers"),
        ("--teaching 0.5".to_owned(), "name them with --teacher"),
        (format!("--teacher et={narrow}"), "windows of `et` have up to"),
        (format!("--teacher et={larger}"), "its embedding has 2049 rows and that of the merge 2048"),
        (format!("--teacher et={mute}"), "cannot teach `et` without a tokenizer"),
    ] {
        let (code, said) = world.tune(&format!("--texts texts --steps 2 {words}"));
        assert_eq!(code, 2, "{words}: {said}");
        assert!(said.contains(wanted), "{words}: {said}");
    }
}
