//! The smallest study with everything real: tokenizer, training, growing, merges, measurements.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use growmerge_trainer::reproduce::{self, About, Lengths, Scale, Status, Study, Texts, Workshop};
use growmerge_trainer::train::{self, read_metrics};

struct Quiet;

impl reproduce::Watch for Quiet {
    fn begin(&self, _: &Study, _: &Lengths) {}
    fn stage(&self, _: &str, _: Status) {}
    fn measuring(&self, _: usize) {}
    fn measured(&self, _: usize) {}
}

impl train::Watch for Quiet {
    fn begin(&self, _: &train::About<'_>) {}
    fn line(&self, _: &train::Line) {}
}

fn corpus(folder: &Path) -> Texts {
    let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/quickstart/texts");
    for language in reproduce::all_languages() {
        let text = std::fs::read(texts.join(format!("{language}.txt"))).unwrap();
        std::fs::create_dir_all(folder.join(language)).unwrap();
        for part in ["train", "valid", "test"] {
            std::fs::write(folder.join(language).join(format!("{part}.txt")), &text).unwrap();
        }
    }
    Texts::open(folder).unwrap()
}

fn study() -> Study {
    let mut study = Scale::Smoke.study(Some(1));
    let model = &mut study.model;
    (model.hidden, model.intermediate, model.layers, model.vocab) = (16, 32, 1, 300);
    (model.heads, model.kv_heads, model.head_dim) = (2, 1, 8);
    (study.sequence, study.batch) = (32, 4);
    (study.steps.seed, study.steps.english, study.steps.language) = (30, 8, 8);
    study.merges.sizes = vec![5];
    (study.texts.test_tokens, study.texts.valid_tokens) = (200, 100);
    study
}

fn carry_out(out: &Path, threads: usize) -> String {
    let cancel = AtomicBool::new(false);
    let shards = out.join("shards");
    let maker = Workshop { threads, cancel: &cancel, shards: &shards, watch: &Quiet };
    let options = reproduce::Options { threads, cancel: &cancel, watch: &Quiet };
    let about = About {
        command: "a test".into(),
        version: env!("CARGO_PKG_VERSION"),
        commit: None,
        date: "today".into(),
        machine: "any".into(),
        seconds: 0.0,
    };
    reproduce::run(&study(), &corpus(&out.join("texts")), out, &maker, options, &about).unwrap();
    std::fs::read_to_string(out.join("results.csv")).unwrap()
}

/// Bits per byte of a model on a text, by the first columns of its row.
fn bits(csv: &str, setup: &str, model: &str, languages: &str, text: &str) -> f64 {
    let start = format!("1,{setup},{model},{languages},,,,{text},test,");
    let row = csv.lines().find_map(|l| l.strip_prefix(&start)).unwrap_or_else(|| panic!("no row {start}"));
    row.split(',').next().unwrap().parse().unwrap()
}

/// The folder of a stage, whose name ends in a digest.
fn folder(out: &Path, name: &str) -> PathBuf {
    let mut all = std::fs::read_dir(out.join("models")).unwrap().map(|e| e.unwrap().path());
    let named = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().rsplit_once('-').unwrap().0 == name;
    all.find(named).unwrap_or_else(|| panic!("no folder {name}"))
}

#[test]
fn the_smallest_study_trains_grows_merges_and_reports() {
    let out = tempfile::tempdir().unwrap();
    let csv = carry_out(out.path(), 2);
    for setup in ["1x", "1x-cloned", "2x"] {
        // Of a byte of which nothing is known.
        let english = bits(&csv, setup, "english", "en", "en");
        assert!(english < 8.0, "{setup}: {english}");
        for language in ["et", "fo", "is", "fa", "sv"] {
            let before = bits(&csv, setup, "english", "en", language);
            let after = bits(&csv, setup, "language", language, language);
            assert!(after < before, "{setup}: adaptation to {language} went from {before} to {after}");
        }
    }
    // A clone computes what it was cloned from, noise and all.
    for text in reproduce::all_languages() {
        let of = |setup| bits(&csv, setup, "english", "en", text);
        assert!((of("1x") - of("1x-cloned")).abs() < 1e-4, "{text}: {} and {}", of("1x"), of("1x-cloned"));
    }
    // What was trained is no clone any more.
    let lines = read_metrics(&folder(out.path(), "seed1-2x-et").join("metrics.jsonl")).unwrap();
    let last = lines.iter().rev().find_map(|l| match l {
        train::Line::Measured { asymmetry, .. } => *asymmetry,
        train::Line::Step { .. } => None,
    });
    assert!(last.unwrap() > 1e-3, "{last:?}");

    // Threads change nothing, from the tokenizer to the last merge.
    let other = tempfile::tempdir().unwrap();
    assert_eq!(carry_out(other.path(), 1), csv);
}
