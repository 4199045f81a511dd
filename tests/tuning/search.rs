//! `tune --search`: by values alone.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use growmerge::decoder::{Config, Decoder};
use growmerge::eval::{Judged, ModelSource, Pairs, measure};
use growmerge::problem::{Error, ExecError};
use growmerge::tune::{Aims, Evaluation, Found, Goal, Groups, Running, Search, Tried, Watch, front, search};

use super::cli::World;
use super::support::Silent;
use super::{bits, goal, planned, recipe, text, tokenizer};

/// Stops before this point.
struct Until<'a>(u64, &'a AtomicBool);

impl Watch for Until<'_> {
    fn step(&self, point: u64, values: &[f64]) {
        assert!(!values.is_empty() && values.iter().all(|x| x.is_finite()));
        self.1.store(point + 1 == self.0, Ordering::Relaxed);
    }

    fn looked(&self, _: &Evaluation) {}
}

/// Sentences, and the same with two neighbouring words the other way round.
fn swapped(language: &str, count: usize) -> Pairs {
    let swap = |(i, good): (usize, String)| {
        let mut words: Vec<&str> = good.split(' ').collect();
        let at = 1 + i % (words.len() - 2);
        words.swap(at, at + 1);
        [words.join(" "), good].map(|s| s.chars().take(250).collect::<String>())
    };
    let documents = text(language, 100, count).documents.into_iter().enumerate();
    let pairs = documents.map(swap).map(|[bad, good]| [good, bad]);
    Pairs { language: language.into(), sentences: pairs.flatten().collect() }
}

/// The recipe with too little of each model.
fn timid() -> String {
    recipe().replace("weight: 0.5", "weight: 0.1")
}

fn settings(groups: Groups) -> Search {
    Search { values: 40, tokens: 600, ..Search::of(groups) }
}

fn searched(
    texts: Option<Goal>,
    pairs: Vec<(f64, Pairs)>,
    settings: &Search,
    (threads, stop): (usize, u64),
) -> Result<Found, Error> {
    let aims = Aims::new(texts, pairs, (&tokenizer(), 2048, 128), settings).unwrap();
    let cancel = AtomicBool::new(false);
    let watch = Until(stop, &cancel);
    search(
        &planned(&timid()),
        &aims,
        settings,
        &Running { threads, cancel: &cancel, watch: &watch, state: None },
    )
}

#[test]
fn a_few_values_find_better_coefficients_and_threads_change_no_bit() {
    let settings = settings(Groups::Model);
    let found = searched(Some(goal()), Vec::new(), &settings, (1, 0)).unwrap();
    let (best, first) = found.tuned.gain().unwrap();
    assert!(best.value < first.value - 0.05, "{} from {}", best.value, first.value);
    assert!(found.tried.len() <= 40 && found.tried[0].x == [1.0, 1.0]);
    assert_eq!(found.tried[found.tuned.step as usize].x, found.tuned.best);
    let mut so_far = f64::INFINITY;
    for look in &found.tuned.looks {
        let value = found.tried[look.step as usize].value;
        assert!(value < so_far, "only the best so far are looked at");
        so_far = value;
    }
    assert_eq!(so_far, found.tried.iter().map(|t| t.value).fold(f64::INFINITY, f64::min));
    let again = searched(Some(goal()), Vec::new(), &settings, (3, 0)).unwrap();
    assert_eq!(found.tried, again.tried);
    assert_eq!(found.tuned.looks, again.tuned.looks);
    assert_eq!(bits(&found.tuned.best), bits(&again.tuned.best));
    let other = searched(Some(goal()), Vec::new(), &Search { seed: 1, ..settings }, (2, 0)).unwrap();
    assert_ne!(found.tried[1].x, other.tried[1].x);
}

