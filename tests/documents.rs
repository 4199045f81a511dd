//! Several documents in one file: what is read of them, in which order, and what is refused.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use growmerge::plan::{Plan, PlanOptions};
use growmerge::recipe::{Book, Named, Reading, Recipe};

const MODEL: &str = "recipes/quickstart/et";

/// A document that merges these models.
fn document(name: &str, models: &[&str]) -> String {
    let name = if name.is_empty() { String::new() } else { format!("name: {name}\n") };
    let models: String = models.iter().map(|m| format!("  - model: {m}\n")).collect();
    format!("{name}merge_method: linear\nmodels:\n{models}parameters: {{weight: 1}}\n")
}

fn file(documents: &[(&str, &[&str])]) -> String {
    documents.iter().map(|(name, models)| document(name, models)).collect::<Vec<_>>().join("---\n")
}

fn book(text: &str) -> Book {
    let reading = Reading::parse("r.yaml", text);
    reading.book.unwrap_or_else(|| panic!("{}", reading.problems))
}

fn names(book: &Book) -> Vec<&str> {
    book.stages.iter().map(|s| s.name.as_ref().map_or("-", |n| n.value.as_str())).collect()
}

fn problems(text: &str) -> String {
    let reading = Reading::parse("r.yaml", text);
    assert!(reading.book.is_none(), "this was accepted:\n{text}");
    reading.problems.to_string()
}

#[test]
fn stages_come_before_what_is_made_from_them() {
    let text = file(&[("", &["b", MODEL]), ("a", &[MODEL]), ("b", &["a", MODEL])]);
    let book = book(&text);
    assert_eq!(names(&book), ["a", "b", "-"]);
    assert_eq!(book.position("b"), Some(1));
    assert_eq!(book.position("-"), None);
    let result = book.result().unwrap();
    let named: Vec<(&str, Named)> =
        result.models().iter().map(|m| (m.value.path.as_str(), m.value.named)).collect();
    assert_eq!(named, [("b", Named::Stage), (MODEL, Named::Path)]);
}

/// Against a plain search for an order, over all graphs of four documents.
#[test]
fn an_order_is_found_exactly_when_there_is_one() {
    let all = ["a", "b", "c", ""];
    let mut circles = 0;
    for graph in 0u32..1 << 12 {
        // Three bits for each document: which of a, b, c it is made from.
        let uses = |i: usize| (0..3).filter(move |j| graph >> (3 * i + j) & 1 == 1);
        let models: Vec<Vec<&str>> =
            (0..4).map(|i| uses(i).map(|j| all[j]).chain([MODEL]).collect()).collect();
        let documents: Vec<(&str, &[&str])> = (0..4).map(|i| (all[i], models[i].as_slice())).collect();
        let reading = Reading::parse("r.yaml", &file(&documents));
        let mut done: Vec<usize> = Vec::new();
        while let Some(i) = (0..3).find(|i| !done.contains(i) && uses(*i).all(|j| done.contains(&j))) {
            done.push(i);
        }
        match reading.book {
            Some(book) => {
                assert_eq!(done.len(), 3, "{graph}");
                let names = names(&book);
                assert_eq!((names.len(), names[3]), (4, "-"));
                for i in 0..3 {
                    let at = |j: usize| names.iter().position(|n| *n == all[j]).unwrap();
                    assert!(uses(i).all(|j| at(j) < at(i)), "{graph}: {names:?}");
                }
                let used = |i: usize| (0..4).any(|j| uses(j).any(|k| k == i));
                let warned = |i: usize| {
                    reading.problems.to_string().contains(&format!("nothing is made from stage `{}`", all[i]))
                };
                assert!((0..3).all(|i| used(i) != warned(i)), "{graph}: {}", reading.problems);
            }
            None => {
                circles += 1;
                assert!(done.len() < 3, "{graph}: {}", reading.problems);
                assert_eq!(reading.problems.iter().filter(|p| p.what.contains("circle")).count(), 1);
            }
        }
    }
    assert!(circles > 1000);
}

#[test]
fn without_an_unnamed_document_the_result_is_the_last_that_no_other_uses() {
    let book = book(&file(&[("p", &["q", MODEL]), ("q", &[MODEL]), ("r", &[MODEL]), ("s", &["q"])]));
    assert_eq!(book.result().unwrap().name.as_ref().unwrap().value, "s");
    assert_eq!(names(&book).len(), 4);
}

