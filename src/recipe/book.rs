//! The documents of a file as recipes in order: stages that are made from stages, and the result last.
//!
//! A model whose path is the `name` of a document is what that document makes, whatever is on the disk. A
//! file of one document is a book of one recipe, and its `name` names no stage.

use std::path::Path;

use super::node::{self, Node, Yaml};
use super::reader::Reader;
use super::{Located, ModelRef, Named, Recipe};
use crate::problem::Problems;

/// Recipes that are made one from another.
#[derive(Clone, Debug)]
pub struct Book {
    /// What a stage is made from stands before it; the result is the last. Of a stage,
    /// [`Recipe::text`] holds its own document and those that it is made from: a recipe file that gives
    /// just this stage.
    pub stages: Vec<Recipe>,
}

impl Book {
    /// The recipe of the merged model.
    pub fn result(&self) -> Option<&Recipe> {
        self.stages.last()
    }

    /// The position of the stage of that name, which a model that is [`Named::Stage`] has as its path.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|s| s.name.as_ref().is_some_and(|n| n.value == name))
    }
}

/// What could be read of a recipe, be it right or wrong: names can be checked even where the rest of the
/// recipe makes no sense, so that one run lists all problems.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The recipes, if nothing is wrong with their words.
    pub book: Option<Book>,
    /// `merge_method` of every document in which it is text.
    pub methods: Vec<Located<String>>,
    /// Every model that is named anywhere, stages too.
    pub models: Vec<Located<ModelRef>>,
    /// Errors and warnings.
    pub problems: Problems,
}

impl Reading {
    /// What is wrong keeps even names from being read.
    pub(super) fn nothing(problems: Problems) -> Self {
        Self { book: None, methods: Vec::new(), models: Vec::new(), problems }
    }
}

/// A document, and the documents that it names.
struct Chapter {
    recipe: Option<Recipe>,
    name: Option<Located<String>>,
    uses: Vec<usize>,
}

/// Documents that were parsed → what they say.
pub(super) fn read(file: &str, text: &str, documents: &[Node]) -> Reading {
    let several = documents.len() > 1;
    let named = |node: &Node| match node.get("name").map(|n| &n.yaml) {
        Some(Yaml::Text(name)) if several => Some(name.clone()),
        _ => None,
    };
    let stages: Vec<String> = documents.iter().filter_map(named).collect();
    let mut reading = Reading::nothing(Problems::new());
    let mut chapters = Vec::new();
    for (i, root) in documents.iter().enumerate() {
        let mut reader = Reader::new(file, text, &stages);
        if several {
            reader.document = format!("documents[{i}].");
        }
        let mut method = None;
        let recipe = reader.recipe(root, &mut method);
        let recipe = recipe.filter(|_| !reader.problems.has_errors());
        let uses = reader.models.iter().filter(|m| m.value.named == Named::Stage);
        let stage = |model: &Located<ModelRef>| {
            documents.iter().position(|d| named(d).is_some_and(|n| n == model.value.path))
        };
        let uses = uses.filter_map(stage).collect();
        let name = named(root)
            .map(|value| Located { value, place: reader.place("name", root.get("name").unwrap_or(root)) });
        if several && name.is_none() {
            reader.unnamed(root, &chapters);
        }
        chapters.push(Chapter { recipe, name, uses });
        reading.methods.extend(method);
        reading.models.extend(reader.models);
        reading.problems.extend(reader.problems);
    }
    check_names(&chapters, &mut reading.problems);
    let order = order(&chapters, &mut reading.problems);
    if !reading.problems.has_errors()
        && let Some(order) = order
    {
        reading.book = Some(bind(text, chapters, &order));
    }
    reading
}

impl Reader<'_> {
    /// Only the result may be without a name.
    fn unnamed(&mut self, root: &Node, before: &[Chapter]) {
        if before.iter().any(|c| c.name.is_none()) {
            let problem = self.place("", root).problem("a second document without a name");
            self.problems.push(problem.hint(
                "the one without a name is the merged model; give the other a `name`, and use it as a model",
            ));
        }
    }
}

