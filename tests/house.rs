//! Rules of the house that a compiler does not check.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use growmerge::plan::{Plan, PlanOptions};
use growmerge::recipe::{Contents, Recipe};
use proptest::prelude::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

/// The stages from words to bytes; none may know a later one, and methods know no stage at all.
#[test]
fn modules_use_only_what_comes_before_them() {
    let forbidden: &[(&str, &[&str])] = &[
        (
            "recipe",
            &[
                "method",
                "checkpoint",
                "coefficients",
                "arch",
                "device",
                "vocabulary",
                "view",
                "plan",
                "execute",
                "write",
            ],
        ),
        (
            "checkpoint",
            &["coefficients", "recipe", "method", "arch", "device", "view", "plan", "execute", "write"],
        ),
        (
            "coefficients",
            &["recipe", "method", "arch", "device", "view", "vocabulary", "plan", "execute", "write", "eval"],
        ),
        (
            "optimise",
            &["recipe", "method", "checkpoint", "device", "view", "plan", "execute", "write", "tune"],
        ),
        ("arch", &["recipe", "method", "checkpoint", "device", "view", "plan", "execute", "write"]),
        ("device", &["recipe", "method", "arch", "view", "plan", "execute", "write"]),
        ("method", &["coefficients", "recipe", "arch", "view", "plan", "execute", "write"]),
        ("adapter", &["recipe", "method", "view", "plan", "execute", "write", "eval", "report"]),
        ("vocabulary", &["method", "device", "view", "plan", "execute", "write"]),
        ("view", &["method", "plan", "execute", "write", "decoder", "eval", "report"]),
        ("plan", &["execute", "write", "decoder", "eval", "report", "explain"]),
        ("execute", &["write", "decoder", "eval", "report"]),
        ("write", &["decoder", "eval", "report"]),
        ("decoder", &["recipe", "method", "arch", "view", "plan", "execute", "write", "eval", "report"]),
        ("eval", &["method", "arch", "report"]),
        ("report", &["plan", "execute", "write", "explain"]),
        ("explain", &["execute", "write", "decoder", "eval"]),
        ("hub", &["method", "arch", "device", "view", "vocabulary", "decoder", "eval", "report"]),
    ];
    for (module, others) in forbidden {
        for file in files(&root().join("src").join(module), "rs") {
            let text = std::fs::read_to_string(&file).unwrap();
            for other in *others {
                let uses = format!("crate::{other}");
                assert!(!text.contains(&uses), "{} uses {uses}", file.display());
            }
        }
    }
    assert!(files(&root().join("src/plan"), "rs").len() > 5, "the test looks at something");
    // The network is the command line's: nothing else knows that there is a Hub.
    let (src, hub) = (root().join("src"), root().join("src/hub"));
    for file in files(&src, "rs").into_iter().filter(|file| !file.starts_with(&hub)) {
        assert!(!std::fs::read_to_string(&file).unwrap().contains("crate::hub"), "{}", file.display());
    }
    // Of the trainer: texts, then training, then the study that uses all of it, then what is tried on its models.
    let forbidden: &[(&str, &[&str])] = &[
        ("data", &["tokenizer", "grow", "train", "reproduce", "languages"]),
        ("tokenizer", &["data", "grow", "train", "reproduce", "languages"]),
        ("grow", &["data", "tokenizer", "train", "reproduce", "languages"]),
        ("train", &["tokenizer", "grow", "reproduce", "languages"]),
        ("reproduce", &["languages"]),
    ];
    for (module, others) in forbidden {
        let files = files(&root().join("trainer/src").join(module), "rs");
        assert!(!files.is_empty(), "{module}");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for uses in others.iter().map(|other| format!("crate::{other}")) {
                assert!(!text.contains(&uses), "{} uses {uses}", file.display());
            }
        }
    }
}

/// DESIGN.md names the files with unsafe code; there are no others.
#[test]
fn unsafe_code_is_where_it_is_said_to_be() {
    let allowed = [
        "checkpoint/map.rs",
        "decoder/matmul.rs",
        "device/cuda/driver/calls.rs",
        "device/cuda/driver/nvrtc/library.rs",
        "device/cuda/driver/queue.rs",
        "device/simd.rs",
    ];
    let source = root().join("src");
    let lifts = |file: &PathBuf| std::fs::read_to_string(file).unwrap().contains("allow(unsafe_code)");
    let mut found: Vec<String> = files(&source, "rs")
        .into_iter()
        .filter(lifts)
        .map(|f| f.strip_prefix(&source).unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, allowed);
    let design = std::fs::read_to_string(root().join("DESIGN.md")).unwrap();
    assert!(allowed.iter().all(|f| design.contains(f)));
}

#[test]
fn every_method_has_a_file_and_every_recipe_a_plan() {
    for method in growmerge::method::METHODS {
        assert!(root().join(format!("src/method/{}.rs", method.name)).is_file(), "{}", method.name);
        let recipes = files(&root().join("recipes"), "yaml");
        let named = |r: &PathBuf| {
            std::fs::read_to_string(r).unwrap().contains(&format!("merge_method: {}\n", method.name))
        };
        assert!(recipes.iter().any(named), "no recipe shows {}", method.name);
    }
    for file in files(&root().join("recipes"), "yaml") {
        let readings = match Contents::from_file(&file).unwrap() {
            Contents::Recipe(reading) => vec![reading],
            Contents::Grid(grid) => grid.members.into_iter().map(|m| m.reading).collect(),
        };
        for reading in readings {
            // Its models are not in this repository: here only its words are checked, and tests/grids
            // plans it with models that are.
            if file.ends_with("grow-up-and-merge.yaml") {
                assert!(reading.book.is_some() && reading.problems.is_empty(), "{}", reading.problems);
                continue;
            }
            // Files beside the models are measured first, and tests/beside does it.
            if ["fisher.yaml", "regmean.yaml"].iter().any(|name| file.ends_with(name)) {
                assert!(reading.book.is_some() && reading.problems.is_empty(), "{}", reading.problems);
                continue;
            }
            let plan = Plan::from_reading(reading, &PlanOptions::default());
            let plan = plan.unwrap_or_else(|p| panic!("{}:\n{p}", file.display()));
            assert!(plan.warnings.is_empty(), "{}:\n{}", file.display(), plan.warnings);
        }
    }
}

