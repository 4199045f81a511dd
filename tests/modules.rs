//! Recipes with `modules:`: each module is put together by itself, and everything arrives where it should, with the
//! parameters that hold there.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Noise, Tensors, f32s, merge, plan, refusal, values};

const ENCODER: usize = 3;
const DECODER: usize = 4;

/// The names of a small T5.
fn names() -> Vec<String> {
    let mut names: Vec<String> =
        ["shared.weight", "encoder.final_layer_norm.weight", "decoder.final_layer_norm.weight"]
            .map(str::to_owned)
            .to_vec();
    for (tower, layers) in [("encoder", ENCODER), ("decoder", DECODER)] {
        names.push(format!("{tower}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"));
        for layer in 0..layers {
            names.push(format!("{tower}.block.{layer}.layer.0.SelfAttention.q.weight"));
            names.push(format!("{tower}.block.{layer}.layer.1.DenseReluDense.wo.weight"));
        }
    }
    names
}

fn t5(seed: u64) -> Tensors {
    let mut noise = Noise(seed);
    names().into_iter().map(|name| (name, f32s(&[2, 3], (0..6).map(|_| noise.next())))).collect()
}

fn write(folder: &Path, tensors: &Tensors, config: &Value) {
    support::write(folder, tensors);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

fn config() -> Value {
    json!({"model_type": "t5", "num_layers": ENCODER, "num_decoder_layers": DECODER})
}

struct World(tempfile::TempDir, [Tensors; 2]);

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let models = [t5(11), t5(29)];
        write(&dir.path().join("a"), &models[0], &config());
        write(&dir.path().join("b"), &models[1], &config());
        Self(dir, models)
    }

    /// `{a}` and `{b}` stand for the models.
    fn recipe(&self, text: &str) -> String {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        text.replace("{a}", &path("a")).replace("{b}", &path("b"))
    }

    /// `x·a[from] + y·b[from]`, in f64.
    fn sum(&self, x: f64, a: &str, y: f64, b: &str) -> Vec<f64> {
        let [of_a, of_b] = [values(&self.1[0][a]), values(&self.1[1][b])];
        of_a.iter().zip(&of_b).map(|(p, q)| x * p + y * q).collect()
    }
}

fn near(merged: &Tensors, name: &str, expected: &[f64]) {
    let found = values(merged.get(name).unwrap_or_else(|| panic!("no {name}")));
    let off = found.iter().zip(expected).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    assert!(off < 1e-6, "{name}: {found:?}, not {expected:?}");
}