/// A stage's text is a recipe file of its own.
#[test]
fn every_stage_has_the_text_that_gives_just_it() {
    let text = file(&[("a", &[MODEL]), ("b", &["a", MODEL]), ("c", &[MODEL]), ("", &["b", "c"])]);
    let text = format!("# two roads\n{text}");
    let whole = book(&text);
    for stage in &whole.stages {
        let alone = book(&stage.text);
        assert_eq!(
            alone.result().unwrap().name.as_ref().map(|n| &n.value),
            stage.name.as_ref().map(|n| &n.value)
        );
        let models = |r: &Recipe| r.models().iter().map(|m| m.value.clone()).collect::<Vec<_>>();
        assert!(
            alone.stages.len() > 1
                || alone.result().unwrap().models().iter().all(|m| m.value.named == Named::Path)
        );
        assert_eq!(models(alone.result().unwrap()), models(stage));
    }
    assert_eq!(whole.result().unwrap().text, text);
    let b = &whole.stages[whole.position("b").unwrap()].text;
    assert!(b.contains("name: a") && b.contains("name: b") && !b.contains("name: c"), "{b}");
}

#[test]
fn one_document_is_a_recipe_however_it_is_marked() {
    let plain = document("et", &[MODEL]);
    let marked = [
        plain.clone(),
        format!("---\n{plain}"),
        format!("# about\n---\n{plain}...\n"),
        format!("%YAML 1.2\n---\n{plain}---\n# nothing\n"),
        format!("---\n---\n{plain}"),
        format!("\u{feff}{plain}"),
        format!("{plain}\n--- # nothing\n").replace('\n', "\r\n"),
    ];
    for text in marked {
        let recipe = Recipe::parse("r.yaml", &text).unwrap_or_else(|p| panic!("{text}\n{p}"));
        assert_eq!(recipe.models()[0].value.path, MODEL);
        assert_eq!(recipe.models()[0].value.named, Named::Path, "its name is no stage");
    }
    // A document may begin on its marker, and text may hold what looks like one.
    let two = format!(
        "--- {{name: a, merge_method: linear, models: [{{model: {MODEL}}}]}}\n---\n{}",
        document("", &["a"])
    );
    assert_eq!(names(&book(&two)), ["a", "-"]);
    let text = format!("{}# ---\n", document("", &[&format!("\"{MODEL}\" # ---\n")]));
    assert_eq!(book(&text).stages.len(), 1);
}

#[test]
fn lines_are_those_of_the_file() {
    let text = format!("# a\n\n{}\n---\n\n{}", document("a", &[MODEL]), document("", &["a", "aa/b"]));
    let line = text.lines().position(|l| l.contains("aa/b")).unwrap() + 1;
    let found = book(&text).result().unwrap().models()[1].place.clone();
    assert_eq!((found.path.as_str(), found.spot.unwrap().line), ("documents[1].models[1].model", line));
    let broken = format!("{text}---\nname: [\n");
    let last = broken.lines().count();
    assert!(
        problems(&broken).contains(&format!("r.yaml:{last}:"))
            || problems(&broken).contains(&format!("r.yaml:{}:", last + 1)),
        "{}",
        problems(&broken)
    );
}

#[test]
fn what_is_wrong_is_said_all_at_once() {
    let text = file(&[
        ("first", &[MODEL]),
        ("first", &[MODEL]),
        ("here", &["there", MODEL]),
        ("there", &["here", MODEL]),
        ("", &["frist", MODEL]),
        ("", &["first", MODEL]),
    ]);
    insta::assert_snapshot!(problems(&text));
    insta::assert_snapshot!(problems(&file(&[("self", &["self", MODEL]), ("", &[MODEL])])));
    let text = file(&[("a", &[MODEL]), ("", &["a"])]).replace("merge_method: linear\n", "");
    insta::assert_snapshot!(problems(&text));
    let many = vec![("", &[MODEL] as &[&str]); 257];
    assert!(problems(&file(&many)).contains("257 documents in one file; 256 are allowed"));
}

/// Until stages can be merged, a plan says so, and whatever else is wrong.
#[test]
fn a_plan_checks_the_names_of_every_document() {
    let text = file(&[("a", &["nowhere/at-all"]), ("", &["a", MODEL])]).replacen("linear", "lineer", 1);
    let problems = Plan::from_reading(Reading::parse("r.yaml", &text), &PlanOptions::default()).unwrap_err();
    let problems = problems.to_string();
    assert!(problems.contains("did you mean `linear`?") && problems.contains("nowhere/at-all"), "{problems}");
    assert!(!problems.contains("`a`"), "{problems}");
}