#[test]
fn more_of_the_pairs_are_judged_right() {
    let pairs = || vec![(1.0, swapped("et", 96)), (0.5, swapped("fa", 48))];
    let settings = settings(Groups::Model);
    let found = searched(None, pairs(), &settings, (2, 0)).unwrap();
    let (best, first) = found.tuned.gain().unwrap();
    let most = found.tried.iter().map(|t| t.value).fold(f64::INFINITY, f64::min);
    assert!(most < found.tried[0].value - 0.03, "{most} from {}", found.tried[0].value);
    assert!(best.value <= first.value, "the recipe is among what is kept");
    // What was tried is what evaluation finds of the merged model.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.safetensors");
    let plan = planned(&timid());
    found.tuned.write(&plan, &file).unwrap();
    let merged = planned(&found.tuned.recipe(&plan, &file.display().to_string()).unwrap());
    let model = ModelSource::planned("found", merged).unwrap().load(2, &Silent).unwrap();
    let config = Config::read(&model.config, "found").unwrap();
    let decoder = Decoder::new(config, model.tensors(), "found", 128).unwrap();
    for (i, (_, pairs)) in pairs().into_iter().enumerate() {
        // Of few pairs every eighth is held out.
        let out = |at: &usize| at / 2 % 8 == 7;
        let sentences = pairs.sentences.iter().enumerate().filter(|(at, _)| out(at));
        let held_out = Pairs { sentences: sentences.map(|(_, s)| s.clone()).collect(), ..pairs.clone() };
        let prepared = [held_out.prepare(&tokenizer(), 2048, 128).unwrap()];
        let accuracy = Judged::new(&measure(&decoder, &prepared, 1, &Silent)[0]).accuracy().value;
        assert!((1.0 - accuracy - best.bits[i]).abs() < 1e-12, "{accuracy} and {}", best.bits[i]);
    }
}

#[test]
fn texts_and_pairs_count_together() {
    let settings = Search { values: 9, ..settings(Groups::Model) };
    let pairs = vec![(1.0, swapped("et", 32)), (3.0, swapped("fa", 32))];
    let found = searched(Some(goal()), pairs, &settings, (2, 0)).unwrap();
    for Tried { values, value, .. } in &found.tried {
        let texts = 0.2 * values[0] + 0.4 * values[1] + 0.4 * values[2];
        let wrong = 0.25 * values[3] + 0.75 * values[4];
        assert!((texts + wrong - value).abs() < 1e-12, "{values:?}");
    }
}

#[test]
fn an_interruption_ends_a_search() {
    let stopped = searched(Some(goal()), Vec::new(), &settings(Groups::Model), (2, 3));
    assert!(matches!(stopped, Err(Error::Exec(ExecError::Interrupted))));
}

/// Numbers of a file of comma-separated values, below its first line.
fn table(path: &Path) -> (String, Vec<Vec<String>>) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let first = lines.next().unwrap().to_owned();
    (first, lines.map(|line| line.split(',').map(str::to_owned).collect()).collect())
}

#[test]
fn the_command_writes_a_front_without_points_that_another_beats() {
    let world = World::new(&timid());
    let pairs = swapped("et", 24);
    let line = |pair: &[String]| serde_json::json!({"good": pair[0], "bad": pair[1]}).to_string();
    let lines: Vec<String> = pairs.sentences.chunks(2).map(line).collect();
    std::fs::write(world.0.path().join("pairs.jsonl"), lines.join("\n")).unwrap();
    let words =
        "--texts texts --pairs et=pairs.jsonl --values 16 --tokens 200 --front front.csv --html page.html";
    let (code, said) = world.tune(words);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("after point 0, held out: ") && said.contains("(en "), "{said}");
    assert!(said.contains("et pairs") && said.contains("2 coefficients, the best of "), "{said}");
    let (first, rows) = table(&world.0.path().join("front.csv"));
    assert_eq!(first, "point,kept,objective,en,et,fa,et pairs,coefficient of et,coefficient of fa");
    let values: Vec<Vec<f64>> =
        rows.iter().map(|row| row[3..7].iter().map(|x| x.parse().unwrap()).collect()).collect();
    assert!(values.len() > 1, "what one language gains costs another: {rows:?}");
    for (i, a) in values.iter().enumerate() {
        for (j, b) in values.iter().enumerate().filter(|(j, _)| *j != i) {
            assert!(a.iter().zip(b).any(|(a, b)| a < b), "{i} is no better than {j} in anything: {rows:?}");
        }
    }
    let page = std::fs::read_to_string(world.0.path().join("page.html")).unwrap();
    assert!(page.contains("searched for by trying") && page.contains("Coefficients of et"));
    let merge = super::support::command()
        .current_dir(world.0.path())
        .args(["merge", "out.yaml", "model", "--quiet"])
        .output()
        .unwrap();
    assert!(merge.status.success(), "{}", String::from_utf8_lossy(&merge.stderr));
    let (code, said) = world.tune("--pairs et=pairs.jsonl --values 1 --json --overwrite");
    assert_eq!(code, 0, "{said}");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["points"], &said["languages"]), (&7.into(), &serde_json::json!(["et pairs"])));
}

