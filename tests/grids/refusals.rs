//! What is wrong with a grid, and where it is said to be.

use growmerge::plan::{Plan, PlanOptions};
use growmerge::recipe::Contents;

use super::{SMALL, grid, recipe};

#[test]
fn lines_are_those_of_the_grid() {
    let text = SMALL.replace("weight: 1}", "weight: 1, wieght: 2}");
    let grid = grid(&text);
    let place = &recipe(&grid, "linear-et-fo").parameters.get("wieght").unwrap().place.clone();
    assert_eq!(place.spot.as_ref().unwrap().line, 7);
    let mut gathering = growmerge::problem::Gathering::new(grid.members.len());
    for member in &grid.members {
        let problems = Plan::from_reading(member.reading.clone(), &PlanOptions::default()).unwrap_err();
        gathering.add(&member.name, &problems);
    }
    insta::assert_snapshot!(gathering.problems());
}

/// A matrix that is wrong, what stands above it, and what is said.
#[test]
fn what_is_refused() {
    let above = SMALL.split("matrix:").next().unwrap();
    let axes = SMALL.split("matrix:\n").nth(1).unwrap();
    let wrong = |name: &str, text: &str| {
        let said = match Contents::parse("grid.yaml", text) {
            Err(problems) => problems.to_string(),
            Ok(Contents::Grid(grid)) => {
                let mut gathering = growmerge::problem::Gathering::new(grid.members.len());
                grid.members.iter().for_each(|m| gathering.add(&m.name, &m.reading.problems));
                assert!(grid.members.iter().any(|m| m.reading.book.is_none()), "{name}: accepted\n{text}");
                gathering.problems().to_string()
            }
            Ok(Contents::Recipe(reading)) => {
                assert!(reading.book.is_none(), "{name}: accepted\n{text}");
                reading.problems.to_string()
            }
        };
        assert!(said.contains("error: "), "{name}: {said}");
        format!("## {name}\n{said}\n\n")
    };
    let mut said = String::new();
    for (name, matrix) in [
        ("no mapping", "  - linear\n"),
        ("no axis", "  exclude: []\n"),
        ("an axis that is a word", "  method: linear\n  languages: [[a, b]]\n"),
        ("an empty axis", "  method: []\n  languages: [[a, b]]\n"),
        ("an odd name for an axis", "  'a b': [1]\n"),
        ("a value without a name", "  method: [{set: {}}]\n  languages: [[a, b]]\n"),
        ("no value", "  method: [~]\n  languages: [[a, b]]\n"),
        ("a value twice", "  method: [linear, linear]\n  languages: [[a, b]]\n"),
        ("a subset of too many", "  method: [linear]\n  languages: {subsets: [a, b], at_most: 3}\n"),
        ("a misspelt size", "  method: [linear]\n  languages: {subsets: [a, b], atleast: 2}\n"),
        ("half a member", "  method: [linear]\n  languages: {subsets: [a, b], at_least: 1.5}\n"),
        ("a mapping that is no subset", "  method: {a: linear}\n  languages: [[a, b]]\n"),
        (
            "set in a subset",
            "  method: [linear]\n  languages: {subsets: [{name: a, set: {dtype: float32}}]}\n",
        ),
        ("a name that is set", "  method: [{name: linear, set: {name: x}}]\n  languages: [[a, b]]\n"),
        (
            "2^60 members",
            &format!(
                "  method: [linear]\n  languages: {{subsets: [{}]}}\n",
                (0..60).map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
            ),
        ),
        (
            "more than can be counted",
            &format!(
                "  method: [linear]\n  languages: {{subsets: [{}]}}\n",
                (0..300).map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
            ),
        ),
    ] {
        said += &wrong(name, &format!("{above}matrix:\n{matrix}"));
    }
    for (name, more) in [
        ("an axis that is not there", "  exclude: [{methode: linear}]\n"),
        ("an exclusion of nothing", "  exclude: [{method: linear, languages: [et, se]}]\n"),
        ("everything excluded", "  exclude: [{method: [linear, karcher]}]\n"),
        ("an inclusion of what is there", "  include: [{method: linear}]\n"),
        ("an inclusion of half a member", "  include: [{method: ties}]\n"),
        ("an inclusion that is no list", "  include: [{method: ties, languages: et}]\n"),
        ("set where nothing is set", "  exclude: [{method: linear, set: {}}]\n"),
    ] {
        said += &wrong(name, &format!("{above}matrix:\n{axes}{more}"));
    }
    for (name, from, to) in [
        ("an unknown placeholder", "m/{l}", "m/{ll}"),
        ("an unknown placeholder of the recipe", "{weight: 1}", "{weight: '{wight}'}"),
        ("a field that is not there", "m/{l}", "m/{l.path}"),
        ("no placeholder", "m/{l}", "m/{ l }"),
        ("a placeholder without quotes", "{weight: 1}", "{weight: {method}}"),
        ("a loop over no list", "l in languages", "l in method"),
        ("a loop that is none", "l in languages", "languages"),
        ("a loop over nothing", "l in languages", "l in language"),
        ("a loop with an axis's name", "for: l in", "for: method in"),
        ("a name that many have", "'{method}-{languages}'", "'{method}'"),
        ("a name that differs by case only", "[linear, karcher]", "[linear, Linear]"),
        ("a name that is a path", "'{method}-{languages}'", "'../{method}/{languages}'"),
        ("a placeholder in a name", "'{method}-{languages}'", "'{methods}'"),
        ("two documents", "name:", "merge_method: linear\n---\nname:"),
        ("no matrix", "matrix:", "matrices:"),
    ] {
        assert!(SMALL.contains(from), "{name}");
        said += &wrong(name, &SMALL.replace(from, to));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn limits_are_where_they_are_said_to_be() {
    let of = |n: usize, models: usize| {
        let numbers: Vec<String> = (0..n).map(|i| i.to_string()).collect();
        let models: String = (0..models).map(|i| format!("  - model: m{i}\n")).collect();
        format!(
            "merge_method: linear\nname: 'n{{a}}'\nmodels:\n{models}matrix:\n  a: [{}]\n",
            numbers.join(", ")
        )
    };
    assert_eq!(grid(&of(10_000, 1)).members.len(), growmerge::recipe::MAX_MEMBERS);
    let problems = |text: &str| match Contents::parse("grid.yaml", text) {
        Err(problems) => problems.to_string(),
        Ok(_) => panic!("accepted"),
    };
    assert!(problems(&of(10_001, 1)).contains("more than 10000 members: a has 10001"));
    assert!(problems(&of(9_000, 2_000)).contains("too large once it is expanded"));
}
