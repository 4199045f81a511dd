//! Files beside the weights that a merged model needs to load: decided at plan time, copied as data or made of
//! the vocabulary.

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::Path;

use serde_json::Value;

use super::Input;
use crate::checkpoint::{Checkpoint, Folder, Identity, Place};
use crate::problem::{Error, Problem, Problems};
use crate::vocabulary::{self, Owner, Vocabulary};

/// Names that loaders look for. `config.json` is not among them: it is rewritten.
const NAMES: &[&str] = &[
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
];

/// A file beside the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    /// Name in the output folder.
    pub name: String,
    /// What is in it.
    pub contents: Contents,
}

/// What is in a file beside the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// What is in this file now.
    Of(Place),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl Contents {
    /// The bytes.
    ///
    /// # Errors
    /// If the file cannot be read, or brought here first.
    pub fn read(&self) -> Result<Cow<'_, [u8]>, Error> {
        match self {
            Self::Of(place) => place.read().map(Cow::Owned),
            Self::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
        }
    }
}

impl Contents {
    /// What the bytes are known by, without reading them.
    pub(super) fn identity(&self) -> Option<Identity> {
        match self {
            Self::Of(place) => place.folder.identity(&place.name).cloned(),
            Self::Bytes(_) => None,
        }
    }
}

/// What is in a file beside a model's weights, if there is one; what keeps it from being read is a problem.
pub(super) fn bytes(input: &Input, name: &str, problems: &RefCell<Problems>) -> Option<Vec<u8>> {
    let read = file(input, name)?.read().map(Cow::into_owned);
    read.map_err(|error| problems.borrow_mut().extend(error.into())).ok()
}

fn read(contents: &Contents, problems: &mut Problems) -> Vec<u8> {
    let read = contents.read().map(Cow::into_owned);
    read.map_err(|error| problems.extend(error.into())).unwrap_or_default()
}

/// A file beside a model's weights: in its folder, or what its stage would write. An adapter that was saved with a
/// tokenizer was trained with that one.
pub(super) fn file(input: &Input, name: &str) -> Option<Contents> {
    if vocabulary::is_tokenizer_file(name) {
        let own = input.folder().path();
        let mut adapters =
            input.checkpoints().into_iter().map(Checkpoint::folder).filter(|f| f.path() != own);
        if let Some(folder) = adapters.find(|folder| folder.holds("tokenizer.json")) {
            return in_folder(folder, name);
        }
    }
    match input.stage() {
        Some(stage) => stage.plan.companions.iter().find(|c| c.name == name).map(|c| c.contents.clone()),
        None => in_folder(input.folder(), name),
    }
}

fn in_folder(folder: &Folder, name: &str) -> Option<Contents> {
    folder.holds(name).then(|| Contents::Of(Place { folder: folder.clone(), name: name.to_owned() }))
}

/// Whose tokenizer the output gets.
#[derive(Clone, Copy)]
pub(super) struct Tokenizing<'a> {
    pub(super) vocabulary: Option<&'a Vocabulary>,
    pub(super) chat_template: Option<&'a str>,
}

/// The donor's files by well-known name, and the Python files that its configs' `auto_map` names.
/// Code is never run; without it a model with custom code would not load. What lies beside a file that has no
/// `config.json` is not known to belong to it.
///
/// Tokenizer files are the vocabulary's, where the recipe has one; the second list is of those that were left out.
pub(super) fn companions(
    inputs: &[Input],
    donor: usize,
    tokenizing: Tokenizing<'_>,
    problems: &mut Problems,
) -> (Vec<Companion>, Vec<String>) {
    if inputs[donor].is_raw() {
        return (Vec::new(), Vec::new());
    }
    let (mut found, left_out) = tokenizer_and_others(inputs, donor, tokenizing);
    let donor = &inputs[donor];
    code(donor.name(), donor.config(), &mut found, &|name| file(donor, name), problems);
    (found, left_out)
}

/// What has to go along with the weights of a folder: as with a model that nothing is done to. What is missing becomes
/// a warning about the model `name`.
pub fn beside(name: &str, folder: &Folder, config: Option<&Value>, problems: &mut Problems) -> Vec<Place> {
    let there = |name: &str| in_folder(folder, name);
    let companion = |name: &&str| Some(Companion { name: (*name).to_owned(), contents: there(name)? });
    let mut found: Vec<Companion> = NAMES.iter().filter_map(companion).collect();
    code(name, config, &mut found, &there, problems);
    let place = |c: Companion| match c.contents {
        Contents::Of(place) => Some(place),
        Contents::Bytes(_) => None,
    };
    found.into_iter().filter_map(place).collect()
}

