//! `growmerge tune`: what is learned lowers the loss, is what `merge` then does, and depends on neither threads nor
//! interruptions.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod search;
#[path = "../support/mod.rs"]
mod support;
mod teachers;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use growmerge::coefficients::Coefficients;
use growmerge::decoder::{Config, Decoder};
use growmerge::eval::{ModelSource, Prepared, Start, Text, Tokenizer, Unit, measure};
use growmerge::plan::{Plan, PlanOptions};
use growmerge::problem::{Error, ExecError};
use growmerge::recipe::Reading;
use growmerge::tune::{Evaluation, Goal, Groups, Running, Settings, Tuned, Wanted, Watch, tune};
use support::{Silent, command};

fn quickstart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart").join(name)
}

/// Two languages, every weight the same.
fn recipe() -> String {
    let model = |name: &str| quickstart(name).display().to_string();
    format!(
        "merge_method: task_arithmetic\nbase_model: {}\nmodels: [{{model: {}}}, {{model: {}}}]\nparameters: {{weight: 0.5}}\n\
         dtype: float32\n",
        model("en"),
        model("et"),
        model("fa")
    )
}

fn planned(text: &str) -> Plan {
    Plan::from_reading(Reading::parse("r.yaml", text), &PlanOptions::default())
        .unwrap_or_else(|p| panic!("{p}"))
}

fn text(language: &str, from: usize, count: usize) -> Text {
    let path = quickstart(&format!("texts/{language}.txt"));
    let all = std::fs::read_to_string(&path).unwrap();
    let documents = all.lines().skip(from).take(count).map(str::to_owned).collect();
    Text { language: language.into(), path, documents }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::open(&quickstart("en"), &Start::Auto).unwrap()
}

/// Held out are ten sentences of each language.
fn goal() -> Goal {
    Goal::new(wanted(), &tokenizer(), 2048, 128).unwrap()
}

fn wanted() -> Vec<Wanted> {
    let wanted = ["en", "et", "fa"].map(|language| Wanted {
        text: text(language, 0, 60),
        held_out: Some(text(language, 60, 10)),
        weight: if language == "en" { 0.5 } else { 1.0 },
        teacher: None,
    });
    wanted.to_vec()
}

/// Stops after so many steps.
struct After<'a>(u64, &'a AtomicBool);

impl Watch for After<'_> {
    fn step(&self, step: u64, bits: &[f64]) {
        assert!(bits.len() == 3 && bits.iter().all(|b| b.is_finite()));
        self.1.store(step + 1 == self.0, Ordering::Relaxed);
    }

    fn looked(&self, _: &Evaluation) {}
}

fn settings(groups: Groups) -> Settings {
    Settings { steps: 12, tokens: 100, every: 5, ..Settings::of(groups) }
}

fn learn(groups: Groups, threads: usize, stop: u64, state: Option<&Path>) -> Result<Tuned, Error> {
    let cancel = AtomicBool::new(false);
    let watch = After(stop, &cancel);
    tune(
        &planned(&recipe()),
        &goal(),
        &settings(groups),
        &Running { threads, cancel: &cancel, watch: &watch, state },
    )
}

