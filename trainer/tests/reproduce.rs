//! A whole study on models that are made in no time: what is made, measured, skipped and written.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod forger;

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use growmerge::problem::{Error, ExecError};
use growmerge_trainer::reproduce::{Lengths, Options, Scale, Status, Study, Watch, run};
use growmerge_trainer::train::config::Run;
use serde_json::Value;

use forger::{Forger, about, corpus};

/// Counts what it is told.
#[derive(Default)]
struct Count {
    total: Cell<usize>,
    measured: Cell<usize>,
    found: Cell<usize>,
    done: Cell<usize>,
}

impl Watch for Count {
    fn begin(&self, _: &Study, _: &Lengths) {}
    fn stage(&self, _: &str, status: Status) {
        match status {
            Status::Found => self.found.set(self.found.get() + 1),
            Status::Begun => {}
            Status::Done { .. } => self.done.set(self.done.get() + 1),
        }
    }
    fn measuring(&self, total: usize) {
        self.total.set(total);
    }
    fn measured(&self, count: usize) {
        self.measured.set(self.measured.get() + count);
    }
}

fn study() -> Study {
    let mut study = Scale::Mini.study(Some(2));
    study.merges.sizes = vec![5];
    study.merges.lambdas = vec![1.0, 2.0];
    study.texts.test_tokens = 60;
    study.texts.valid_tokens = 30;
    study
}

static NEVER: AtomicBool = AtomicBool::new(false);

fn carry_out(study: &Study, out: &Path, maker: &Forger, cancel: &AtomicBool) -> (Count, Result<(), Error>) {
    let corpus = corpus(&out.join("texts"));
    let watch = Count::default();
    let options = Options { threads: 2, cancel, watch: &watch };
    let result = run(study, &corpus, out, maker, options, &about()).map(drop);
    (watch, result)
}

#[test]
fn a_study_is_made_measured_reported_and_then_found() {
    let folder = tempfile::tempdir().unwrap();
    let maker = Forger::default();
    let (watch, result) = carry_out(&study(), folder.path(), &maker, &NEVER);
    result.unwrap();
    // The tokenizer; for each of two seeds: seed, two English, two grown, three setups of six, and ten shorter runs.
    assert_eq!((watch.done.get(), watch.found.get()), (1 + 2 * (5 + 18 + 10), 0));
    assert_eq!(watch.measured.get(), watch.total.get(), "what was announced was measured");

    let json: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("results.json")).unwrap()).unwrap();
    let html = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    let markdown = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    let csv = std::fs::read_to_string(folder.path().join("results.csv")).unwrap();
    let measurements = json["measurements"].as_array().unwrap();
    // Three setups of two seeds: English, five languages, joint, ten at equal cost in the large ones, and 8 merges;
    // and of three methods two lambdas with two numbers each.
    assert_eq!(measurements.len(), 2 * (6 * (3 * 7 + 2 * 10 + 3 * 8) + 3 * 3 * 2 * 2));
    assert_eq!(csv.lines().count(), 1 + measurements.len());

    let shown = |text: &str| {
        let escaped = text.replace('&', "&amp;").replace('\'', "&#39;");
        assert!(html.contains(&escaped), "not in the page: {text}");
        let plain = |s: &str| s.replace('\\', "").replace("&#39;", "'").replace("&gt;", ">");
        assert!(plain(&markdown).contains(&plain(text)), "not in the Markdown: {text}");
    };
    let claims = json["claims"].as_array().unwrap();
    assert_eq!(claims.len(), 4);
    for sentence in claims.iter().flat_map(|c| c["answer"].as_array().unwrap()) {
        shown(sentence.as_str().unwrap());
    }
    for table in json["tables"].as_array().unwrap() {
        shown(table["title"].as_str().unwrap());
        let rows = table["table"][1].as_array().unwrap();
        assert!(!rows.is_empty(), "{}", table["title"]);
        for cell in rows.iter().flat_map(|r| r.as_array().unwrap()) {
            let cell = cell.as_str().unwrap();
            shown(cell);
            assert!(!cell.contains("NaN") && !cell.contains('–'), "{}: {cell}", table["title"]);
        }
    }
    assert!(html.matches("<svg").count() > 10 && !html.contains("NaN"));

    // Again: nothing is made, nothing measured, and the numbers are the same.
    let ledger = std::fs::read(folder.path().join("measured.jsonl")).unwrap();
    let again = Forger::default();
    let (watch, result) = carry_out(&study(), folder.path(), &again, &NEVER);
    result.unwrap();
    assert!(again.made.borrow().is_empty());
    assert_eq!(watch.done.get(), 0);
    assert_eq!(std::fs::read(folder.path().join("measured.jsonl")).unwrap(), ledger);
    assert_eq!(std::fs::read_to_string(folder.path().join("results.csv")).unwrap(), csv);

    // Another grid uses the same models; another learning rate makes all but the tokenizer anew.
    let mut wider = study();
    wider.merges.sizes = vec![4, 5];
    carry_out(&wider, folder.path(), &again, &NEVER).1.unwrap();
    assert!(again.made.borrow().is_empty());
    let mut other = study();
    other.seeds = vec![1];
    other.learning_rate = 1e-3;
    let (watch, result) = carry_out(&other, folder.path(), &again, &NEVER);
    result.unwrap();
    assert_eq!((watch.found.get(), watch.done.get()), (1, 33));
}

