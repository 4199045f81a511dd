//! `growmerge tune`: what is learned lowers the loss, is what `merge` then does, and depends on neither threads nor
//! interruptions.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod cli;
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
use support::Silent;

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
