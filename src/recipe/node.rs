//! YAML as a tree that remembers lines: the only place that knows the YAML crate.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;

use crate::problem::{Problem, Problems, Spot};

/// A YAML value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) yaml: Yaml,
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Yaml {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Yaml {
    /// For messages: "a list" and so on.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Raw>::deserialize(deserializer)?;
        let at = spanned.referenced;
        Ok(Self { yaml: spanned.value.0, line: at.line() as usize, column: at.column() as usize })
    }
}

struct Raw(Yaml);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor).map(Raw)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Raw::deserialize(deserializer).map(|raw| raw.0)
    }

    fn visit_bool<E>(self, x: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(x))
    }

    fn visit_i64<E>(self, x: i64) -> Result<Yaml, E> {
        Ok(Yaml::Number(x as f64))
    }

    fn visit_u64<E>(self, x: u64) -> Result<Yaml, E> {
        Ok(Yaml::Number(x as f64))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Yaml, E> {
        Ok(Yaml::Number(x))
    }

    fn visit_str<E>(self, x: &str) -> Result<Yaml, E> {
        Ok(Yaml::Text(x.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Yaml, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Yaml::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Yaml, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Yaml::Map(map))
    }
}

/// Characters of a line that a message shows.
const SHOWN: usize = 160;

/// The line `line` of a text, for messages; of a long line the part around the column.
pub(super) fn spot(file: &str, text: &str, line: usize, column: usize) -> Option<Spot> {
    let whole = text.lines().nth(line.checked_sub(1)?)?;
    let (column, mut skipped) = (column.max(1), 0);
    if column > SHOWN {
        skipped = column - SHOWN / 2;
    }
    let shown: String = whole.chars().skip(skipped).take(SHOWN).collect();
    Some(Spot { file: file.into(), line, column, skipped, text: shown.replace('\t', " ") })
}

/// Parses one document.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, Problems> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Problem::error(file, "the recipe is empty").into());
    }
    if let Some(line) = second_document(text) {
        let problem = Problem::error(file, "several documents in one file (`---`) are not supported yet")
            .hint("put each stage into a recipe of its own and merge one after the other")
            .spot(spot(file, text, line, 1));
        return Err(problem.into());
    }
    serde_yaml::from_str::<Node>(text).map_err(|error| {
        let place = error.location();
        // The crate draws a snippet of its own below the first line; ours is drawn by `Problem`.
        let message = error.without_snippet().to_string();
        let message = message.lines().next().unwrap_or_default();
        let message = message.split(" at line ").next().unwrap_or(message);
        let message = message.strip_prefix("error: ").unwrap_or(message);
        // Advice for programmers who use the crate.
        let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or(message);
        let message = match message {
            m if m.starts_with("budget breached") => "too large, or too large once its aliases are followed",
            m => m.strip_suffix(" rejected by the configured policy").unwrap_or(m),
        };
        let spot = place.and_then(|at| spot(file, text, at.line() as usize, at.column() as usize));
        Problem::error(file, format!("not valid YAML: {message}")).spot(spot).into()
    })
}

/// The line at which a second document begins, if there is one with contents.
fn second_document(text: &str) -> Option<usize> {
    let mut seen_contents = false;
    for (i, line) in text.lines().enumerate() {
        let is_separator = line == "---" || line.starts_with("--- ");
        if is_separator && seen_contents {
            let rest = text.lines().skip(i + 1);
            let more =
                rest.map(str::trim).any(|l| !l.is_empty() && !l.starts_with('#') && l != "---" && l != "...");
            return more.then_some(i + 1);
        }
        seen_contents |= !is_separator && !line.trim().is_empty() && !line.trim_start().starts_with('#');
    }
    None
}