/// What setups share is the same, and what they do not share is all that differs.
#[test]
fn runs_of_all_setups_read_the_same_texts_in_the_same_order() {
    let folder = tempfile::tempdir().unwrap();
    let maker = Forger::default();
    let mut study = study();
    study.seeds = vec![3];
    carry_out(&study, folder.path(), &maker, &NEVER).1.unwrap();
    let runs = maker.runs.borrow();
    let reading = |name: &str| -> Vec<&Run> {
        runs.iter().filter(|r| r.data.sources.len() == 2 && r.data.sources[0].name == name).collect()
    };
    for language in ["et", "fo", "is", "fa", "sv"] {
        let found = reading(language);
        assert!(found.iter().all(|r| r.seed == found[0].seed && r.data == found[0].data));
        // The small model, both large ones, and each large one again for as long as costs what the small one's run did.
        let (whole, shorter): (Vec<&Run>, Vec<&Run>) =
            found.iter().copied().partition(|r| r.steps == found[0].steps);
        assert_eq!((whole.len(), shorter.len()), (3, 2));
        assert!(shorter.iter().all(|r| r.steps < found[0].steps && r.checkpoints.keep.is_empty()));
        let keeps = whole.iter().filter(|r| r.checkpoints.keep == [shorter[0].steps]).count();
        assert_eq!(keeps, 2, "large models are kept where they cost as much, the small one is not");
    }
    let joint: Vec<&Run> = runs.iter().filter(|r| r.data.sources.len() == 6).collect();
    let alone: u64 = ["et", "fo", "is", "fa", "sv"].map(|l| reading(l)[0].steps).iter().sum();
    assert!(
        joint.len() == 3 && joint.iter().all(|r| r.steps == alone),
        "joint training sees the same amount"
    );
    let mut seeds: Vec<u64> = runs.iter().map(|r| r.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds, (300..308).collect::<Vec<_>>(), "eight orders of texts");
}

#[test]
fn an_interrupted_study_goes_on_where_it_was() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let folder = tempfile::tempdir().unwrap();
    let mut study = study();
    study.seeds = vec![1];
    let maker = Forger { stop: Some((9, &STOP)), ..Forger::default() };
    let (watch, result) = carry_out(&study, folder.path(), &maker, &STOP);
    assert!(matches!(result, Err(Error::Exec(ExecError::Interrupted))));
    let before = watch.done.get();
    assert!((1..20).contains(&before));
    assert!(!folder.path().join("report.html").exists());
    let rest = Forger::default();
    let (watch, result) = carry_out(&study, folder.path(), &rest, &NEVER);
    result.unwrap();
    assert_eq!((watch.found.get(), watch.done.get()), (before, 34 - before));
}
