//! The files of the output's vocabulary: its tokenizer, and configurations with its sizes and ids.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::Model;
use super::output::Output;
use super::special::{self, Change};
use super::tokenizer::Tokenizer;
use crate::problem::{Problem, Problems};

/// The files that are not those of the folder.
pub(super) fn written(
    output: &Output,
    files: &Files<'_>,
    first: &Tokenizer,
    problems: &mut Problems,
) -> Option<BTreeMap<&'static str, Vec<u8>>> {
    let mut written = BTreeMap::new();
    let Some(json) = &output.json else { return Some(written) };
    written.insert("tokenizer.json", pretty(json));
    if let Some(mut config) = files.json("tokenizer_config.json", problems) {
        // Older loaders list added tokens there, and some believe it more than tokenizer.json.
        if let Some(decoder) = config.get_mut("added_tokens_decoder").and_then(Value::as_object_mut) {
            let all = first.added.iter().chain(&output.added);
            for (id, fields) in all.filter(|(id, _)| output.added.contains_key(id)) {
                let flags = fields.iter().filter(|(key, _)| *key != "id");
                let flags = flags.map(|(key, value)| (key.clone(), value.clone())).collect();
                decoder.insert(id.to_string(), Value::Object(flags));
            }
        }
        written.insert("tokenizer_config.json", pretty(&config));
    }
    Some(written)
}

/// `config.json` and `generation_config.json` with the sizes and ids of the output.
#[expect(clippy::too_many_arguments, reason = "everything that decides two files")]
pub(super) fn configs(
    from: &Tokenizer,
    models: &[Model<'_>],
    base: usize,
    files: &Files<'_>,
    owner: Option<usize>,
    output: &Output,
    rows: usize,
    problems: &mut Problems,
) -> (Option<Value>, Option<Vec<u8>>) {
    let is_base = owner == Some(base);
    let tokenizer_config = files.json("tokenizer_config.json", problems);
    let [theirs, generation] = match is_base {
        true => [None, None],
        false => {
            let config =
                owner.map_or_else(|| files.json("config.json", problems), |o| models[o].config.cloned());
            [config, files.json("generation_config.json", problems)]
        }
    };
    let owner = |first, second| (!is_base).then_some([first, second]);
    let (config_first, generation_first) =
        (owner(theirs.as_ref(), generation.as_ref()), owner(generation.as_ref(), theirs.as_ref()));
    let change = Change { from, owner: config_first, tokenizer_config: tokenizer_config.as_ref(), output };
    let mut config = models[base].config.cloned();
    if let Some(config) = &mut config {
        let at = format!("{}/config.json", models[base].name());
        change.apply(config, &at, problems);
        special::set_size(config, rows);
    }
    let of_base = Files { read: &*models[base].read, at: models[base].folder };
    let written = of_base.json("generation_config.json", problems).map(|old| {
        let mut new = old.clone();
        let change = Change { owner: generation_first, ..change };
        change.apply(&mut new, &of_base.name("generation_config.json"), problems);
        (new != old).then(|| pretty(&new))
    });
    (config, written.flatten())
}

/// Files beside a model's weights.
pub(super) struct Files<'a> {
    pub(super) read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    pub(super) at: &'a Path,
}

impl Files<'_> {
    fn name(&self, file: &str) -> String {
        self.at.join(file).display().to_string()
    }

    /// A JSON file that need not be there.
    pub(super) fn json(&self, file: &str, problems: &mut Problems) -> Option<Value> {
        match serde_json::from_slice(&(self.read)(file)?) {
            Ok(value) => Some(value),
            Err(error) => {
                problems.push(Problem::error(self.name(file), format!("is not JSON: {error}")));
                None
            }
        }
    }
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_else(|_| json!(null).to_string().into_bytes());
    bytes.push(b'\n');
    bytes
}
