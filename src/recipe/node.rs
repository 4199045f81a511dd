//! YAML as a tree that remembers lines: the only place that knows the YAML crate.

use std::fmt;
use std::ops::Range;

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

/// Files with more documents are something else.
const MAX_DOCUMENTS: usize = 256;

/// Parses every document of a file; there is at least one.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Node>, Problems> {
    let documents = documents(text);
    if documents.is_empty() {
        return Err(Problem::error(file, "the recipe is empty").into());
    }
    if documents.len() > MAX_DOCUMENTS {
        let what = format!("{} documents in one file; {MAX_DOCUMENTS} are allowed", documents.len());
        return Err(Problem::error(file, what).into());
    }
    let (mut nodes, mut problems) = (Vec::new(), Problems::new());
    for document in &documents {
        match serde_yaml::from_str_with_options::<Node>(&document.text, options()) {
            Ok(mut node) => {
                node.move_down(document.lines.start);
                nodes.push(node);
            }
            Err(error) => problems.push(invalid(file, text, document.lines.start, &error)),
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(nodes) }
}

/// Infinity and NaN are left to the readers of values, who know what is wanted in their place.
fn options() -> serde_yaml::Options {
    let non_finite = serde_yaml::NonFiniteFloatPolicy::PassThrough;
    serde_yaml::options! { non_finite_float_policy: non_finite }
}

fn invalid(file: &str, text: &str, above: usize, error: &serde_yaml::Error) -> Problem {
    let place = error.location();
    // The crate draws a snippet of its own below the first line; ours is drawn by `Problem`.
    let message = error.without_snippet().to_string();
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = message.strip_prefix("error: ").unwrap_or(message);
    // Advice for programmers who use the crate.
    let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or(message);
    let message = match message {
        m if m.starts_with("budget breached: Depth") || m.starts_with("recursion limit") => {
            "lists and mappings are too deep in each other"
        }
        m if m.starts_with("budget breached") => "too large, or too large once its aliases are followed",
        m => m.strip_suffix(" rejected by the configured policy").unwrap_or(m),
    };
    let spot = place.and_then(|at| spot(file, text, above + at.line() as usize, at.column() as usize));
    Problem::error(file, format!("not valid YAML: {message}")).spot(spot)
}

impl Node {
    /// A document of its own knows nothing of the lines above it.
    fn move_down(&mut self, lines: usize) {
        self.line += lines;
        match &mut self.yaml {
            Yaml::List(list) => list.iter_mut().for_each(|n| n.move_down(lines)),
            Yaml::Map(map) => map.iter_mut().for_each(|(key, value)| {
                key.move_down(lines);
                value.move_down(lines);
            }),
            _ => {}
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Yaml::Map(map) = &self.yaml else { return None };
        map.iter().find(|(k, _)| matches!(&k.yaml, Yaml::Text(k) if k == key)).map(|(_, value)| value)
    }
}

/// A document as it stands in a file.
#[derive(Debug)]
pub(super) struct Document {
    /// Its lines in the file, the first being 0.
    pub(super) lines: Range<usize>,
    /// Its text, with the `---` above it if there is one.
    pub(super) text: String,
}

/// The documents of a file that have contents, apart from comments.
///
/// In YAML no value reaches over a line that begins with `---` or `...`, so lines are all there is to look at.
pub(super) fn documents(text: &str) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let begins = |line: &str| line == "---" || line.starts_with("--- ") || line.starts_with("---\t");
    let (mut found, mut current) = (Vec::new(), Document { lines: 0..0, text: String::new() });
    let (mut has_contents, mut is_open) = (false, false);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.trim_end();
        let ends = bare == "..." || line.starts_with("... ");
        if ends || begins(bare) && (has_contents || is_open) {
            let next = Document { lines: number..number, text: String::new() };
            let done = std::mem::replace(&mut current, next);
            found.extend(has_contents.then_some(done));
            (has_contents, is_open) = (false, false);
        }
        is_open |= begins(bare);
        current.lines.end = number + 1;
        if ends {
            current.lines.start = number + 1;
            continue;
        }
        current.text += line;
        let is_bare = bare.trim_start().is_empty() || bare.trim_start().starts_with('#');
        let inline = bare.strip_prefix("---").map(str::trim).filter(|_| begins(bare));
        has_contents |= match inline {
            Some(rest) => !rest.is_empty() && !rest.starts_with('#'),
            None => !is_bare && !bare.starts_with('%'),
        };
    }
    found.extend(has_contents.then_some(current));
    found
}
