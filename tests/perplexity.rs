//! Perplexities of the quickstart's checkpoints against the same by a plain PyTorch script
//! (`tests/perplexity/make.py`), and that nothing but model, text and rules decides them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use growmerge::eval::{
    Evaluation, Evaluator, Model, ModelSource, Pairs, Reading, Rules, Split, Start, Text, Unit,
};
use growmerge::plan::PlanOptions;
use serde_json::Value;
use support::{Silent, command};

fn path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

fn text(language: &str) -> Text {
    let reading = Reading { split: Split::Line, field: "text".into() };
    Text::read(language, &path(&format!("recipes/quickstart/texts/{language}.txt")), &reading).unwrap()
}

fn rules(unit: Unit, context: usize, stride: usize) -> Rules {
    Rules { unit, split: Split::Line, context, stride, start: Start::Auto }
}

fn open(name: &Path) -> Model {
    let source = ModelSource::open(name.to_str().unwrap(), &PlanOptions::default());
    source.and_then(|s| s.load(2, &Silent)).unwrap_or_else(|e| panic!("{e}"))
}

fn evaluate(model: &Model, texts: &[Text], pairs: &[Pairs], rules: &Rules, threads: usize) -> Evaluation {
    let evaluator = Evaluator { texts, pairs, rules, tokenizer: None, threads, progress: &Silent };
    evaluator.evaluate(model).unwrap_or_else(|e| panic!("{e}"))
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(path("tests/perplexity/expected.json")).unwrap()).unwrap()
}

fn assert_close(got: f64, want: f64, relative: f64, what: &str) {
    assert!((got / want - 1.0).abs() < relative, "{what}: {got}, but PyTorch has {want}");
}

#[test]
fn perplexities_are_those_of_pytorch() {
    let expected = expected();
    let evaluations = expected["evaluations"].as_array().unwrap();
    assert!(evaluations.len() >= 40);
    for entry in evaluations {
        let word = |key: &str| entry[key].as_str().unwrap();
        let number = |key: &str| entry[key].as_u64().unwrap() as usize;
        let unit = if word("rule") == "joined" { Unit::Window } else { Unit::Document };
        let model = open(&path(&format!("recipes/quickstart/{}", word("model"))));
        let rules = rules(unit, number("context"), number("stride"));
        let found = evaluate(&model, &[text(word("language"))], &[], &rules, 2);
        let what = format!("{} on {}, {rules:?}", word("model"), word("language"));
        let (language, total) = (&found.languages[0], found.languages[0].measured.total());
        assert_eq!((total.tokens, total.bytes), (number("tokens"), number("bytes")), "{what}");
        let nats = entry["nats"].as_f64().unwrap();
        assert_close(total.nats, nats, 1e-6, &what);
        // The quantity that the tolerance of 1e-5 is about.
        let perplexity = (nats / number("tokens") as f64).exp();
        assert_close(language.measured.perplexity().value, perplexity, 1e-5, &what);
        if let Some(first) = entry["nats_of_first_documents"].as_array() {
            assert_eq!(language.documents, number("documents"));
            for (unit, want) in language.measured.units.iter().zip(first) {
                assert_close(unit.nats, want.as_f64().unwrap(), 1e-5, &what);
            }
        }
    }
}

#[test]
fn minimal_pairs_are_judged_as_by_pytorch() {
    let pairs = [Pairs::read("sv", &path("tests/perplexity/pairs.jsonl")).unwrap()];
    let expected = expected();
    let judged = expected["pairs"].as_array().unwrap();
    assert_eq!(judged.len(), 2);
    for entry in judged {
        let model = open(&path(&format!("recipes/quickstart/{}", entry["model"].as_str().unwrap())));
        let found = evaluate(&model, &[], &pairs, &rules(Unit::Document, 2048, 1024), 2);
        let judged = &found.pairs[0].judged;
        assert_eq!(judged.pairs(), 60);
        let accuracy = entry["right"].as_f64().unwrap() / 60.0;
        assert!((judged.accuracy().value - accuracy).abs() < 1e-12, "{entry}");
    }
}

#[test]
fn sums_depend_on_no_thread_and_no_packing() {
    let model = open(&path("recipes/quickstart/fo"));
    for rules in [rules(Unit::Document, 32, 24), rules(Unit::Window, 100, 50)] {
        let both = [text("fo"), text("is")];
        let reference = evaluate(&model, &both, &[], &rules, 1);
        for threads in [2, 7] {
            let other = evaluate(&model, &both, &[], &rules, threads);
            for (a, b) in reference.languages.iter().zip(&other.languages) {
                assert_eq!(a.measured.units, b.measured.units);
            }
        }
        // Alone, a language's windows fall into other batches.
        if rules.unit == Unit::Document {
            for few in [1, 7] {
                let mut text = text("is");
                text.documents.truncate(few);
                let alone = evaluate(&model, &[text], &[], &rules, 1);
                let all = &reference.languages[1].measured.units;
                assert_eq!(alone.languages[0].measured.units, all[..few]);
            }
        }
    }
}

#[test]
fn a_recipe_in_memory_is_the_checkpoint_it_would_write() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [text("et"), text("sv")];
    let rules = rules(Unit::Document, 256, 128);
    for name in ["quickstart", "ties", "dare_ties", "passthrough"] {
        let (recipe, out) = (path(&format!("recipes/{name}.yaml")), folder.path().join(name));
        let mut merge = command();
        merge.args(["merge", "--quiet", "--shard-size", "200kB"]).arg(&recipe).arg(&out).assert().success();
        // Paths in recipes are relative to the folder that tests run in.
        let (memory, disk) = (open(&recipe), open(&out));
        assert_eq!(memory.digest, disk.digest, "{name}");
        let (memory, disk) =
            (evaluate(&memory, &texts, &[], &rules, 2), evaluate(&disk, &texts, &[], &rules, 2));
        for (a, b) in memory.languages.iter().zip(&disk.languages) {
            assert_eq!(a.measured.units, b.measured.units, "{name}");
        }
    }
}
