//! `matrix:` → axes with their values, and what is taken out or added.

use super::subsets;
use crate::problem::nearest;
use crate::recipe::Place;
use crate::recipe::keys::Level;
use crate::recipe::node::{Node, Yaml};
use crate::recipe::reader::{Reader, join};

/// The words of a matrix.
#[derive(Debug)]
pub(super) struct Matrix {
    /// In the order of the recipe, the last turning fastest.
    pub(super) axes: Vec<Axis>,
    pub(super) exclude: Vec<Cells>,
    pub(super) include: Vec<Cells>,
}

/// A dimension of the grid.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) name: String,
    pub(super) values: Values,
}

#[derive(Debug)]
pub(super) enum Values {
    Listed(Vec<Choice>),
    /// Every choice of `at_least` to `at_most` of these; not written out before their number is known.
    Subsets {
        of: Vec<Choice>,
        at_least: usize,
        at_most: usize,
    },
}

/// A value of an axis.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// As in names: a scalar's own text, a mapping's `name`, those of a list joined by `-`.
    pub(super) text: String,
    pub(super) node: Node,
    /// Keys of the recipe that it brings along.
    pub(super) set: Option<Node>,
}

/// An entry of `exclude` or `include`: values of some axes.
#[derive(Debug)]
pub(super) struct Cells {
    /// Position of the axis, and what is asked of it.
    pub(super) on: Vec<(usize, Node)>,
    pub(super) set: Option<Node>,
    pub(super) place: Place,
}

impl Axis {
    /// How many values it has; a very large number if it cannot be counted.
    pub(super) fn count(&self) -> u128 {
        match &self.values {
            Values::Listed(choices) => choices.len() as u128,
            Values::Subsets { of, at_least, at_most } => subsets::count(of.len(), *at_least, *at_most),
        }
    }

    /// All values, of which there must be few.
    pub(super) fn choices(&self) -> Vec<Choice> {
        match &self.values {
            Values::Listed(choices) => choices.clone(),
            Values::Subsets { of, at_least, at_most } => {
                let chosen = |set: Vec<usize>| list(set.into_iter().map(|i| &of[i]), &of[0].node);
                subsets::all(of.len(), *at_least, *at_most).map(chosen).collect()
            }
        }
    }

    /// Whether its values are lists, so that a list in `exclude` is one of them.
    pub(super) fn is_of_lists(&self) -> bool {
        match &self.values {
            Values::Subsets { .. } => true,
            Values::Listed(choices) => choices.iter().any(|c| matches!(c.node.yaml, Yaml::List(_))),
        }
    }
}

/// The value that is a list of others.
fn list<'a>(of: impl Iterator<Item = &'a Choice>, at: &Node) -> Choice {
    let (texts, nodes): (Vec<&str>, Vec<Node>) = of.map(|c| (c.text.as_str(), c.node.clone())).unzip();
    let node = Node { yaml: Yaml::List(nodes), line: at.line, column: at.column };
    Choice { text: texts.join("-"), node, set: None }
}

/// How a value is called in names; `None` if it has no text.
pub(super) fn text(node: &Node) -> Option<String> {
    match &node.yaml {
        Yaml::Text(text) => Some(text.clone()),
        Yaml::Number(x) => Some(x.to_string()),
        Yaml::Bool(x) => Some(x.to_string()),
        Yaml::Null => None,
        Yaml::Map(_) => text(node.get("name")?),
        Yaml::List(list) => {
            let texts: Option<Vec<String>> = list.iter().map(text).collect();
            texts.filter(|t| !t.is_empty()).map(|t| t.join("-"))
        }
    }
}

/// Words that can stand in a placeholder.
pub(super) fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

