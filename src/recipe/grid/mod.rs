//! Grids: a `matrix:` of axes that makes one recipe into many. `docs/grids.md` describes the language.
//!
//! The whole of it happens to the tree of the text: [`Grid`] has the members' recipes as if each of them had
//! been written out, with the lines of the grid's own file.

mod axes;
mod fill;
mod name;
mod subsets;

use std::collections::BTreeMap;

use axes::{Axis, Cells, Choice, Matrix};
use fill::Scope;

use super::book::{self, Reading};
use super::emit;
use super::node::{Node, Yaml};
use super::reader::Reader;
use crate::problem::Problems;

/// Members that a grid may have.
pub const MAX_MEMBERS: usize = 10_000;

/// Values that all members together may have: what keeps a large recipe with many members out of memory.
const MAX_NODES: usize = 2_000_000;

/// Many recipes from one file.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The file as the user named it.
    pub file: String,
    /// In the order of the axes, the last turning fastest; names differ, and are names for folders.
    pub members: Vec<Member>,
}

/// One recipe of a grid.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its recipe, whose text is the expanded one; a book of one document.
    pub reading: Reading,
}

/// A choice on every axis, and keys that are set beyond it.
struct Combination {
    choices: Vec<Choice>,
    sets: Vec<Node>,
}

/// Expands the document of a grid.
///
/// # Errors
/// What is wrong with its matrix or its names; what is wrong with a member is in its reading.
pub(super) fn expand(file: &str, text: &str, root: &Node, matrix: &Node) -> Result<Grid, Problems> {
    let mut reader = Reader::new(file, text, &[]);
    let combinations = reader.matrix(matrix).and_then(|m| reader.combinations(&m, matrix).map(|c| (m, c)));
    let Some((matrix, combinations)) = combinations.filter(|_| !reader.problems.has_errors()) else {
        return Err(reader.problems);
    };
    let names = reader.names(root, &matrix.axes, &combinations);
    if reader.problems.has_errors() {
        return Err(reader.problems);
    }
    let mut template = root.clone();
    if let Yaml::Map(map) = &mut template.yaml {
        axes::take(map, "matrix");
        axes::take(map, "name");
    }
    let mut left = MAX_NODES;
    // What is written is repeated at least that often, but for loops over few elements.
    if size(&template).saturating_mul(combinations.len()) > MAX_NODES {
        left = 0;
    }
    let mut members = Vec::new();
    for (combination, name) in combinations.iter().zip(names) {
        if left > 0 {
            let written = Written { file, text, template: &template, name: root.get("name").unwrap_or(root) };
            let reading = member(&written, &matrix.axes, combination, &name, &mut left);
            members.push(Member { name, reading });
        }
        if left == 0 {
            let what = format!("too large once it is expanded: more than {MAX_NODES} values in all members");
            reader.error("matrix", root, what);
            return Err(reader.problems);
        }
    }
    Ok(Grid { file: file.into(), members })
}

/// What all members are made of.
struct Written<'a> {
    file: &'a str,
    text: &'a str,
    /// The recipe without matrix and name.
    template: &'a Node,
    /// Where names come from.
    name: &'a Node,
}

/// One member's recipe; takes the values that it has from those that are `left`.
fn member(
    written: &Written<'_>,
    axes: &[Axis],
    combination: &Combination,
    name: &str,
    left: &mut usize,
) -> Reading {
    let Written { file, text, .. } = *written;
    let mut reader = Reader::new(file, text, &[]);
    let mut whole = written.template.clone();
    let sets = combination.choices.iter().filter_map(|c| c.set.as_ref()).chain(&combination.sets);
    sets.for_each(|set| overlay(&mut whole, set));
    let mut filled = reader.fill(&whole, "", &scope(axes, combination));
    if let Yaml::Map(map) = &mut filled.yaml {
        let node = |text: &str| Node { yaml: Yaml::Text(text.into()), ..*written.name };
        map.insert(0, (node("name"), node(name)));
    }
    *left = left.saturating_sub(size(&filled));
    if reader.problems.has_errors() {
        return Reading::nothing(reader.problems);
    }
    let mut reading = book::read(file, text, std::slice::from_ref(&filled));
    if let Some(recipe) = reading.book.as_mut().and_then(|b| b.stages.first_mut()) {
        recipe.text = emit::emit(&filled);
    }
    reading
}

