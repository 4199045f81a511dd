//! Models whose layers are not all alike, and tensors that only some models have: nothing is dropped in silence.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::PathBuf;

use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use support::{Noise, Tensor, Tensors, f32s, merge, plan, refusal, values};

struct World {
    dir: tempfile::TempDir,
    noise: Noise,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), noise: Noise(3) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        f32s(shape, (0..shape.iter().product()).map(|_| self.noise.next()))
    }

    fn write(&self, name: &str, tensors: &Tensors, config: &Value) {
        support::write(&self.path(name), tensors);
        std::fs::write(self.path(name).join("config.json"), config.to_string()).unwrap();
    }

    /// `a` and `b` in a recipe stand for the models.
    fn recipe(&self, text: &str) -> String {
        ["base", "a", "b"].iter().fold(text.to_owned(), |text, name| {
            text.replace(&format!("{{{name}}}"), &self.path(name).display().to_string())
        })
    }

    /// A model pruned by search: layers of different widths, one without attention, one without an MLP.
    fn pruned(&mut self, name: &str) -> Tensors {
        let mut tensors = Tensors::new();
        let mut add = |world: &mut Self, name: &str, shape: &[usize]| {
            let tensor = world.tensor(shape);
            tensors.insert(name.to_owned(), tensor);
        };
        add(self, "model.embed_tokens.weight", &[5, 4]);
        add(self, "model.norm.weight", &[4]);
        for (layer, heads, width) in [(0, 4, 6), (1, 0, 10), (2, 2, 0), (3, 2, 8)] {
            let at = |part: &str| format!("model.layers.{layer}.{part}.weight");
            add(self, &at("input_layernorm"), &[4]);
            if heads > 0 {
                add(self, &at("self_attn.q_proj"), &[heads, 4]);
            }
            if width > 0 {
                add(self, &at("mlp.up_proj"), &[width, 4]);
            }
        }
        let blocks: Vec<Value> =
            [(4, 6), (0, 10), (2, 0), (2, 8)].map(|(h, w)| json!({"heads": h, "width": w})).into();
        let config = json!({"model_type": "nemotron-nas", "num_hidden_layers": 4, "block_configs": blocks});
        self.write(name, &tensors, &config);
        tensors
    }
}

const LINEAR: &str =
    "merge_method: linear\nparameters: {weight: 0.5}\nmodels: [{model: {a}}, {model: {b}}]\n";

#[test]
fn layers_of_different_shapes_are_merged_each_with_its_own() {
    let mut world = World::new();
    let (a, b) = (world.pruned("a"), world.pruned("b"));
    let recipe = world.recipe(LINEAR);
    let merged = merge(&recipe);
    assert_eq!(merged.keys().collect::<Vec<_>>(), a.keys().collect::<Vec<_>>());
    for (name, tensor) in &merged {
        assert_eq!(tensor.shape, a[name].shape);
        for ((x, y), z) in values(&a[name]).iter().zip(values(&b[name])).zip(values(tensor)) {
            assert!(((x + y) / 2.0 - z).abs() < 1e-6, "{name}");
        }
    }
    assert!(plan(&recipe).left_out.is_empty());
}

