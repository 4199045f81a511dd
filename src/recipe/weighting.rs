//! Weights that say where they come from: `{tokens: counts/}`, `{file: coefficients.safetensors}`, `{norms: rows}`.

use super::Place;
use super::keys::{self, Level};
use super::node::{Node, Yaml};
use super::reader::{Entries, Reader, join, number};

/// The parameter that may be said in this way.
pub(super) const WEIGHT: &str = "weight";

/// A weight for each row of a tensor, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighting {
    /// What decides.
    pub by: By,
    /// Where it stands.
    pub place: Place,
}

/// What a row's weight depends on.
#[derive(Clone, Debug, PartialEq)]
pub enum By {
    /// How often the language of each model uses the token of the row.
    Tokens {
        /// A folder with a file of counts for each language, or a file.
        path: String,
        /// The language; without one the last part of the model's path.
        language: Option<String>,
        /// Of the token's share of its text.
        power: f64,
        /// Added to that share.
        smoothing: f64,
        /// What the weights of a row add up to.
        scale: f64,
    },
    /// Numbers in a file.
    File {
        /// The file.
        path: String,
        /// Whose numbers; without one the last part of the model's path.
        entry: Option<String>,
    },
    /// How much each model has changed the row.
    Norms {
        /// Of the length of the row's difference from the base.
        power: f64,
        /// What the weights of a row add up to.
        scale: f64,
    },
}

impl By {
    /// The file or folder that is read.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Tokens { path, .. } | Self::File { path, .. } => Some(path),
            Self::Norms { .. } => None,
        }
    }
}

/// Keys that say what decides, each with those that may stand beside it.
const FORMS: [(&str, &[&str]); 3] = [
    ("tokens", &["language", "power", "smoothing", "scale"]),
    ("file", &["entry"]),
    ("norms", &["power", "scale"]),
];

/// Largest exponent: beyond it a row is the first model's alone.
const MAX_POWER: f64 = 8.0;

impl Reader<'_> {
    pub(super) fn weighting(&mut self, node: &Node, path: &str) -> Option<Weighting> {
        let before = self.problems.iter().count();
        let entries = self.mapping(node, path, Level::Weight)?;
        let forms = FORMS.iter().filter(|(form, _)| entries.written(form).is_some());
        let (form, beside) = match forms.collect::<Vec<_>>()[..] {
            [form] => *form,
            [] => {
                // A misspelt key was said already.
                if self.problems.iter().count() == before {
                    let hint = "write {tokens: counts/}, {file: coefficients.safetensors} or {norms: rows}";
                    self.hinted(path, node, "does not say where the weights come from", hint);
                }
                return None;
            }
            [(one, _), (other, _), ..] => {
                self.error(path, node, format!("`{one}` and `{other}` exclude each other"));
                return None;
            }
        };
        for key in keys::at(Level::Weight).map(|k| k.name).filter(|k| *k != form && !beside.contains(k)) {
            if let Some(stray) = entries.written(key) {
                let what = format!("`{key}` has no effect beside `{form}`");
                self.hinted(&join(path, key), stray, what, format!("it takes {}", beside.join(", ")));
            }
        }
        let by = match form {
            "tokens" => By::Tokens {
                path: self.word(&entries, "tokens", path),
                language: self.optional_word(&entries, "language", path),
                power: self.number_in(&entries, "power", path, 1.0, (0.0, MAX_POWER)),
                smoothing: self.number_in(&entries, "smoothing", path, 1e-6, (0.0, 1.0)),
                scale: self.scale(&entries, path),
            },
            "file" => By::File {
                path: self.word(&entries, "file", path),
                entry: self.optional_word(&entries, "entry", path),
            },
            _ => {
                if !matches!(entries.written("norms").map(|n| &n.yaml), Some(Yaml::Text(of)) if of == "rows")
                {
                    self.error(&join(path, "norms"), node, "must be `rows`");
                }
                let power = self.number_in(&entries, "power", path, 1.0, (0.0, MAX_POWER));
                By::Norms { power, scale: self.scale(&entries, path) }
            }
        };
        let wrong =
            self.problems.iter().skip(before).any(|p| p.severity != crate::problem::Severity::Warning);
        (!wrong).then(|| Weighting { by, place: self.place(path, node) })
    }

    /// Text that must be there.
    fn word(&mut self, entries: &Entries<'_>, key: &str, path: &str) -> String {
        match self.optional_word(entries, key, path) {
            Some(word) => word,
            None => {
                if let Some(node) = entries.written(key).filter(|n| matches!(n.yaml, Yaml::Null)) {
                    self.error(&join(path, key), node, "there is nothing under this key");
                }
                String::new()
            }
        }
    }

    fn optional_word(&mut self, entries: &Entries<'_>, key: &str, path: &str) -> Option<String> {
        let node = entries.given(key)?;
        // `no` is Norwegian here.
        if let Yaml::Bool(false) = node.yaml
            && key == "language"
        {
            return Some("no".into());
        }
        let text = self.text_of(node, &join(path, key))?;
        if text.value.trim().is_empty() {
            self.error(&join(path, key), node, "is empty");
        }
        Some(text.value)
    }

    fn number_in(
        &mut self,
        entries: &Entries<'_>,
        key: &str,
        path: &str,
        fallback: f64,
        (low, high): (f64, f64),
    ) -> f64 {
        let Some(node) = entries.given(key) else { return fallback };
        match number(&node.yaml) {
            Some(x) if (low..=high).contains(&x) => return x,
            Some(x) => self.error(&join(path, key), node, format!("must be from {low} to {high}, not {x}")),
            None => {
                let what = format!("must be a number, not {}", node.yaml.kind());
                self.error(&join(path, key), node, what);
            }
        }
        fallback
    }

    fn scale(&mut self, entries: &Entries<'_>, path: &str) -> f64 {
        // What the arithmetic can hold, with room for sums.
        let most = 1e30;
        self.number_in(entries, "scale", path, 1.0, (-most, most))
    }
}
