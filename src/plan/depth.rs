//! What `config.json` says of the layers: how many there are, and of what kind each is. Where slices number layers
//! anew, both follow.

use serde_json::{Value, json};

use super::kinds;
use crate::arch::Module;
use crate::problem::{Problem, Problems};

/// Names of the number of layers, and the module that the name itself tells.
const COUNTS: &[(&str, &str)] = &[
    ("num_hidden_layers", ""),
    ("num_layers", ""),
    ("n_layer", ""),
    ("n_layers", ""),
    ("depth", ""),
    ("encoder_layers", "encoder"),
    ("num_encoder_layers", "encoder"),
    ("decoder_layers", "decoder"),
    ("num_decoder_layers", "decoder"),
];

/// What parts of a config are called, and parts of names that the tensors of such a module have.
const SECTIONS: &[(&str, &[&str])] = &[
    ("vision", &["vis", "image", "patch"]),
    ("audio", &["audio", "speech"]),
    ("text", &["text", "language"]),
    ("encoder", &["encoder"]),
    ("decoder", &["decoder"]),
];

/// Lists with an entry for each layer.
const LISTS: &[&str] = &[
    "layer_types",
    "mlp_layer_types",
    "layers_block_type",
    "attention_layers",
    "no_rope_layers",
    "block_configs",
    "num_query_heads",
    "num_kv_heads",
    "ffn_multipliers",
];

/// Lists of the numbers of those layers that have something.
const INDICES: &[&str] = &[
    "mlp_only_layers",
    "moe_layers",
    "cross_attention_layers",
    "full_attn_idxs",
    "attn_layer_indices",
    "fullatt_block_indexes",
    "deepstack_visual_indexes",
];

/// A layer of the output: the config of the model that it is from, and its number there.
#[derive(Clone, Copy)]
pub(super) struct From<'a> {
    pub(super) config: Option<&'a Value>,
    pub(super) layer: usize,
}