fn check_names(chapters: &[Chapter], problems: &mut Problems) {
    let mut seen: Vec<&Located<String>> = Vec::new();
    for name in chapters.iter().filter_map(|c| c.name.as_ref()) {
        if name.value.trim().is_empty() || name.value.chars().any(char::is_control) {
            problems.push(name.place.problem("a stage's name must be visible text"));
        }
        match seen.iter().find(|n| n.value == name.value) {
            Some(first) => {
                let line = first.place.spot.as_ref().map_or(0, |s| s.line);
                let what = format!("`{}` is the name of the document at line {line} too", name.value);
                problems.push(name.place.problem(what));
            }
            None => seen.push(name),
        }
    }
}

/// The documents, each behind those that it uses and the result last; `None` if they go round in a circle.
fn order(chapters: &[Chapter], problems: &mut Problems) -> Option<Vec<usize>> {
    let used = |i: usize| chapters.iter().any(|c| c.uses.contains(&i));
    let unnamed = chapters.iter().position(|c| c.name.is_none());
    let result = unnamed.or_else(|| (0..chapters.len()).rev().find(|i| !used(*i)));
    let mut walk = Walk { chapters, order: Vec::new(), path: Vec::new(), circle: None };
    (0..chapters.len()).filter(|i| Some(*i) != result).chain(result).for_each(|i| walk.visit(i));
    if let Some(circle) = walk.circle {
        let names = circle.iter().filter_map(|i| chapters[*i].name.as_ref());
        let names: Vec<&str> = names.map(|n| n.value.as_str()).collect();
        let place = chapters[circle[0]].name.as_ref().map(|n| n.place.clone())?;
        let what = format!("stages are made from each other in a circle: {}", names.join(" ← "));
        problems.push(place.problem(what));
        return None;
    }
    for (i, chapter) in chapters.iter().enumerate() {
        let Some(name) = &chapter.name else { continue };
        let stage = &name.value;
        if Some(i) != result && !used(i) {
            problems.push(name.place.warning(format!("nothing is made from stage `{stage}`")));
        }
        if used(i) && Path::new(stage).exists() {
            let what = format!(
                "`{stage}` is a path on the disk too; as a model it is this stage, not what lies there"
            );
            let hint = format!("for what lies there write `{}`", Path::new(".").join(stage).display());
            problems.push(name.place.warning(what).hint(hint));
        }
    }
    Some(walk.order)
}

/// Depth first; there are few documents, so it does not go deep.
struct Walk<'a> {
    chapters: &'a [Chapter],
    order: Vec<usize>,
    path: Vec<usize>,
    circle: Option<Vec<usize>>,
}

impl Walk<'_> {
    fn visit(&mut self, at: usize) {
        if let Some(start) = self.path.iter().position(|p| *p == at) {
            self.circle.get_or_insert_with(|| {
                let mut circle = self.path[start..].to_vec();
                circle.push(at);
                circle
            });
            return;
        }
        if self.order.contains(&at) {
            return;
        }
        self.path.push(at);
        for next in self.chapters[at].uses.clone() {
            self.visit(next);
        }
        self.path.pop();
        self.order.push(at);
    }
}

/// Puts recipes in order, each with the text that gives just it.
fn bind(text: &str, chapters: Vec<Chapter>, order: &[usize]) -> Book {
    let documents = node::documents(text);
    let needs = |at: usize| {
        let mut walk = Walk { chapters: &chapters, order: Vec::new(), path: Vec::new(), circle: None };
        walk.visit(at);
        walk.order.sort_unstable();
        walk.order
    };
    let texts: Vec<String> = order
        .iter()
        .map(|at| match needs(*at) {
            all if all.len() == documents.len() => text.to_owned(),
            some => join(some.into_iter().map(|i| documents[i].text.as_str())),
        })
        .collect();
    let mut recipes: Vec<Option<Recipe>> = chapters.into_iter().map(|c| c.recipe).collect();
    let stages = order.iter().zip(texts).filter_map(|(at, text)| {
        let mut recipe = recipes[*at].take()?;
        recipe.text = text;
        Some(recipe)
    });
    Book { stages: stages.collect() }
}

fn join<'a>(documents: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for document in documents {
        let is_marked = document.lines().any(|l| l == "---" || l.starts_with("--- "));
        if !text.is_empty() && !is_marked {
            text += "---\n";
        }
        text += document;
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}
