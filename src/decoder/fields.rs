//! Typed reading of a `config.json`, with all that is wrong in it reported together.

use serde_json::{Map, Value};

use crate::problem::{Problem, Problems};

/// One JSON object, and where to report what is wrong with it.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// `model/config.json`, or `model/config.json: rope_scaling`.
    at: String,
}

/// Why a value could not be read: to be reported, with the key in front.
type Wrong = &'static str;

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, at: impl Into<String>) -> Self {
        Self { map, at: at.into() }
    }

    /// A value that is there and not null.
    fn find(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// Where it is.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    pub(super) fn error(&self, what: impl Into<String>) -> Problem {
        Problem::error(&self.at, what)
    }

    /// An object below `key`; a value of another kind is a problem.
    pub(super) fn object(&self, key: &str, problems: &mut Problems) -> Option<Fields<'a>> {
        let value = self.find(key)?;
        let Some(map) = value.as_object() else {
            problems.push(self.error(format!("{key} is {value}, but an object is wanted")));
            return None;
        };
        Some(Self { map, at: format!("{}: {key}", self.at) })
    }

    /// A word that may be absent; a value of another kind is a problem.
    pub(super) fn text(&self, key: &str, problems: &mut Problems) -> Option<&'a str> {
        let value = self.find(key)?;
        if !value.is_string() {
            problems.push(self.error(format!("{key} is {value}, but a word is wanted")));
        }
        value.as_str()
    }

    /// A key that may be absent; a value of another kind is a problem.
    fn optional<T>(
        &self,
        key: &str,
        problems: &mut Problems,
        read: impl Fn(&Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        match read(self.find(key)?) {
            Ok(value) => Some(value),
            Err(wanted) => {
                let found = self.map.get(key).map(Value::to_string).unwrap_or_default();
                problems.push(self.error(format!("{key} is {found}, but {wanted} is wanted")));
                None
            }
        }
    }

    /// A whole number of at least 1.
    pub(super) fn size(&self, key: &str, problems: &mut Problems) -> Option<usize> {
        self.optional(key, problems, as_size)
    }

    /// As [`Fields::size`], for a key that must be there. The 1 that stands in for it is never used: the
    /// problem ends the reading.
    pub(super) fn required(&self, key: &str, problems: &mut Problems) -> usize {
        if self.find(key).is_none() {
            problems.push(self.error(format!("{key} is missing")));
        }
        self.size(key, problems).unwrap_or(1)
    }

    /// A whole number that may be 0.
    pub(super) fn count(&self, key: &str, problems: &mut Problems) -> Option<usize> {
        let read = |v: &Value| v.as_u64().map(|n| n as usize).ok_or("a whole number");
        self.optional(key, problems, read)
    }

    /// A finite number.
    pub(super) fn number(&self, key: &str, problems: &mut Problems) -> Option<f64> {
        self.optional(key, problems, |v| v.as_f64().filter(|x| x.is_finite()).ok_or("a number"))
    }

    /// A finite number greater than 0.
    pub(super) fn positive(&self, key: &str, problems: &mut Problems) -> Option<f64> {
        let read = |v: &Value| v.as_f64().filter(|x| x.is_finite() && *x > 0.0).ok_or("a number above 0");
        self.optional(key, problems, read)
    }

    /// As [`Fields::positive`], for a key that must be there; what stands in for it is never used.
    pub(super) fn required_positive(&self, key: &str, problems: &mut Problems) -> f64 {
        if self.find(key).is_none() {
            problems.push(self.error(format!("{key} is missing")));
        }
        self.positive(key, problems).unwrap_or(1.0)
    }

    pub(super) fn flag(&self, key: &str, problems: &mut Problems) -> Option<bool> {
        self.optional(key, problems, |v| v.as_bool().ok_or("true or false"))
    }

    /// A list of finite numbers.
    pub(super) fn numbers(&self, key: &str, problems: &mut Problems) -> Option<Vec<f64>> {
        let read = |v: &Value| {
            let list = v.as_array().map(|l| l.iter().map(Value::as_f64).collect::<Option<Vec<_>>>());
            list.flatten().filter(|l| l.iter().all(|x| x.is_finite())).ok_or("a list of numbers")
        };
        self.optional(key, problems, read)
    }

    /// A list of words.
    pub(super) fn words(&self, key: &str, problems: &mut Problems) -> Option<Vec<&'a str>> {
        let list = self.find(key)?.as_array();
        let words = list.and_then(|l| l.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        if words.is_none() {
            problems.push(self.error(format!("{key} is not a list of words")));
        }
        words
    }
}

fn as_size(v: &Value) -> Result<usize, Wrong> {
    // Sizes are multiplied with one another; no real model comes near 2^31 in one dimension.
    v.as_u64().filter(|n| (1..1 << 31).contains(n)).map(|n| n as usize).ok_or("a whole number above 0")
}