fn scope<'a>(axes: &'a [Axis], combination: &'a Combination) -> Scope<'a> {
    let values = axes.iter().zip(&combination.choices);
    values.fold(Scope::default(), |scope, (axis, choice)| scope.with(&axis.name, &choice.node))
}

fn size(node: &Node) -> usize {
    match &node.yaml {
        Yaml::List(list) => 1 + list.iter().map(size).sum::<usize>(),
        Yaml::Map(map) => 1 + map.iter().map(|(_, value)| 1 + size(value)).sum::<usize>(),
        _ => 1,
    }
}

/// Puts keys over those of a mapping, mappings into mappings; `null` takes a key away.
fn overlay(node: &mut Node, over: &Node) {
    let (Yaml::Map(map), Yaml::Map(keys)) = (&mut node.yaml, &over.yaml) else {
        *node = over.clone();
        return;
    };
    for (key, value) in keys {
        let Yaml::Text(name) = &key.yaml else {
            map.push((key.clone(), value.clone()));
            continue;
        };
        match map.iter_mut().find(|(k, _)| matches!(&k.yaml, Yaml::Text(k) if k == name)) {
            _ if matches!(value.yaml, Yaml::Null) => {
                axes::take(map, name);
            }
            Some((_, inner)) if matches!(inner.yaml, Yaml::Map(_)) => overlay(inner, value),
            Some((_, inner)) => *inner = value.clone(),
            None => map.push((key.clone(), value.clone())),
        }
    }
}

