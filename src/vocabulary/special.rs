//! Sizes and special tokens in `config.json` and `generation_config.json`.

use serde_json::{Map, Value, json};

use super::output::Output;
use super::tokenizer::Tokenizer;
use crate::problem::{Problem, Problems};

/// Objects of a configuration that describe the language model, beside the top.
const NESTED: &[&str] = &["text_config", "llm_config", "language_config", "decoder"];

/// Special tokens that every loader looks for, and their names in `tokenizer_config.json`.
const NAMED: &[(&str, &str)] =
    &[("bos_token_id", "bos_token"), ("eos_token_id", "eos_token"), ("pad_token_id", "pad_token")];

/// A special token's ids in a model and in the output.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct SpecialId {
    /// The key of `config.json`.
    pub key: String,
    /// What the model's configuration says.
    pub before: Vec<u32>,
    /// The ids of the same tokens in the output; absent ones are not in its vocabulary.
    pub after: Vec<Option<u32>>,
}

/// The special tokens that a model's configuration names.
pub(super) fn of_model(config: Option<&Value>, tokenizer: &Tokenizer, output: &Output) -> Vec<SpecialId> {
    let Some(config) = config else { return Vec::new() };
    let key = |(key, _): &(&str, &str)| {
        let before = ids(find(config, key)?)?;
        let after = before.iter().map(|id| output.ids.get(tokenizer.tokens.get(id)?).copied()).collect();
        Some(SpecialId { key: (*key).to_owned(), before, after })
    };
    NAMED.iter().filter_map(key).collect()
}

/// Whose ids a configuration has, and whose it gets.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    /// Of the model whose configuration it is.
    pub(super) from: &'a Tokenizer,
    /// Configurations of the vocabulary's owner, if it is another model: the first that has a key decides.
    pub(super) owner: Option<[Option<&'a Value>; 2]>,
    /// The owner's `tokenizer_config.json`.
    pub(super) tokenizer_config: Option<&'a Value>,
    pub(super) output: &'a Output,
}

impl Change<'_> {
    /// Corrects the ids of a configuration; `file` is used in messages only.
    pub(super) fn apply(&self, config: &mut Value, file: &str, problems: &mut Problems) {
        each(config, &mut |part| {
            let keys: Vec<String> = part.keys().filter(|key| key.ends_with("_token_id")).cloned().collect();
            for key in keys {
                if let Some(value) = self.value(&key, &part[&key], file, problems) {
                    part.insert(key, value);
                }
            }
        });
        let Some(top) = config.as_object_mut() else { return };
        for (key, _) in NAMED {
            let theirs = self.owner.iter().flatten().flatten().find_map(|config| find(config, key));
            if let (Some(theirs), false) = (theirs, top.contains_key(*key)) {
                top.insert((*key).to_owned(), theirs.clone());
            }
        }
    }

    /// What a key gets; nothing if it stays.
    fn value(&self, key: &str, old: &Value, file: &str, problems: &mut Problems) -> Option<Value> {
        let theirs = self.owner.iter().flatten().flatten().find_map(|config| find(config, key));
        let new = match (theirs, self.owner) {
            (Some(theirs), _) => theirs.clone(),
            (None, None) => old.clone(),
            (None, Some(_)) => match self.translated(old) {
                Ok(new) => new,
                Err(token) => {
                    let what = format!("{key} is that of token `{token}`, which the output does not have");
                    problems.push(Problem::warning(file, what).hint("it becomes null in the output"));
                    Value::Null
                }
            },
        };
        let known = |id: &u32| self.output.tokens.contains_key(id);
        if ids(&new).is_some_and(|ids| !ids.iter().all(known))
            && let Some((_, name)) = NAMED.iter().find(|(named, _)| *named == key)
        {
            let token = self.tokenizer_config.and_then(|config| content(config.get(name)?));
            let right = token.and_then(|token| self.output.ids.get(token));
            let what = format!("{key} is {new}, but there is no such token");
            let problem = Problem::warning(file, what);
            problems.push(match right {
                Some(id) => problem.hint(format!("the output gets {id}, the tokenizer's `{name}`")),
                None => problem.hint("correct it, or generation may not end"),
            });
            return right.map(|id| json!(id));
        }
        (new != *old).then_some(new)
    }

    /// Ids of the same tokens in the output.
    fn translated(&self, old: &Value) -> Result<Value, String> {
        let one = |value: &Value| {
            let Some(id) = value.as_u64().and_then(|id| u32::try_from(id).ok()) else {
                return Ok(value.clone());
            };
            let token = self.from.tokens.get(&id).ok_or_else(|| id.to_string())?;
            self.output.ids.get(token).map(|id| json!(id)).ok_or_else(|| token.clone())
        };
        match old {
            Value::Array(list) => list.iter().map(one).collect(),
            value => one(value),
        }
    }
}

/// Writes the number of rows wherever the configuration keeps it.
pub(super) fn set_size(config: &mut Value, rows: usize) {
    let mut found = false;
    each(config, &mut |part| {
        if part.contains_key("vocab_size") {
            part.insert("vocab_size".into(), json!(rows));
            found = true;
        }
    });
    if let (false, Some(top)) = (found, config.as_object_mut()) {
        top.insert("vocab_size".into(), json!(rows));
    }
}

/// The number of rows that a configuration gives.
pub(super) fn size(config: &Value) -> Option<usize> {
    find(config, "vocab_size")?.as_u64().map(|size| size as usize)
}

/// Visits the objects of a configuration that describe the language model.
fn each(config: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Some(top) = config.as_object_mut() else { return };
    visit(top);
    for part in NESTED {
        if let Some(Value::Object(part)) = top.get_mut(*part) {
            visit(part);
        }
    }
}

fn find<'a>(config: &'a Value, key: &str) -> Option<&'a Value> {
    let nested = NESTED.iter().filter_map(|part| config.get(part)?.get(key));
    config.get(key).into_iter().chain(nested).find(|value| !value.is_null())
}

fn ids(value: &Value) -> Option<Vec<u32>> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(list) => list.iter().map(one).collect(),
        value => one(value).map(|id| vec![id]),
    }
}

/// A token as `tokenizer_config.json` writes it: text, or an object with `content`.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}
