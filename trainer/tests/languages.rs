//! Ways to merge languages, tried on models that are made in no time.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod forger;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use growmerge::problem::{Error, ExecError};
use growmerge_trainer::languages::{Arm, Effort, Experiment, run};
use growmerge_trainer::reproduce::{Lengths, Options, Scale, Status, Study, Texts, Watch, all_languages};

use forger::{Forger, about, corpus, root};

struct Quiet;

impl Watch for Quiet {
    fn begin(&self, _: &Study, _: &Lengths) {}
    fn stage(&self, _: &str, _: Status) {}
    fn measuring(&self, _: usize) {}
    fn measured(&self, _: usize) {}
}

fn experiment(only: &[&str]) -> Experiment {
    let effort = Effort {
        tries: 2,
        fit_bytes: 1500,
        choose_tokens: 40,
        test_tokens: 60,
        learned_steps: 2,
        round_steps: 3,
    };
    let only = only.iter().map(|o| (*o).to_owned()).collect();
    Experiment { study: Scale::Mini.study(Some(1)), effort, arms: vec![Arm::Small], only, page: None }
}

fn carry_out(experiment: &Experiment, texts: &Texts, out: &Path, maker: &Forger) -> Result<String, Error> {
    let never = AtomicBool::new(false);
    let options = Options { threads: 2, cancel: &never, watch: &Quiet };
    let report = run(experiment, texts, out, maker, options, &about())?;
    assert_eq!(report, out.join("language-level/report.md"));
    Ok(std::fs::read_to_string(out.join("language-level/results.csv")).unwrap())
}

/// Of every merge and goal, its settings and its bits per byte of English.
fn english(csv: &str) -> BTreeMap<(String, String), (String, f64)> {
    let rows = csv.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    let rows = rows.filter(|row| row[7] == "en");
    rows.map(|row| ((row[2].into(), row[4].into()), (row[5].into(), row[8].parse().unwrap()))).collect()
}

#[test]
fn every_merge_is_tried_reported_and_then_found() {
    let out = tempfile::tempdir().unwrap();
    let texts = corpus(&out.path().join("texts"));
    let page = out.path().join("page.md");
    let marks = "before\n<!-- tables: growmerge-trainer languages -->\n<!-- end of tables -->\nafter\n";
    std::fs::write(&page, marks).unwrap();
    let mut experiment = experiment(&[]);
    experiment.page = Some(page.clone());
    let csv = carry_out(&experiment, &texts, out.path(), &Forger::default()).unwrap();
    let found = english(&csv);
    assert!(found.len() > 40 && found.values().all(|(_, bits)| (0.5..9.0).contains(bits)), "{found:?}");
    let report = std::fs::read_to_string(out.path().join("language-level/report.md")).unwrap();
    let page = std::fs::read_to_string(&page).unwrap();
    for ((name, _), (settings, _)) in &found {
        assert!(report.contains(&format!("| {}", name.replace('_', "\\_"))), "{name}");
        assert!(page.contains(&format!("| {}", name.replace('_', "\\_"))) || name == "own models", "{name}");
        assert!(!settings.contains("NaN"), "{name}: {settings}");
    }
    assert!(page.starts_with("before\n") && page.ends_with("after\n"));
    assert!(!report.contains("NaN"), "{report}");
    // No model that merges are not made of.
    let models = std::fs::read_dir(out.path().join("models")).unwrap().map(|e| e.unwrap().file_name());
    assert!(models.map(|m| m.into_string().unwrap()).all(|m| !m.contains("shorter") && !m.contains("2x")));

    // Again: nothing is made, nothing measured.
    let ledger = std::fs::read(out.path().join("language-level/measured.jsonl")).unwrap();
    let again = Forger::default();
    assert_eq!(carry_out(&experiment, &texts, out.path(), &again).unwrap(), csv);
    assert!(again.made.borrow().is_empty());
    assert_eq!(std::fs::read(out.path().join("language-level/measured.jsonl")).unwrap(), ledger);
}

/// With another test text everything is chosen as before, and other numbers are reported.
#[test]
fn test_text_chooses_nothing() {
    let out = tempfile::tempdir().unwrap();
    let texts = corpus(&out.path().join("texts"));
    let mut experiment = experiment(&["task_arithmetic", "embedding and body", "token rows"]);
    experiment.effort.tries = 5;
    let maker = Forger::default();
    let one = english(&carry_out(&experiment, &texts, out.path(), &maker).unwrap());
    for language in all_languages() {
        let other = root().join(format!("recipes/quickstart/texts/{language}.txt"));
        let lines = std::fs::read_to_string(other).unwrap();
        let lines: Vec<String> = lines.lines().map(|l| l.chars().rev().collect()).collect();
        std::fs::write(out.path().join(format!("texts/{language}/test.txt")), lines.join("\n") + "\n")
            .unwrap();
    }
    let texts = Texts::open(&out.path().join("texts")).unwrap();
    let other = english(&carry_out(&experiment, &texts, out.path(), &maker).unwrap());
    let settings = |found: &BTreeMap<_, (String, f64)>| -> Vec<String> {
        found.values().map(|(settings, _)| settings.clone()).collect()
    };
    assert_eq!(settings(&one), settings(&other));
    assert!(one.iter().all(|(key, (_, bits))| *bits != other[key].1), "{one:?} {other:?}");
}

#[test]
fn what_cannot_be_tried_is_said() {
    let out = tempfile::tempdir().unwrap();
    let texts = corpus(&out.path().join("texts"));
    let told = carry_out(&experiment(&["tie"]), &texts, out.path(), &Forger::default()).unwrap_err();
    assert!(told.to_string().contains("names no merge") && told.to_string().contains("ties"), "{told}");
    let mut other = experiment(&["linear"]);
    other.page = Some(out.path().join("page.md"));
    std::fs::write(out.path().join("page.md"), "a page\n").unwrap();
    let told = carry_out(&other, &texts, out.path(), &Forger::default()).unwrap_err();
    assert!(told.to_string().contains("page.md: has no `<!-- tables"), "{told}");

    static STOP: AtomicBool = AtomicBool::new(false);
    let out = tempfile::tempdir().unwrap();
    let maker = Forger { stop: Some((3, &STOP)), ..Forger::default() };
    let options = Options { threads: 2, cancel: &STOP, watch: &Quiet };
    let stopped = run(&experiment(&["linear"]), &texts, out.path(), &maker, options, &about());
    assert!(matches!(stopped, Err(Error::Exec(ExecError::Interrupted))), "{stopped:?}");
    assert_eq!(maker.made.borrow().len(), 3);
    carry_out(&experiment(&["linear"]), &texts, out.path(), &Forger::default()).unwrap();
}