impl Reader<'_> {
    /// Reads `matrix:`; `None` if there is nothing that could be expanded.
    pub(super) fn matrix(&mut self, node: &Node) -> Option<Matrix> {
        let Yaml::Map(map) = &node.yaml else {
            let what = format!("must be a mapping of axes to their values, not {}", node.yaml.kind());
            self.hinted("matrix", node, what, "for example `method: [linear, ties]` below it");
            return None;
        };
        let mut axes: Vec<Axis> = Vec::new();
        for (key, value) in map {
            match &key.yaml {
                Yaml::Text(name) if name == "include" || name == "exclude" => {}
                Yaml::Text(name) if is_word(name) => {
                    let values = self.axis(value, &format!("matrix.{name}"));
                    axes.extend(values.map(|values| Axis { name: name.clone(), values }));
                }
                Yaml::Text(name) => {
                    let what = format!("`{name}` is no name for an axis");
                    self.hinted("matrix", key, what, "use letters, digits, `_` and `-`, a letter first");
                }
                other => self.error("matrix", key, format!("keys must be text, not {}", other.kind())),
            }
        }
        if self.problems.has_errors() {
            return None;
        }
        if axes.is_empty() {
            self.error("matrix", node, "there is no axis");
            return None;
        }
        let exclude = node.get("exclude").map(|n| self.cells(n, "matrix.exclude", &axes)).unwrap_or_default();
        let include = node.get("include").map(|n| self.cells(n, "matrix.include", &axes)).unwrap_or_default();
        Some(Matrix { axes, exclude, include })
    }

    fn axis(&mut self, node: &Node, path: &str) -> Option<Values> {
        if let Yaml::Map(_) = node.yaml {
            let entries = self.mapping(node, path, Level::Subsets)?;
            let Some(of) = entries.given("subsets") else {
                let hint = "an axis is a list of values, or has `subsets:` of a list";
                self.hinted(path, node, "`subsets` is missing", hint);
                return None;
            };
            let of = self.choices(of, &join(path, "subsets"))?;
            let mut size = |key: &str, default| match entries.given(key) {
                Some(node) => self.whole(node, &join(path, key)),
                None => Some(default),
            };
            let (at_least, at_most) = (size("at_least", 1)?, size("at_most", of.len())?);
            if let Some(choice) = of.iter().find(|c| c.set.is_some()) {
                let hint = "only a value that an axis lists by itself can set keys of the recipe";
                self.hinted(path, &choice.node, "`set` has no effect in a subset", hint);
            }
            if at_least == 0 || at_least > at_most || at_most > of.len() {
                let what =
                    format!("there are no subsets of {} with {at_least} to {at_most} members", of.len());
                self.error(path, node, what);
                return None;
            }
            return Some(Values::Subsets { of, at_least, at_most });
        }
        self.choices(node, path).map(Values::Listed)
    }

    /// A number of members.
    fn whole(&mut self, node: &Node, path: &str) -> Option<usize> {
        match node.yaml {
            Yaml::Number(x) if x.fract() == 0.0 && (0.0..1e9).contains(&x) => Some(x as usize),
            _ => {
                self.error(path, node, "must be a whole number");
                None
            }
        }
    }

    /// A list of values, no two with the same text.
    fn choices(&mut self, node: &Node, path: &str) -> Option<Vec<Choice>> {
        let mut choices: Vec<Choice> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for (node, path) in self.list(node, path)? {
            let choice = self.choice(node, &path)?;
            if !seen.insert(choice.text.clone()) {
                self.error(&path, node, format!("`{}` is listed twice", choice.text));
            }
            choices.push(choice);
        }
        Some(choices)
    }

    pub(super) fn choice(&mut self, node: &Node, path: &str) -> Option<Choice> {
        let Some(text) = text(node) else {
            match &node.yaml {
                Yaml::Map(_) => {
                    let what = "a value that is a mapping needs a `name`";
                    self.hinted(path, node, what, "it stands for the value in names of members");
                }
                other => self.error(path, node, format!("must be a value, not {}", other.kind())),
            }
            return None;
        };
        let mut node = node.clone();
        let set = match &mut node.yaml {
            Yaml::Map(map) => take(map, "set"),
            _ => None,
        };
        if let Some(set) = &set {
            self.settable(set, &join(path, "set"));
        }
        Some(Choice { text, node, set })
    }

    /// What may be set: any key of the recipe but those that make it a grid.
    fn settable(&mut self, set: &Node, path: &str) {
        let Yaml::Map(map) = &set.yaml else {
            let what = format!("must be a mapping of keys of the recipe, not {}", set.yaml.kind());
            return self.error(path, set, what);
        };
        for (key, _) in map {
            if let Yaml::Text(name) = &key.yaml
                && (name == "matrix" || name == "name")
            {
                self.error(path, key, format!("`{name}` cannot be set"));
            }
        }
    }

    /// Entries of `exclude` or `include`.
    fn cells(&mut self, node: &Node, path: &str, axes: &[Axis]) -> Vec<Cells> {
        let list = self.list(node, path).unwrap_or_default();
        list.into_iter().filter_map(|(node, path)| self.cell(node, &path, axes)).collect()
    }

    fn cell(&mut self, node: &Node, path: &str, axes: &[Axis]) -> Option<Cells> {
        let Yaml::Map(map) = &node.yaml else {
            let what = format!("must be a mapping of axes to values, not {}", node.yaml.kind());
            self.error(path, node, what);
            return None;
        };
        let mut cells = Cells { on: Vec::new(), set: None, place: self.place(path, node) };
        for (key, value) in map {
            let Yaml::Text(name) = &key.yaml else {
                self.error(path, key, format!("keys must be text, not {}", key.yaml.kind()));
                continue;
            };
            if name == "set" && path.starts_with("matrix.include") {
                self.settable(value, &join(path, "set"));
                cells.set = Some(value.clone());
            } else if let Some(axis) = axes.iter().position(|a| a.name == *name) {
                if text(value).is_some() {
                    cells.on.push((axis, value.clone()));
                } else {
                    self.error(&join(path, name), value, "must be a value of the axis");
                }
            } else {
                let problem = self.place(path, key).problem(format!("there is no axis `{name}`"));
                let names = axes.iter().map(|a| a.name.as_str());
                let hint = nearest(name, names.clone()).map_or_else(
                    || format!("the axes are: {}", names.collect::<Vec<_>>().join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.problems.push(problem.hint(hint));
            }
        }
        if cells.on.is_empty() && !self.problems.has_errors() {
            self.error(path, node, "names no axis");
        }
        Some(cells)
    }
}

/// Takes a key out of a mapping.
pub(super) fn take(map: &mut Vec<(Node, Node)>, key: &str) -> Option<Node> {
    let at = map.iter().position(|(k, _)| matches!(&k.yaml, Yaml::Text(k) if k == key))?;
    Some(map.remove(at).1)
}