impl Reader<'_> {
    /// Every choice on every axis, without those that are excluded, with those that are included.
    fn combinations(&mut self, matrix: &Matrix, node: &Node) -> Option<Vec<Combination>> {
        let count = matrix.axes.iter().map(Axis::count).fold(1u128, u128::saturating_mul);
        if count > MAX_MEMBERS as u128 {
            let of = |axis: &Axis| match axis.count() {
                n if n > 1 << 64 => format!("{} has very many values", axis.name),
                n => format!("{} has {n}", axis.name),
            };
            let axes: Vec<String> = matrix.axes.iter().map(of).collect();
            let what = format!("more than {MAX_MEMBERS} members: {}", axes.join(", "));
            self.hinted("matrix", node, what, "make several grids of it");
            return None;
        }
        let mut all = vec![Combination { choices: Vec::new(), sets: Vec::new() }];
        for choices in matrix.axes.iter().map(Axis::choices) {
            let longer = |c: &Combination| {
                let with = |choice: &Choice| c.choices.iter().chain([choice]).cloned().collect();
                choices
                    .iter()
                    .map(with)
                    .map(|choices| Combination { choices, sets: Vec::new() })
                    .collect::<Vec<_>>()
            };
            all = all.iter().flat_map(longer).collect();
        }
        for cells in &matrix.exclude {
            let before = all.len();
            all.retain(|c| !cells.are_of(c, &matrix.axes));
            if all.len() == before {
                let problem = cells.place.problem("excludes nothing");
                self.problems.push(problem.hint("no member that is left has these values"));
            }
        }
        for cells in &matrix.include {
            self.include(cells, &matrix.axes, &mut all);
        }
        if all.is_empty() && !self.problems.has_errors() {
            self.error("matrix", node, "no member is left");
        }
        Some(all)
    }

    /// Sets keys of the members that have these values; if there are none, adds one.
    fn include(&mut self, cells: &Cells, axes: &[Axis], all: &mut Vec<Combination>) {
        let mut found = false;
        for combination in all.iter_mut().filter(|c| cells.are_of(c, axes)) {
            found = true;
            combination.sets.extend(cells.set.clone());
        }
        match (found, &cells.set) {
            (true, Some(_)) => {}
            (true, None) => {
                let problem = cells.place.problem("includes what is there already");
                self.problems.push(problem.hint("with `set:` it would change keys of these members"));
            }
            (false, _) => {
                let mut choices = Vec::new();
                for (at, axis) in axes.iter().enumerate() {
                    match cells.on.iter().find(|(i, _)| *i == at) {
                        Some((_, node)) => choices.extend(self.included(axis, node, &cells.place.path)),
                        None => {
                            let what =
                                format!("no member has these values, and `{}` is not given", axis.name);
                            let problem = cells.place.problem(what);
                            self.problems.push(problem.hint("a new member needs a value of every axis"));
                            return;
                        }
                    }
                }
                if choices.len() == axes.len() {
                    all.push(Combination { choices, sets: cells.set.iter().cloned().collect() });
                }
            }
        }
    }

    /// A value of an axis by its name, its members too if it is a list; else a new value.
    fn included(&mut self, axis: &Axis, node: &Node, path: &str) -> Option<Choice> {
        let wanted = axes::text(node)?;
        let listed = match &axis.values {
            axes::Values::Listed(choices) => choices.iter().find(|c| c.text == wanted).cloned(),
            axes::Values::Subsets { .. } => None,
        };
        let path = format!("{path}.{}", axis.name);
        match (listed, &axis.values, &node.yaml) {
            (Some(choice), ..) => Some(choice),
            (None, axes::Values::Subsets { of, .. }, Yaml::List(list)) => {
                let known = |item: &Node| {
                    let text = axes::text(item);
                    of.iter()
                        .find(|c| Some(&c.text) == text.as_ref())
                        .map_or_else(|| item.clone(), |c| c.node.clone())
                };
                let yaml = Yaml::List(list.iter().map(known).collect());
                self.choice(&Node { yaml, ..*node }, &path)
            }
            (None, axes::Values::Subsets { .. }, _) => {
                self.error(&path, node, format!("`{wanted}` is no list"));
                None
            }
            (None, ..) => self.choice(node, &path),
        }
    }

    /// The name of every member.
    fn names(&mut self, root: &Node, axes: &[Axis], combinations: &[Combination]) -> Vec<String> {
        let template = root.get("name").filter(|n| !matches!(n.yaml, Yaml::Null));
        let mut names = Vec::new();
        for combination in combinations {
            let name = match template {
                None => {
                    let texts: Vec<&str> = combination.choices.iter().map(|c| c.text.as_str()).collect();
                    Some(texts.join("-"))
                }
                Some(node) => {
                    let filled = self.fill(node, "name", &scope(axes, combination));
                    axes::text(&filled)
                }
            };
            names.push(name.unwrap_or_default());
        }
        if self.problems.has_errors() {
            return names;
        }
        let at = template.unwrap_or(root);
        if let Some((name, why)) = names.iter().find_map(|n| Some((n, name::flaw(n)?))) {
            let hint = "names become folders; give a value a `name`, or write a template under `name:`";
            self.hinted("name", at, format!("`{name}` is no name for a member: {why}"), hint);
        }
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        names.iter().for_each(|n| *seen.entry(n.to_lowercase()).or_default() += 1);
        let twice: usize = seen.values().filter(|n| **n > 1).sum();
        if let Some((name, count)) = seen.iter().find(|(_, n)| **n > 1) {
            let what =
                format!("{count} members are called `{name}`; of {}, {twice} share a name", names.len());
            let all: Vec<String> = axes.iter().map(|a| format!("{{{}}}", a.name)).collect();
            let hint = format!(
                "put every axis into the name, as in \"{}\"; small and capital letters count as the same",
                all.join("-")
            );
            self.hinted("name", at, what, hint);
        }
        names
    }
}

impl Cells {
    /// Whether a combination has all of these values.
    fn are_of(&self, combination: &Combination, axes: &[Axis]) -> bool {
        self.on.iter().all(|(at, node)| {
            let choice = &combination.choices[*at];
            let is = &choice.text;
            match (&axes[*at].values, &node.yaml, &choice.node.yaml) {
                // In any order.
                (axes::Values::Subsets { .. }, Yaml::List(wanted), Yaml::List(members)) => {
                    let sorted = |list: &[Node]| {
                        let mut texts: Vec<_> = list.iter().map(axes::text).collect();
                        texts.sort();
                        texts
                    };
                    sorted(wanted) == sorted(members)
                }
                // Any of them.
                (_, Yaml::List(any), _) if !axes[*at].is_of_lists() => {
                    any.iter().any(|n| axes::text(n).as_ref() == Some(is))
                }
                _ => axes::text(node).as_ref() == Some(is),
            }
        })
    }
}