/// Words of the language and of nothing, in any order.
fn fragment() -> impl Strategy<Value = String> {
    let words = [
        "merge_method:",
        "models:",
        "- model:",
        "parameters:",
        "weight:",
        "base_model:",
        "slices:",
        "sources:",
        "layer_range:",
        "filter:",
        "value:",
        "dtype:",
        "ties",
        "linear",
        "0.5",
        "[0, 4]",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a",
        "*a",
        "<<: *a",
        "null",
        "~",
        "true",
        "---",
        "matrix:",
        "subsets:",
        "exclude:",
        "name:",
        "for: a in ",
        "{a}",
        "set:",
        "a:",
        "\n",
        "\n  ",
        "\n    ",
        " ",
        "\"",
        "'",
        "|",
        "!tag",
        "\t",
        "é",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..40).prop_map(|w| w.concat())
}

/// A value that a careless or hostile `config.json` may have.
fn odd_value() -> impl Strategy<Value = serde_json::Value> {
    let numbers = [0, 1, 2, 3, 4, 16, 64, 176, 2048, 1 << 20, (1 << 31) - 1, 1 << 31, i64::MAX, -1];
    prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        proptest::sample::select(numbers.to_vec()).prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        proptest::sample::select(vec![
            "default", "linear", "llama3", "yarn", "longrope", "gelu", "silu", "x"
        ])
        .prop_map(Into::into),
        proptest::collection::vec(0.0..4.0f64, 0..5).prop_map(Into::into),
        Just(serde_json::json!([
            "sliding_attention",
            "full_attention",
            "sliding_attention",
            "full_attention"
        ])),
        Just(serde_json::json!({"full_attention": {"rope_theta": 5.0}, "sliding_attention": []})),
    ]
}

/// Keys of every family, with any of these values.
fn odd_config() -> impl Strategy<Value = serde_json::Value> {
    let keys = [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "rms_norm_eps",
        "hidden_act",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "sliding_window",
        "layer_types",
        "no_rope_layers",
        "no_rope_layer_interval",
        "sliding_window_pattern",
        "partial_rotary_factor",
        "max_position_embeddings",
        "tie_word_embeddings",
        "query_pre_attn_scalar",
        "attn_logit_softcapping",
        "lm_head_normalization_factor",
        "attention_bias",
        "use_sliding_window",
    ];
    let families: Vec<&str> = growmerge::decoder::Config::families().collect();
    let rope = proptest::collection::btree_map(
        proptest::sample::select(vec![
            "rope_type",
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "rope_theta",
            "beta_fast",
            "beta_slow",
            "short_factor",
            "long_factor",
            "original_max_position_embeddings",
            "mscale",
        ]),
        odd_value(),
        0..8,
    );
    let odd = proptest::collection::btree_map(proptest::sample::select(keys.to_vec()), odd_value(), 0..6);
    (proptest::sample::select(families), odd, proptest::option::of(rope)).prop_map(|(family, odd, rope)| {
        let text = std::fs::read_to_string(root().join("recipes/quickstart/fo/config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config["model_type"] = family.into();
        if let Some(rope) = rope {
            config["rope_parameters"] = serde_json::to_value(rope).unwrap();
        }
        odd.into_iter().for_each(|(key, value)| config[key] = value);
        config
    })
}

proptest! {
    /// Whatever it says, the model either runs or is refused.
    #[test]
    fn no_config_makes_the_decoder_panic(config in odd_config()) {
        use growmerge::decoder::{Config, Decoder, Scratch};
        let fo = root().join("recipes/quickstart/fo");
        let checkpoint = growmerge::checkpoint::Checkpoint::open(fo.to_str().unwrap()).unwrap();
        match Config::read(&config, "config.json") {
            Err(problems) => prop_assert!(problems.has_errors() && !problems.to_string().is_empty()),
            Ok(config) => if let Ok(decoder) = Decoder::new(config, &checkpoint, "fo", 64) {
                let logits = decoder.logits(&[0, 5, 2047], &mut Scratch::default());
                prop_assert_eq!(logits.len(), 3 * 2048);
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in prop_oneof![fragment(), any::<String>()]) {
        if let Ok(Contents::Grid(grid)) = Contents::parse("r.yaml", &text) {
            prop_assert!(!grid.members.is_empty());
        }
        if let Err(problems) = Recipe::parse("r.yaml", &text) {
            prop_assert!(problems.has_errors());
            prop_assert!(!problems.to_string().is_empty());
        }
    }

    #[test]
    fn no_header_makes_the_checkpoint_panic(bytes: Vec<u8>, json in "[\\[\\]{}\":,a-z0-9_F. -]{0,80}", valid_length: bool) {
        let folder = tempfile::tempdir().unwrap();
        let mut file = if valid_length { (json.len() as u64).to_le_bytes().to_vec() } else { Vec::new() };
        file.extend(json.bytes());
        file.extend(bytes);
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, file).unwrap();
        let _ = growmerge::checkpoint::Checkpoint::open(path.to_str().unwrap());
    }
}
