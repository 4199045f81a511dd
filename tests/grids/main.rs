//! Grids: what a matrix expands to, against expansions written out here; what is refused; members as people run them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod commands;
mod expansion;
mod paper;
mod refusals;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use growmerge::recipe::{Assembly, Contents, Grid, Recipe, Settings};

fn grid(text: &str) -> Grid {
    match Contents::parse("grid.yaml", text) {
        Ok(Contents::Grid(grid)) => grid,
        Ok(Contents::Recipe(_)) => panic!("no grid"),
        Err(problems) => panic!("{problems}"),
    }
}

fn recipe_file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(name)).unwrap()
}

fn names(grid: &Grid) -> Vec<&str> {
    grid.members.iter().map(|m| m.name.as_str()).collect()
}

/// The recipe of a member that is right.
fn recipe(grid: &Grid, name: &str) -> Recipe {
    let member = grid.members.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("no {name}"));
    assert!(member.reading.problems.is_empty(), "{}", member.reading.problems);
    member.reading.book.as_ref().unwrap().result().unwrap().clone()
}

/// What a recipe says, places aside.
fn essence(recipe: &Recipe) -> String {
    let settings = |s: &Settings| -> BTreeSet<String> {
        s.iter().map(|(name, setting)| format!("{name} {:?}", setting.value)).collect()
    };
    let mut text = format!(
        "{} {:?} {:?}\n",
        recipe.method.value,
        recipe.dtype.as_ref().map(|d| d.value),
        settings(&recipe.parameters)
    );
    let _ = writeln!(text, "base {:?}", recipe.base_model.as_ref().map(|m| &m.value));
    match &recipe.assembly {
        Assembly::Models(entries) => {
            for entry in entries {
                let _ = writeln!(text, "{:?} {:?}", entry.model.value, settings(&entry.parameters));
            }
        }
        Assembly::Modules(_) => panic!("no grid of the tests has modules"),
        Assembly::Slices(slices) => {
            for source in slices.iter().flat_map(|s| &s.sources) {
                let _ = writeln!(
                    text,
                    "{:?} {:?} {:?}",
                    source.model.value,
                    source.layers,
                    settings(&source.parameters)
                );
            }
        }
    }
    text
}

/// Every member's text is a recipe of its own that says the same.
fn check_texts(grid: &Grid) {
    for member in &grid.members {
        let recipe = recipe(grid, &member.name);
        let again = Recipe::parse("again", &recipe.text).unwrap_or_else(|p| panic!("{p}\n{}", recipe.text));
        assert_eq!(essence(&again), essence(&recipe), "{}", recipe.text);
        assert_eq!(again.name.unwrap().value, member.name);
        assert!(!recipe.text.contains(['{', '}']) && !recipe.text.contains("matrix"), "{}", recipe.text);
    }
}

const SMALL: &str = "name: '{method}-{languages}'
merge_method: '{method}'
models:
  - model: common
  - for: l in languages
    model: m/{l}
parameters: {weight: 1}
matrix:
  method: [linear, karcher]
  languages: {subsets: [et, fo, sv], at_least: 2}
";