fn bits(x: &[f64]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn more_coefficients_lower_the_loss_further_and_threads_change_no_bit() {
    let mut last = f64::INFINITY;
    for groups in [Groups::Model, Groups::Tensor, Groups::RowColumn] {
        let tuned = learn(groups, 1, 0, None).unwrap();
        let (best, first) = tuned.gain().unwrap();
        assert!(best.value < first.value - 0.05, "{groups:?}: {} from {}", best.value, first.value);
        assert!(best.value < last, "{groups:?}: {} after {last}", best.value);
        last = best.value;
        assert_eq!(tuned.looks.iter().map(|l| l.step).collect::<Vec<_>>(), [0, 5, 10, 12]);
        let again = learn(groups, 3, 0, None).unwrap();
        assert_eq!(bits(&tuned.best), bits(&again.best), "{groups:?}");
        assert_eq!(tuned.looks, again.looks);
    }
}

#[test]
fn an_interrupted_run_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("r.tune-state");
    let whole = learn(Groups::Row, 2, 0, None).unwrap();
    for stop in [3, 5, 7] {
        let stopped = learn(Groups::Row, 2, stop, Some(&state));
        assert!(matches!(stopped, Err(Error::Exec(ExecError::Interrupted))));
        assert!(state.is_file());
    }
    let told = learn(Groups::Tensor, 2, 0, Some(&state)).unwrap_err().to_string();
    assert!(told.contains("is the state of another run"), "{told}");
    let cancel = AtomicBool::new(false);
    let watch = After(0, &cancel);
    let running = Running { threads: 1, cancel: &cancel, watch: &watch, state: Some(&state) };
    let narrower = Goal::new(wanted(), &tokenizer(), 2048, 64).unwrap();
    let told =
        tune(&planned(&recipe()), &narrower, &settings(Groups::Row), &running).unwrap_err().to_string();
    assert!(told.contains("is the state of another run"), "{told}");
    let ended = learn(Groups::Row, 1, 0, Some(&state)).unwrap();
    assert_eq!(bits(&whole.best), bits(&ended.best));
    assert_eq!((whole.step, &whole.looks), (ended.step, &ended.looks));
    assert!(state.exists(), "it is there until the result is written");
}

#[test]
fn what_was_learned_is_what_is_merged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.safetensors");
    for groups in [Groups::Layer, Groups::Row, Groups::RowColumn] {
        let tuned = learn(groups, 2, 0, None).unwrap();
        let plan = planned(&recipe());
        tuned.write(&plan, &file).unwrap();
        assert_eq!(Coefficients::open(&file).unwrap().entries(), ["et", "fa"]);
        let text = tuned.recipe(&plan, &file.display().to_string()).unwrap();
        let merged = planned(&text);
        assert!(merged.warnings.is_empty(), "{}", merged.warnings);
        let model = ModelSource::planned("tuned", merged).unwrap().load(2, &Silent).unwrap();
        let config = Config::read(&model.config, "tuned").unwrap();
        let decoder = Decoder::new(config, model.tensors(), "tuned", 128).unwrap();
        let (best, _) = tuned.gain().unwrap();
        for (language, want) in ["en", "et", "fa"].into_iter().zip(&best.bits) {
            let tokens = tokenizer().encode(&self::text(language, 60, 10).documents, 2048).unwrap();
            let prepared = [Prepared::new(tokens, 128, 64, Unit::Document)];
            let found = measure(&decoder, &prepared, 1, &Silent)[0].bits_per_byte().value;
            assert!((found - want).abs() < 1e-4, "{groups:?}, {language}: {found} for {want}");
        }
    }
}

/// A folder with a recipe and texts, to run the command in.
struct World(tempfile::TempDir);

impl World {
    fn new(recipe: &str) -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        std::fs::write(world.0.path().join("r.yaml"), recipe).unwrap();
        std::fs::create_dir(world.0.path().join("texts")).unwrap();
        for language in ["en", "et", "fa"] {
            let text = text(language, 0, 40).documents.join("\n");
            std::fs::write(world.0.path().join(format!("texts/{language}.txt")), text).unwrap();
        }
        world
    }

    /// Runs `tune r.yaml -o out.yaml` with these words too: exit code, and all that was printed.
    fn tune(&self, words: &str) -> (i32, String) {
        let mut command = command();
        command.current_dir(self.0.path()).args(["tune", "r.yaml", "-o", "out.yaml"]);
        let output = command.args(words.split_whitespace()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }
}