/// Adds the Python files that `auto_map` names in `config.json` and `tokenizer_config.json`, and those that they
/// import.
fn code(
    model: &str,
    config: Option<&Value>,
    found: &mut Vec<Companion>,
    file: &dyn Fn(&str) -> Option<Contents>,
    problems: &mut Problems,
) {
    let tokenizer_config = found.iter().find(|c| c.name == "tokenizer_config.json");
    let tokenizer_config = tokenizer_config.map(|c| read(&c.contents, problems)).unwrap_or_default();
    let tokenizer_config: Option<Value> = serde_json::from_slice(&tokenizer_config).ok();
    let configs = [config, tokenizer_config.as_ref()];
    let mut modules: Vec<String> = configs.into_iter().flatten().flat_map(auto_map_modules).collect();
    let mut done = Vec::new();
    while let Some(module) = modules.pop() {
        if done.contains(&module) {
            continue;
        }
        let name = format!("{module}.py");
        match file(&name) {
            Some(contents) => {
                let text = read(&contents, problems);
                modules.extend(relative_imports(&String::from_utf8_lossy(&text)));
                if found.iter().all(|c| c.name != name) {
                    found.push(Companion { name, contents });
                }
            }
            None => problems.push(
                Problem::warning(model, format!("`auto_map` needs {name}, which is not in the folder"))
                    .hint("the merged model will load only where that code is found"),
            ),
        }
        done.push(module);
    }
}

/// Files by well-known name, and those of the tokenizer that do not fit the output.
fn tokenizer_and_others(
    inputs: &[Input],
    donor: usize,
    tokenizing: Tokenizing<'_>,
) -> (Vec<Companion>, Vec<String>) {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for name in NAMES {
        let vocabulary = tokenizing.vocabulary;
        let owner = vocabulary.filter(|_| vocabulary::is_tokenizer_file(name)).map(|v| &v.owner);
        let from = match owner {
            Some(Owner::Outside(outside)) => outside.place(name).map(Contents::Of),
            Some(Owner::Model(owner)) => file(&inputs[*owner], name),
            None => file(&inputs[donor], name),
        };
        let written = vocabulary.and_then(|v| v.written.get(*name));
        let unfit = vocabulary.is_some_and(|v| v.extended) && vocabulary::OTHER_FORMS.contains(name)
            || tokenizing.chat_template.is_some() && *name == "chat_template.json";
        if unfit && from.is_some() {
            left_out.push((*name).to_owned());
            continue;
        }
        let now = written.map(|bytes| Contents::Bytes(bytes.clone())).or(from);
        let contents = match (*name, tokenizing.chat_template) {
            ("chat_template.jinja", Some(template)) => Some(Contents::Bytes(template.as_bytes().to_vec())),
            ("tokenizer_config.json", Some(template)) => {
                let changed = now.as_ref().and_then(|now| with_template(&now.read().ok()?, template));
                changed.map(Contents::Bytes).or(now)
            }
            _ => now,
        };
        found.extend(contents.map(|contents| Companion { name: (*name).to_owned(), contents }));
    }
    (found, left_out)
}

/// A `tokenizer_config.json` with another chat template, if it has one at all: loaders that look there first
/// would not see the file.
fn with_template(config: &[u8], template: &str) -> Option<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(config).ok()?;
    *config.get_mut("chat_template")? = template.into();
    let mut bytes = serde_json::to_vec_pretty(&config).ok()?;
    bytes.push(b'\n');
    Some(bytes)
}

/// `{"AutoModel": "modeling_x.Class", …}` → `modeling_x`. References into another repository
/// (`owner/name--module.Class`) stay there.
fn auto_map_modules(config: &Value) -> Vec<String> {
    let Some(map) = config.get("auto_map").and_then(Value::as_object) else { return Vec::new() };
    let values = map.values().flat_map(|v| match v {
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    });
    let module = |v: &Value| {
        let module = v.as_str()?.rsplit_once('.')?.0;
        (!module.contains("--") && is_plain(module)).then(|| module.to_owned())
    };
    values.filter_map(module).collect()
}

/// Modules of the same folder that a Python file imports: `from .name import …`.
fn relative_imports(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let rest = line.trim_start().strip_prefix("from .")?;
        let name = rest.split_whitespace().next()?;
        is_plain(name).then(|| name.to_owned())
    };
    text.lines().filter_map(name).collect()
}

/// A name that stays in its folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        && Path::new(name).components().count() == 1
}