#[test]
fn each_module_is_put_together_by_itself_with_its_own_parameters() {
    let world = World::new();
    let recipe = world.recipe(
        "merge_method: linear
parameters: {weight: 0.5, normalize: false}
modules:
  encoder:
    parameters: {weight: 0.25}
    slices:
      - sources: [{model: {a}, layer_range: [0, 2]}, {model: {b}, layer_range: [1, 3], parameters: {weight: 2.0}}]
      - sources: [{model: {b}, layer_range: [0, 3]}]
        parameters: {weight: 3.0}
  decoder:
    models: [{model: {a}, parameters: {weight: [0, 3]}}, {model: {b}}]
  shared:
    parameters: {weight: [{filter: shared, value: 4}]}
    models: [{model: {a}}, {model: {b}, parameters: {weight: 1}}]
",
    );
    let merged = merge(&recipe);
    let layer = |tower: &str, layer: usize, rest: &str| format!("{tower}.block.{layer}.{rest}");
    for rest in ["layer.0.SelfAttention.q.weight", "layer.1.DenseReluDense.wo.weight"] {
        let encoder = |l: usize| layer("encoder", l, rest);
        let decoder = |l: usize| layer("decoder", l, rest);
        for i in 0..2 {
            near(&merged, &encoder(i), &world.sum(0.25, &encoder(i), 2.0, &encoder(i + 1)));
        }
        for i in 0..3 {
            near(&merged, &encoder(2 + i), &world.sum(0.0, &encoder(i), 3.0, &encoder(i)));
        }
        for i in 0..DECODER {
            near(&merged, &decoder(i), &world.sum(i as f64, &decoder(i), 0.5, &decoder(i)));
        }
        assert!(!merged.contains_key(&encoder(5)) && !merged.contains_key(&decoder(DECODER)));
    }
    // Before the layers: the first slice's models; after them: the last's.
    let bias = |tower: &str| format!("{tower}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    near(&merged, &bias("encoder"), &world.sum(0.25, &bias("encoder"), 2.0, &bias("encoder")));
    near(&merged, &bias("decoder"), &world.sum(0.0, &bias("decoder"), 0.5, &bias("decoder")));
    let norm = |tower: &str| format!("{tower}.final_layer_norm.weight");
    near(&merged, &norm("encoder"), &world.sum(0.0, &norm("encoder"), 3.0, &norm("encoder")));
    near(&merged, &norm("decoder"), &world.sum(0.0, &norm("decoder"), 0.5, &norm("decoder")));
    near(&merged, "shared.weight", &world.sum(4.0, "shared.weight", 1.0, "shared.weight"));
    assert_eq!(merged.len(), names().len() + 4, "two more layers of two tensors");

    let plan = plan(&recipe);
    let written = plan.config.as_ref().unwrap();
    assert_eq!((&written["num_layers"], &written["num_decoder_layers"]), (&json!(5), &json!(DECODER)));
    let left: Vec<&str> = plan.left_out.iter().map(|l| l.tensor.as_str()).collect();
    let first = names().into_iter().filter(|n| n.starts_with("encoder.block.2.") || *n == norm("encoder"));
    assert_eq!(left, first.collect::<std::collections::BTreeSet<_>>().iter().collect::<Vec<_>>(), "of a");
}

/// The same model as without `modules`.
#[test]
fn modules_of_whole_models_are_the_whole_model() {
    let world = World::new();
    for method in ["slerp", "ties"] {
        let parameters = if method == "slerp" { "{t: 0.3}" } else { "{weight: 0.7, density: 0.5}" };
        let head = format!("merge_method: {method}\nbase_model: {{a}}\nparameters: {parameters}\n");
        let models = "models: [{model: {a}}, {model: {b}}]";
        let whole = merge(&world.recipe(&format!("{head}{models}\n")));
        let modules = ["encoder", "decoder", "shared"].map(|m| format!("  {m}: {{{models}}}\n")).concat();
        let parts = merge(&world.recipe(&format!("{head}modules:\n{modules}")));
        assert_eq!(whole.len(), parts.len());
        for (name, tensor) in &whole {
            assert!(parts[name].bytes == tensor.bytes, "{method}: {name}");
        }
    }
}

/// A module of one model is that model's, whatever the method takes otherwise.
#[test]
fn a_module_of_one_model_is_copied() {
    let world = World::new();
    for (method, parameters) in
        [("slerp", "t: 0.3"), ("ties", "weight: 0.5"), ("model_stock", "filter_wise: false")]
    {
        let recipe = format!(
            "merge_method: {method}
base_model: {{a}}
parameters: {{{parameters}}}
modules:
  encoder: {{models: [{{model: {{a}}}}]}}
  shared: {{models: [{{model: {{a}}}}]}}
  decoder: {{slices: [{{sources: [{{model: {{a}}, layer_range: [1, 3]}}]}}]}}
"
        );
        let merged = merge(&world.recipe(&recipe));
        let a = &world.1[0];
        assert_eq!(merged["shared.weight"].bytes, a["shared.weight"].bytes, "{method}");
        let q = |layer: usize| format!("decoder.block.{layer}.layer.0.SelfAttention.q.weight");
        assert_eq!(merged[&q(0)].bytes, a[&q(1)].bytes, "{method}");
        assert!(!merged.contains_key(&q(2)));
    }
}

/// A language model merged into the text tower of a model with eyes, which keeps its own.
#[test]
fn a_text_model_fits_into_the_text_tower() {
    let dir = tempfile::tempdir().unwrap();
    let mut noise = Noise(5);
    let mut tensor = || f32s(&[2, 2], (0..4).map(|_| noise.next()));
    let text = [
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
    ];
    let alone: Tensors = text.iter().map(|name| ((*name).to_owned(), tensor())).collect();
    let mut seeing: Tensors = text.iter().map(|name| (format!("language_model.{name}"), tensor())).collect();
    for name in ["vision_tower.encoder.layers.0.mlp.fc1.weight", "multi_modal_projector.linear_1.weight"] {
        seeing.insert(name.into(), tensor());
    }
    let config = json!({
        "model_type": "llava", "text_config": {"model_type": "llama", "num_hidden_layers": 2}, "vision_config": {"num_hidden_layers": 1},
    });
    write(&dir.path().join("seeing"), &seeing, &config);
    write(&dir.path().join("text"), &alone, &json!({"model_type": "llama", "num_hidden_layers": 2}));
    let [seeing_path, text_path] = ["seeing", "text"].map(|name| dir.path().join(name).display().to_string());
    let recipe = format!(
        "merge_method: linear
parameters: {{weight: 0.5}}
modules:
  text_decoder: {{models: [{{model: {text_path}}}, {{model: {seeing_path}}}]}}
  vision_tower: {{models: [{{model: {seeing_path}}}]}}
  multi_modal_projector: {{models: [{{model: {seeing_path}}}]}}
"
    );
    let plan = plan(&recipe);
    assert_eq!(
        plan.inputs[plan.donor].name(),
        seeing_path,
        "the config is that of the model with every module"
    );
    assert!(plan.left_out.is_empty() && plan.warnings.is_empty(), "{}", plan.warnings);
    let merged = merge(&recipe);
    assert_eq!(merged.keys().collect::<Vec<_>>(), seeing.keys().collect::<Vec<_>>());
    for name in text {
        let long = format!("language_model.{name}");
        let [x, y] = [values(&alone[name]), values(&seeing[&long])];
        near(&merged, &long, &x.iter().zip(&y).map(|(x, y)| (x + y) / 2.0).collect::<Vec<_>>());
    }
    let eye = "vision_tower.encoder.layers.0.mlp.fc1.weight";
    assert_eq!(values(&merged[eye]), values(&seeing[eye]));
    // Sliced, the layers of the model without eyes are found too.
    let slices = format!(
        "{{slices: [{{sources: [{{model: {text_path}, layer_range: [0, 2]}}]}}, {{sources: [{{model: {seeing_path}, layer_range: [1, 2]}}]}}]}}"
    );
    let from = format!("{{models: [{{model: {text_path}}}, {{model: {seeing_path}}}]}}");
    let stacked = recipe.replace(&from, &slices);
    assert_ne!(stacked, recipe);
    let merged = merge(&stacked);
    let layer = |l: usize| format!("language_model.model.layers.{l}.mlp.up_proj.weight");
    assert_eq!(values(&merged[&layer(1)]), values(&alone["model.layers.1.mlp.up_proj.weight"]));
    assert_eq!(values(&merged[&layer(2)]), values(&seeing[&layer(1)]));
    assert_eq!(support::plan(&stacked).config.unwrap()["text_config"]["num_hidden_layers"], 3);
}

/// T5's decoder is as long as its encoder where the config does not say.
#[test]
fn a_count_that_follows_another_is_spelt_out() {
    let world = World::new();
    let a = world.0.path().join("a");
    std::fs::write(a.join("config.json"), json!({"model_type": "t5", "num_layers": ENCODER}).to_string())
        .unwrap();
    let text = "merge_method: passthrough
modules:
  encoder: {slices: [{sources: [{model: {a}, layer_range: [0, 2]}]}]}
  decoder: {models: [{model: {a}}]}
  shared: {models: [{model: {a}}]}
";
    let config = plan(&world.recipe(text)).config.unwrap();
    assert_eq!((&config["num_layers"], &config["num_decoder_layers"]), (&json!(2), &json!(DECODER)));
}

#[test]
fn bad_modules() {
    let world = World::new();
    let all = "modules:\n  encoder: {models: [{model: {a}}]}\n  decoder: {models: [{model: {a}}]}\n  shared: {models: [{model: {a}}]}\n";
    let refused = |text: &str| {
        let refusal = refusal(&world.recipe(&format!("merge_method: passthrough\n{text}")));
        refusal.replace(&world.0.path().display().to_string(), "…")
    };
    let slices = "{slices: [{sources: [{model: {a}, layer_range: [0, 9]}]}]}";
    let cases = [
        ("no mapping", "modules: [1]\n".to_owned()),
        ("empty", "modules: {}\n".to_owned()),
        ("beside models", format!("models: [{{model: {{a}}}}]\n{all}")),
        (
            "nothing in it",
            all.replace("decoder: {models: [{model: {a}}]}", "decoder: {parameters: {scale: 1}}"),
        ),
        (
            "both in it",
            all.replace(
                "decoder: {models",
                &format!("decoder: {{slices: {}, models", &slices[9..slices.len() - 1]),
            ),
        ),
        ("modules in a module", all.replace("shared: {models: [{model: {a}}]}", "shared: {modules: {x: 1}}")),
        ("a slip", all.replace("decoder:", "decodr:")),
        ("no such module", all.replace("decoder:", "vision_tower:")),
        ("a module is missing", all.replace("  shared: {models: [{model: {a}}]}\n", "")),
        (
            "beyond the layers",
            all.replace("encoder: {models: [{model: {a}}]}", &format!("encoder: {slices}")),
        ),
        (
            "a module without layers",
            all.replace("shared: {models: [{model: {a}}]}", &format!("shared: {slices}")),
        ),
        ("an unknown parameter", all.replace("shared: {models", "shared: {parameters: {scal: 1}, models")),
        ("slices of a model of two towers", format!("slices: {}\n", &slices[9..slices.len() - 1])),
    ];
    let mut text = String::new();
    for (name, recipe) in cases {
        text += &format!("## {name}\n{}\n", refused(&recipe));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_schema_knows_modules() {
    let output = support::command().arg("schema").output().unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let required = |schema: &Value| -> Vec<String> {
        let forms = schema["oneOf"].as_array().unwrap().iter();
        forms.map(|form| form["required"][0].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(required(&schema["then"]), ["models", "slices", "modules"]);
    let module = &schema["$defs"]["module"];
    assert_eq!(required(module), ["models", "slices"]);
    assert!(module["properties"]["parameters"].is_object());
    assert_eq!(schema["properties"]["modules"]["anyOf"][0]["additionalProperties"]["$ref"], "#/$defs/module");
}