#[test]
fn the_command_writes_a_recipe_that_merges() {
    let world = World::new(&recipe());
    let (code, said) =
        world.tune("--texts texts --share en=0.5 --steps 6 --every 3 --tokens 60 --html page.html");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("out.yaml: ") && said.contains("objective"), "{said}");
    let page = std::fs::read_to_string(world.0.path().join("page.html")).unwrap();
    assert!(
        page.contains("Coefficients of et") && page.contains("self_attn.q_proj"),
        "pictures of each model"
    );
    let merge = command()
        .current_dir(world.0.path())
        .args(["merge", "out.yaml", "model", "--quiet"])
        .output()
        .unwrap();
    assert!(merge.status.success(), "{}", String::from_utf8_lossy(&merge.stderr));
    let manifest = std::fs::read_to_string(world.0.path().join("model/growmerge.json")).unwrap();
    assert!(manifest.contains("out.safetensors"), "the manifest names the coefficients");
}

#[test]
fn what_is_wrong_is_told_before_anything_is_learned() {
    let world = World::new(&recipe());
    let texts = "--texts texts --steps 2";
    for (words, wanted) in [
        ("", "there is no text to fit coefficients to"),
        ("--texts nowhere", "nowhere"),
        ("--texts texts --share sv=2", "there is no text of `sv`"),
        ("--texts texts --held-out fo=texts/et.txt", "there is no text of `fo`"),
        ("--texts texts --share en=-1", "`-1` is no number above zero"),
        ("--texts texts --rate 0", "0 is no number above zero"),
        ("--texts texts --context 100000", "windows of 100000 tokens are longer"),
        ("--texts texts --html nowhere/page.html", "there is no such folder to write to"),
    ] {
        let (code, said) = world.tune(words);
        assert_eq!(code, 2, "{words}: {said}");
        assert!(said.contains(wanted), "{words}: {said}");
    }
    let refused = |recipe: &str, wanted: &str| {
        let (code, said) = World::new(recipe).tune(texts);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(wanted), "{said}");
    };
    refused(&recipe().replace("task_arithmetic", "ties"), "`ties` is not a sum of differences");
    let norms = recipe().replace("weight: 0.5", "weight: {norms: rows}");
    refused(&norms, "a weight that follows from the differences");
    let model = |name: &str| quickstart(name).display().to_string();
    let slices = format!(
        "merge_method: task_arithmetic\nbase_model: {0}\nslices:\n  - sources:\n    - {{model: {0}, layer_range: [0, 4]}}\n    \
         - {{model: {1}, layer_range: [0, 4]}}\nparameters: {{weight: 1}}\n",
        model("en"),
        model("et")
    );
    refused(&slices, "write the recipe without slices and modules");
    let world_of_nothing = World::new(&recipe().replace("weight: 0.5", "weight: 0"));
    let (code, said) = world_of_nothing.tune("--texts texts --steps 2 --groups layer");
    assert!(code == 2 && said.contains("is 0, from which a factor cannot lead away"), "{said}");
    for (output, wanted) in [
        ("out.txt", "must end in .yaml"),
        ("nowhere/out.yaml", "there is no such folder"),
        ("r.yaml", "is the recipe itself"),
        ("old.yaml", "is there already"),
    ] {
        std::fs::write(world.0.path().join("old.yaml"), "mine").unwrap();
        let mut command = command();
        command.current_dir(world.0.path()).args(["tune", "r.yaml", "-o", output]);
        let told = command.args(texts.split_whitespace()).output().unwrap();
        let (code, said) = (told.status.code().unwrap(), String::from_utf8(told.stderr).unwrap());
        assert!(code == 2 && said.contains(wanted), "{output}: {said}");
        assert_eq!(std::fs::read(world.0.path().join("old.yaml")).unwrap(), b"mine");
    }
    std::fs::write(world.0.path().join("out.tune-state"), "x").unwrap();
    let (code, said) = world.tune(texts);
    assert!(code == 2 && said.contains("--resume"), "{said}");
    let (code, said) = world.tune("--texts texts --steps 2 --resume");
    assert!(code == 2 && said.contains("out.tune-state"), "{said}");
}