#[test]
fn sliced_layers_keep_their_shapes_and_the_config_follows() {
    let mut world = World::new();
    let a = world.pruned("a");
    let recipe = world.recipe(
        "merge_method: passthrough\nslices: [{sources: [{model: {a}, layer_range: [2, 4]}]}, {sources: [{model: {a}, layer_range: [1, 4]}]}]\n",
    );
    let plan = plan(&recipe);
    let merged = merge(&recipe);
    for (out, from) in [2, 3, 1, 2, 3].into_iter().enumerate() {
        let of = |tensors: &Tensors, layer: usize| -> Vec<(String, Vec<u8>)> {
            let prefix = format!("model.layers.{layer}.");
            let rest = |n: &String| n.strip_prefix(&prefix).map(str::to_owned);
            tensors.iter().filter_map(|(n, t)| Some((rest(n)?, t.bytes.clone()))).collect()
        };
        assert!(!of(&a, from).is_empty());
        assert_eq!(of(&merged, out), of(&a, from), "layer {out}");
    }
    let config = plan.config.unwrap();
    assert_eq!(config["num_hidden_layers"], 5);
    let heads: Vec<u64> =
        config["block_configs"].as_array().unwrap().iter().map(|b| b["heads"].as_u64().unwrap()).collect();
    assert_eq!(heads, [2, 2, 0, 2, 2]);
    let left: Vec<&str> = plan.left_out.iter().map(|l| l.tensor.as_str()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().all(|name| name.starts_with("model.layers.0.")), "{left:?}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut world = World::new();
    let mut a = world.pruned("a");
    world.pruned("b");
    let config = json!({"model_type": "nemotron-nas", "num_hidden_layers": 4});
    // Layers of different kinds over each other.
    let stacked = world.recipe(
        "merge_method: linear\nparameters: {weight: 0.5}\nslices: [{sources: [{model: {a}, layer_range: [0, 2]}, {model: {b}, layer_range: [2, 4]}]}]\n",
    );
    let text = refusal(&stacked);
    for what in [
        "model.layers.0.mlp.up_proj.weight: missing in",
        "model.layers.0.self_attn.q_proj.weight: shapes differ: [4, 4]",
        "model.layers.1.self_attn.q_proj.weight: missing in",
        "model.layers.1.mlp.up_proj.weight: shapes differ: [10, 4]",
    ] {
        assert!(text.contains(what), "{what}\n{text}");
    }
    // A tensor that only one model has, in or out of a layer.
    for extra in ["model.extra.weight", "model.layers.3.extra.weight"] {
        let tensor = world.tensor(&[2]);
        a.insert(extra.into(), tensor);
    }
    world.write("a", &a, &config);
    let text = refusal(&world.recipe(LINEAR));
    for extra in ["model.extra.weight: missing in", "model.layers.3.extra.weight: missing in"] {
        assert!(text.contains(extra), "{text}");
    }
}

/// Frequencies, masks and positions are computed anyway: who has them gives them.
#[test]
fn buffers_of_some_models_are_kept() {
    let mut world = World::new();
    let weight = "bert.encoder.layer.0.output.dense.weight";
    let position = "bert.embeddings.position_ids";
    let frequencies = "bert.encoder.layer.0.rotary_emb.inv_freq";
    let config = json!({"model_type": "bert", "num_hidden_layers": 1});
    let ids = Tensor {
        dtype: Dtype::I64,
        shape: vec![1, 2],
        bytes: [0u64, 1].iter().flat_map(|i| i.to_le_bytes()).collect(),
    };
    for name in ["base", "a", "b"] {
        let mut tensors = Tensors::from([(weight.to_owned(), world.tensor(&[2, 2]))]);
        if name == "b" {
            tensors.insert(position.into(), ids.clone());
            let inverse = world.tensor(&[2]);
            tensors.insert(frequencies.into(), inverse);
        }
        world.write(name, &tensors, &config);
    }
    let b = support::read(&world.path("b"));
    let task = "merge_method: task_arithmetic\nbase_model: {base}\nparameters: {weight: 0.5}\nmodels: [{model: {a}}, {model: {b}}]\n";
    for text in [task, &LINEAR.replace("normalize", "")] {
        let recipe = world.recipe(text);
        let merged = merge(&recipe);
        assert_eq!(merged.len(), 3, "{text}");
        assert_eq!(merged[position].bytes, ids.bytes);
        assert_eq!(merged[frequencies].bytes, b[frequencies].bytes, "{text}");
        assert!(plan(&recipe).left_out.is_empty());
    }
}

/// The first slice's model stores a head, the last one's is tied: the head is that one's embedding.
#[test]
fn a_head_comes_from_the_last_slice_even_if_it_is_tied_there() {
    let mut world = World::new();
    let names = [
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
    ];
    let config = json!({"model_type": "llama", "num_hidden_layers": 2});
    let mut models = Vec::new();
    for name in ["a", "b"] {
        let mut tensors: Tensors = names.iter().map(|n| ((*n).to_owned(), world.tensor(&[3, 2]))).collect();
        if name == "a" {
            let head = world.tensor(&[3, 2]);
            tensors.insert("lm_head.weight".into(), head);
        }
        world.write(name, &tensors, &config);
        models.push(tensors);
    }
    let recipe = world.recipe(
        "merge_method: passthrough\nslices: [{sources: [{model: {a}, layer_range: [0, 2]}]}, {sources: [{model: {b}, layer_range: [0, 2]}]}]\n",
    );
    let merged = merge(&recipe);
    assert_eq!(merged["lm_head.weight"].bytes, models[1][names[0]].bytes);
    assert_eq!(merged[names[0]].bytes, models[0][names[0]].bytes);
    let left: Vec<String> =
        plan(&recipe).left_out.iter().map(|l| format!("{} {}", l.tensor, l.why)).collect();
    assert_eq!(left, ["lm_head.weight taken from another model"]);
}

/// One model has a number of layers in one of its towers that the other has not.
#[test]
fn towers_of_different_lengths_are_told_apart() {
    let mut world = World::new();
    for (name, layers) in [("a", 1), ("b", 2)] {
        let mut tensors = Tensors::new();
        for (tower, count) in [("encoder", 2), ("decoder", layers)] {
            for layer in 0..count {
                let tensor = world.tensor(&[2, 2]);
                tensors.insert(format!("model.{tower}.layers.{layer}.fc1.weight"), tensor);
            }
        }
        world.write(name, &tensors, &json!({"model_type": "whisper"}));
    }
    let text = refusal(&world.recipe(LINEAR));
    assert!(text.contains("number of layers `model.decoder.layers.`"), "{text}");
    assert!(!text.contains("model.encoder.layers"), "{text}");
}
