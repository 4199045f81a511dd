//! Files beside the weights that a merged model needs to load: decided at plan time, copied as data.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::problem::{Problem, Problems};
use crate::view::Input;

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

/// A file that is copied into the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    /// Name in the output folder.
    pub name: String,
    /// Where it is now.
    pub from: PathBuf,
}

/// The donor's files.
pub(super) fn companions(donor: &Input, problems: &mut Problems) -> Vec<Companion> {
    let found = beside(donor.name(), donor.folder(), donor.config(), problems);
    found.into_iter().map(|(name, from)| Companion { name, from }).collect()
}

/// What has to go along with the weights of a folder, as name and path: files by well-known name, and the Python files
/// that `auto_map` names in `config.json` and `tokenizer_config.json`. Code is never run; without it a model with
/// custom code would not load. What is missing becomes a warning about the model `name`.
pub fn beside(
    name: &str,
    folder: &Path,
    config: Option<&Value>,
    problems: &mut Problems,
) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    let mut add = |name: &str| {
        let from = folder.join(name);
        if from.is_file() && found.iter().all(|c| c.0 != name) {
            found.push((name.into(), from));
            return true;
        }
        false
    };
    for name in NAMES {
        add(name);
    }
    let tokenizer_config = std::fs::read(folder.join("tokenizer_config.json")).unwrap_or_default();
    let tokenizer_config: Option<Value> = serde_json::from_slice(&tokenizer_config).ok();
    let configs = [config, tokenizer_config.as_ref()];
    let mut modules: Vec<String> = configs.into_iter().flatten().flat_map(auto_map_modules).collect();
    let mut done = Vec::new();
    while let Some(module) = modules.pop() {
        if done.contains(&module) {
            continue;
        }
        let file = format!("{module}.py");
        if add(&file) {
            let text = std::fs::read_to_string(folder.join(&file)).unwrap_or_default();
            modules.extend(relative_imports(&text));
        } else if done.is_empty() || !folder.join(&file).is_file() {
            problems.push(
                Problem::warning(name, format!("`auto_map` needs {file}, which is not in the folder"))
                    .hint("the model that is written will load only where that code is found"),
            );
        }
        done.push(module);
    }
    found
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
