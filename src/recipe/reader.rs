//! What reading any part of a recipe needs: places, problems, lists, mappings without unknown keys.

use super::keys::{self, Level, Status};
use super::node::{self, Node, Yaml};
use super::{Located, ModelRef, Place};
use crate::problem::{Problems, nearest};

/// A recipe being read; problems pile up, and reading goes on.
pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    /// Which document of several is read, as in `documents[1].`; else empty.
    pub(super) document: String,
    /// Names of all documents, if there are several.
    pub(super) stages: &'a [String],
    pub(super) problems: Problems,
    /// Every model that was named, also where the rest of its entry is wrong.
    pub(super) models: Vec<Located<ModelRef>>,
}

/// The entries of a mapping by key; every key was checked against the list.
pub(super) struct Entries<'n>(Vec<(&'n str, &'n Node)>);

impl<'n> Entries<'n> {
    /// What is written under a key, `null` too.
    pub(super) fn written(&self, key: &str) -> Option<&'n Node> {
        self.0.iter().find(|(k, _)| *k == key).map(|(_, n)| *n)
    }

    /// The same, but `key: null` counts as not given.
    pub(super) fn given(&self, key: &str) -> Option<&'n Node> {
        self.written(key).filter(|n| !matches!(n.yaml, Yaml::Null))
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, text: &'a str, stages: &'a [String]) -> Self {
        let (problems, models) = (Problems::new(), Vec::new());
        Self { file, text, document: String::new(), stages, problems, models }
    }

    pub(super) fn place(&self, path: &str, node: &Node) -> Place {
        Place { spot: node::spot(self.file, self.text, node.line, node.column), ..self.missing(path) }
    }

    /// The place of something that is not there.
    pub(super) fn missing(&self, path: &str) -> Place {
        let path = format!("{}{path}", self.document);
        Place { path: path.trim_end_matches('.').to_owned(), spot: None }
    }

    pub(super) fn error(&mut self, path: &str, node: &Node, what: impl Into<String>) {
        let problem = self.place(path, node).problem(what);
        self.problems.push(problem);
    }

    pub(super) fn hinted(
        &mut self,
        path: &str,
        node: &Node,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let problem = self.place(path, node).problem(what).hint(hint);
        self.problems.push(problem);
    }

    pub(super) fn text_of(&mut self, node: &Node, path: &str) -> Option<Located<String>> {
        match &node.yaml {
            Yaml::Text(text) => Some(Located { value: text.clone(), place: self.place(path, node) }),
            other => {
                self.error(path, node, format!("must be text, not {}", other.kind()));
                None
            }
        }
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, path: &str) -> Option<Vec<(&'n Node, String)>> {
        match &node.yaml {
            Yaml::List(list) if !list.is_empty() => {
                Some(list.iter().enumerate().map(|(i, n)| (n, format!("{path}[{i}]"))).collect())
            }
            Yaml::List(_) => {
                self.error(path, node, "the list is empty");
                None
            }
            other => {
                self.error(path, node, format!("must be a list, not {}", other.kind()));
                None
            }
        }
    }

    /// A mapping whose keys are all known at this level, supported or not.
    pub(super) fn mapping<'n>(&mut self, node: &'n Node, path: &str, level: Level) -> Option<Entries<'n>> {
        let Yaml::Map(map) = &node.yaml else {
            let whole = if path.is_empty() { "a recipe" } else { path };
            self.error(
                path,
                node,
                format!("{whole} must be a mapping of keys to values, not {}", node.yaml.kind()),
            );
            return None;
        };
        let mut entries = Vec::new();
        for (key, value) in map {
            let Yaml::Text(name) = &key.yaml else {
                self.error(path, key, format!("keys must be text, not {}", key.yaml.kind()));
                continue;
            };
            self.key(name, key, &join(path, name), level);
            entries.push((name.as_str(), value));
        }
        Some(Entries(entries))
    }

    /// Says what there is to say of one key.
    pub(super) fn key(&mut self, name: &str, key: &Node, path: &str, level: Level) {
        let place = self.place(path, key);
        let problem = match keys::at(level).find(|k| k.name == name).map(|k| (k.status, k.doc)) {
            Some((Status::Supported, _)) => return,
            Some((Status::NoEffect, why)) => place.warning(format!("`{name}` has no effect: {why}")),
            Some((Status::Grid, _)) => place
                .problem(format!("`{name}` has a meaning in a grid only"))
                .hint("a grid is a recipe of one document with a `matrix:`"),
            None if !matches!(level, Level::Rule | Level::Weight) && keys::PARAMETERS.contains(&name) => {
                place.problem(format!("`{name}` has no effect here")).hint(format!(
                    "it is a parameter: put it under `parameters:`, as in `parameters: {{{name}: …}}`"
                ))
            }
            None if matches!(level, Level::Subsets | Level::Weight) => {
                let known = keys::at(level).map(|k| k.name);
                place.problem(format!("unknown key `{name}`")).did_you_mean(name, known)
            }
            None => {
                let known = keys::at(level).map(|k| k.name);
                match nearest(name, known.clone().chain(keys::PARAMETERS.iter().copied())) {
                    Some(near) => {
                        place.problem(format!("unknown key `{name}`")).hint(format!("did you mean `{near}`?"))
                    }
                    None => place
                        .warning(format!("unknown key `{name}` is ignored, as mergekit does"))
                        .hint(format!("known here are: {}", known.collect::<Vec<_>>().join(", "))),
                }
            }
        };
        self.problems.push(problem);
    }
}

/// A number as mergekit reads one: booleans (YAML 1.1 has more words for them) and numeric text too.
pub(super) fn number(yaml: &Yaml) -> Option<f64> {
    match yaml {
        Yaml::Number(x) => Some(*x),
        Yaml::Bool(x) => Some(f64::from(*x)),
        Yaml::Text(text) => match text.trim() {
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => Some(1.0),
            "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => Some(0.0),
            text => text.parse().ok(),
        },
        _ => None,
    }
}