#[test]
fn the_front_is_of_all_that_was_tried() {
    let found = searched(Some(goal()), Vec::new(), &settings(Groups::Layer), (2, 0)).unwrap();
    let on_front = front(&found.tried);
    for (at, tried) in found.tried.iter().enumerate() {
        let beaten = on_front.iter().any(|b| {
            let pairs = || found.tried[*b].values.iter().zip(&tried.values);
            pairs().all(|(b, a)| b <= a) && pairs().any(|(b, a)| b < a)
        });
        assert_ne!(beaten, on_front.contains(&at), "point {at}");
    }
    let names = found.tuned.space.names();
    assert_eq!(names.len(), found.tuned.space.len());
    assert!(names.contains(&"et/model.layers.0 attention".to_owned()), "{names:?}");
}

#[test]
fn what_no_search_can_be_is_told_before_it_begins() {
    let world = World::new(&recipe());
    std::fs::write(world.0.path().join("one.jsonl"), r#"{"good": "a b", "bad": "b a"}"#).unwrap();
    std::fs::write(world.0.path().join("none.jsonl"), r#"{"text": "a b"}"#).unwrap();
    for (words, wanted) in [
        ("--search", "there is no text to fit coefficients to"),
        ("--texts texts --search --steps 4", "cannot be used with"),
        ("--texts texts --search --rate 0.1", "cannot be used with"),
        ("--texts texts --search --resume", "cannot be used with"),
        ("--pairs et=one.jsonl --patience 2", "cannot be used with"),
        ("--texts texts --values 9", "is of a search, and there is none"),
        ("--texts texts --front f.csv", "is of a search, and there is none"),
        ("--texts texts --search --sigma 0", "--sigma"),
        ("--texts texts --search --values 0", "--values"),
        ("--texts texts --search --front nowhere/f.csv", "no such folder"),
        ("--texts texts --search --groups tensor", "a search takes at most 50"),
        (
            "--texts texts --search --groups row",
            "hint: `layer`, one for each layer's attention, MLP and norms, makes 28",
        ),
        ("--pairs et=one.jsonl", "nothing is left to hold out"),
        ("--pairs et=none.jsonl", "is not a pair of sentences"),
        ("--pairs et=one.jsonl --pairs et=one.jsonl", "two files of pairs of `et`"),
        ("--texts texts --pairs et=one.jsonl --share sv=2", "there is no text of `sv`"),
        ("--pairs et=one.jsonl --held-out et=texts/et.txt", "there are only pairs"),
        ("--pairs et=one.jsonl --bos none", "pairs need a token to begin with"),
    ] {
        let (code, said) = world.tune(words);
        assert_eq!(code, 2, "{words}: {said}");
        assert!(said.contains(wanted), "{words}: {said}");
        assert!(!world.0.path().join("out.yaml").exists(), "{words}");
    }
}