/// Writes the layers of a module into the output's config, which so far is that of the model that gives it.
pub(super) fn set(config: &mut Value, module: &Module, layers: &[From<'_>], problems: &mut Problems) {
    let paths = counts(config, module);
    let stored = module.tower.as_ref().map_or(0, |t| t.layers);
    for path in &paths {
        if let Some(said) = at(config, path).and_then(Value::as_u64).filter(|n| *n != stored as u64) {
            let key = path.join(".");
            problems.push(Problem::warning(
                "config.json",
                format!("{key} is {said}, but the model that gives the config has {stored} layers"),
            ));
        }
        put(config, path, json!(layers.len()));
    }
    let Some((_, section)) = paths.first().and_then(|path| path.split_last()) else { return };
    let section: Vec<String> = section.to_vec();
    let Some(ours) = at(config, &section).cloned() else { return };
    let of =
        |from: &From<'_>| (from.config.and_then(|c| at(c, &section)).unwrap_or(&ours).clone(), from.layer);
    let layers: Vec<(Value, usize)> = layers.iter().map(of).collect();
    let mut warn = |what: String| {
        let hint = "check config.json of the output: its layers have other numbers than where they come from";
        problems.push(Problem::warning("config.json", what).hint(hint));
    };
    let mut write = |key: &str, value: Value| {
        put(config, &[section.as_slice(), &[key.to_owned()]].concat(), value);
    };
    for key in LISTS.iter().filter(|key| ours.get(**key).is_some_and(Value::is_array)) {
        let entry =
            |(section, layer): &(Value, usize)| section.get(*key).unwrap_or(&ours[*key]).get(*layer).cloned();
        match layers.iter().map(entry).collect::<Option<Vec<Value>>>() {
            Some(list) => write(key, Value::Array(list)),
            None => warn(format!("`{key}` has fewer entries than there are layers, and was left as it is")),
        }
    }
    for key in INDICES.iter().filter(|key| ours.get(**key).is_some_and(Value::is_array)) {
        let listed = |(section, layer): &(Value, usize)| {
            section.get(*key).unwrap_or(&ours[*key]).as_array().is_some_and(|a| a.contains(&json!(layer)))
        };
        let numbers = layers.iter().enumerate().filter(|(_, from)| listed(from)).map(|(i, _)| json!(i));
        write(key, numbers.collect());
    }
    kinds::follow(&ours, &layers, &mut write, &mut warn);
    let known = |key: &String| LISTS.contains(&key.as_str()) || INDICES.contains(&key.as_str());
    for (key, value) in ours.as_object().into_iter().flatten().filter(|(key, _)| !known(key)) {
        let names_layers = key.contains("layer") || key.contains("block");
        if names_layers && value.as_array().is_some_and(|list| list.len() == stored) {
            warn(format!("`{key}` may be a list with an entry for each layer, and was left as it is"));
        }
    }
}

/// Spells out a number of layers that follows from another module's: T5's decoder is as long as its encoder where
/// nothing is said.
pub(super) fn keep(config: &mut Value, module: &Module) {
    let Some(tower) = module.tower.as_ref().filter(|_| !module.layer_keys.is_empty()) else { return };
    let paths = counts(config, module);
    if let [path] = &paths[..]
        && at(config, path).is_none()
    {
        put(config, path, json!(tower.layers));
    }
}

/// Where the config has the number of the module's layers; where it should have it, if it does not say.
fn counts(config: &Value, module: &Module) -> Vec<Vec<String>> {
    let split = |key: &String| key.split('.').map(str::to_owned).collect::<Vec<_>>();
    let known: Vec<Vec<String>> = module.layer_keys.iter().map(split).collect();
    let present = known.iter().filter(|path| at(config, path).is_some()).cloned().collect::<Vec<_>>();
    match (present.is_empty(), known.into_iter().next()) {
        (false, _) => present,
        (true, Some(first)) => vec![first],
        (true, None) => guessed(config, module),
    }
}

/// The same for an architecture without a file: what agrees with the module's name, and then with its number of
/// layers.
fn guessed(config: &Value, module: &Module) -> Vec<Vec<String>> {
    let prefix = module.tower.as_ref().map_or("", |t| t.prefix.as_str());
    let words = format!("{}.{prefix}", module.name).to_lowercase();
    // How well a word of the config agrees with the module; `None` if it means another.
    let agrees = |word: &str| match SECTIONS.iter().find(|(name, _)| word.starts_with(name)) {
        Some((_, parts)) => parts.iter().any(|part| words.contains(part)).then_some(1),
        None => Some(0),
    };
    let count = module.tower.as_ref().map_or(0, |t| t.layers as u64);
    let mut found = Vec::new();
    let sections = config.as_object().into_iter().flatten().filter(|(key, _)| key.ends_with("_config"));
    let sections = sections.map(|(key, value)| (vec![key.clone()], value)).chain([(Vec::new(), config)]);
    for (section, value) in sections {
        let Some(of_section) = section.first().map_or(Some(0), |s| agrees(s)) else { continue };
        for (key, of) in COUNTS {
            if let (Some(of_key), Some(n)) = (agrees(of), value.get(key).and_then(Value::as_u64)) {
                let path = [section.as_slice(), &[(*key).to_owned()]].concat();
                found.push(((u8::from(n == count), of_section + of_key), path));
            }
        }
    }
    let best = found.iter().map(|(score, _)| *score).max();
    let paths: Vec<_> = found.into_iter().filter(|(s, _)| Some(*s) == best).map(|(_, path)| path).collect();
    match paths.is_empty() {
        true => vec![vec![COUNTS[0].0.to_owned()]],
        false => paths,
    }
}

fn at<'v>(config: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(config, |value, key| value.get(key)).filter(|value| !value.is_null())
}

fn put(config: &mut Value, path: &[String], new: Value) {
    let Some((key, section)) = path.split_last() else { return };
    let mut value = config;
    for key in section {
        let Some(map) = value.as_object_mut() else { return };
        value = map.entry(key).or_insert_with(|| json!({}));
    }
    if let Some(map) = value.as_object_mut() {
        map.insert(key.clone(), new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Family, Modules};

    /// The config after a model of one module was put together from these of its layers.
    fn sliced(config: &Value, prefix: &str, count: usize, layers: &[usize]) -> (Value, String) {
        let names: Vec<String> = (0..count).map(|l| format!("{prefix}{l}.x.weight")).collect();
        let family = Family::of(config["model_type"].as_str());
        let modules = Modules::of(&family, names.iter().map(String::as_str));
        let mut new = config.clone();
        let mut problems = Problems::new();
        let from: Vec<From<'_>> = layers.iter().map(|l| From { config: Some(config), layer: *l }).collect();
        set(&mut new, modules.iter().next().unwrap(), &from, &mut problems);
        (new, problems.to_string())
    }

    #[test]
    fn the_count_is_set_where_the_config_has_it() {
        let whole = |config: Value, prefix: &str, count| sliced(&config, prefix, count, &[0, 1, 1, 2, 2]).0;
        assert_eq!(whole(json!({"n_layer": 3}), "h.", 3)["n_layer"], 5);
        assert_eq!(
            whole(json!({"encoder_layers": 3, "decoder_layers": 3}), "a.decoder.", 3)["decoder_layers"],
            5
        );
        assert_eq!(
            whole(json!({"encoder_layers": 3, "decoder_layers": 3}), "a.decoder.", 3)["encoder_layers"],
            3
        );
        let two = json!({"text_config": {"num_hidden_layers": 3}, "vision_config": {"depth": 3}});
        let seen = whole(two.clone(), "visual.blocks.", 3);
        assert_eq!(
            (&seen["text_config"]["num_hidden_layers"], &seen["vision_config"]["depth"]),
            (&json!(3), &json!(5))
        );
        let read = whole(two, "language.layers.", 3);
        assert_eq!(
            (&read["text_config"]["num_hidden_layers"], &read["vision_config"]["depth"]),
            (&json!(5), &json!(3))
        );
        // Of two that agree in name, the one with the right number.
        let odd = whole(json!({"num_hidden_layers": 3, "num_layers": 7}), "layers.", 3);
        assert_eq!((&odd["num_hidden_layers"], &odd["num_layers"]), (&json!(5), &json!(7)));
        assert_eq!(whole(json!({}), "layers.", 3)["num_hidden_layers"], 5);
        assert_eq!(whole(json!({"model_type": "t5"}), "decoder.block.", 3)["num_decoder_layers"], 5);
    }

    #[test]
    fn another_number_than_that_of_the_tensors_is_named() {
        let (config, said) = sliced(&json!({"num_hidden_layers": 2}), "layers.", 3, &[0, 1, 2, 2]);
        assert_eq!(config["num_hidden_layers"], 4);
        assert!(said.contains("num_hidden_layers is 2") && said.contains("has 3 layers"), "{said}");
    }

    #[test]
    fn lists_follow_their_layers() {
        let config = json!({
            "num_hidden_layers": 3, "layer_types": ["a", "b", "c"], "no_rope_layers": [1, 0, 1],
            "mlp_only_layers": [0, 2], "block_configs": [{"n": 0}, {"n": 1}, {"n": 2}], "eos_token_id": [5, 6, 7],
            "strange_layer_sizes": [1, 2, 3],
        });
        let (new, said) = sliced(&config, "layers.", 3, &[0, 2, 2, 1]);
        assert_eq!(new["layer_types"], json!(["a", "c", "c", "b"]));
        assert_eq!(new["no_rope_layers"], json!([1, 1, 1, 0]));
        assert_eq!(new["mlp_only_layers"], json!([0, 1, 2]));
        assert_eq!(new["block_configs"], json!([{"n": 0}, {"n": 2}, {"n": 2}, {"n": 1}]));
        assert_eq!(new["eos_token_id"], config["eos_token_id"]);
        assert!(said.contains("strange_layer_sizes") && !said.contains("eos"), "{said}");
        let short = json!({"num_hidden_layers": 3, "layer_types": ["a"]});
        let (new, said) = sliced(&short, "layers.", 3, &[0, 1]);
        assert!(
            new == json!({"num_hidden_layers": 2, "layer_types": ["a"]}) && said.contains("fewer entries"),
            "{said}"
        );
    }

    #[test]
    fn patterns_become_lists_where_the_layers_do_not_fit_them() {
        let gemma = json!({"num_hidden_layers": 6, "sliding_window_pattern": 3});
        let (same, said) = sliced(&gemma, "layers.", 6, &[0, 1, 2, 3, 4, 5, 3, 4]);
        assert!(same.get("layer_types").is_none() && said.is_empty(), "{same} {said}");
        let (other, _) = sliced(&gemma, "layers.", 6, &[0, 2, 2]);
        assert_eq!(other["layer_types"], json!(["sliding_attention", "full_attention", "full_attention"]));
        let (smol, _) =
            sliced(&json!({"no_rope_layer_interval": 2, "num_hidden_layers": 4}), "layers.", 4, &[1, 2]);
        assert_eq!(smol["no_rope_layers"], json!([0, 1]));
        let old = json!({"model_type": "gemma2", "num_hidden_layers": 4});
        assert_eq!(sliced(&old, "layers.", 4, &[1, 2]).0["layer_types"][0], "full_attention");
        let deep = json!({"first_k_dense_replace": 2, "num_hidden_layers": 4});
        assert_eq!(sliced(&deep, "layers.", 4, &[0, 2, 3]).0["first_k_dense_replace"], 1);
        assert!(sliced(&deep, "layers.", 4, &[2, 0]).1.contains("first_k_dense_replace"));
        let sparse = json!({"decoder_sparse_step": 2, "num_hidden_layers": 4});
        assert!(sliced(&sparse, "layers.", 4, &[1, 2]).1.contains("decoder_sparse_step: 2"));
    }
}
