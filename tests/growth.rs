//! Growing by HyperCloning: the function that is kept, through the decoder.
//!
//! The cases are those of a numerical check of the formulas in float64, made with numpy.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::toy::{TOY, Toy, apart, logits, logits_by, write_model};
use support::{Tensors, merge, plan, read_file, refusal};

/// In f32, of a few layers: sums run in another order in the wide model.
const TOLERANCE: f64 = 1e-5;

struct World(tempfile::TempDir);

impl World {
    fn new(toy: &Toy) -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        toy.write(&world.path("small"));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn recipe(&self, model: &str, grow: &str) -> String {
        passthrough(&self.path(model), grow)
    }

    /// Grows a model and writes it under another name, weights and configuration by tools of the tests.
    fn grow(&self, model: &str, grow: &str, out: &str) -> Value {
        let recipe = self.recipe(model, grow);
        let config = plan(&recipe).config.unwrap();
        write_model(&self.path(out), &merge(&recipe), &config);
        config
    }

    fn apart(&self, a: &str, b: &str) -> f64 {
        apart(&logits(&self.path(a)), &logits(&self.path(b)))
    }
}

fn passthrough(model: &Path, grow: &str) -> String {
    format!("merge_method: passthrough\nmodels:\n  - {{model: {}, grow: {grow}}}\n", model.display())
}

#[test]
fn the_function_is_kept() {
    let grouped = Toy { heads: 4, kv_heads: 2, head_dim: 6, ..TOY };
    let cases: &[(&str, Toy, &str)] = &[
        ("2x", TOY, "2"),
        ("3x", TOY, "3"),
        ("hidden only", TOY, "{width: 2, intermediate: 1}"),
        ("intermediate only", TOY, "{width: 1, intermediate: 2}"),
        ("unequal", TOY, "{width: 2, intermediate: 3}"),
        ("4x and 2x", TOY, "{width: 4, intermediate: 2}"),
        ("no growth", TOY, "1"),
        ("SiLU", Toy { activation: "silu", ..TOY }, "2"),
        ("own head and biases", Toy { tied: false, bias: true, ..TOY }, "2"),
        ("own head and biases, 3x", Toy { tied: false, bias: true, ..TOY }, "{width: 3, intermediate: 2}"),
        ("own head, said so", Toy { tied: false, ..TOY }, "{width: 2, head: untied}"),
        ("noise", TOY, "{width: 2, noise_snr: 10}"),
        ("noise, 3x", TOY, "{width: 3, noise_snr: 10, seed: 5}"),
        ("loud noise on biases", Toy { bias: true, ..TOY }, "{width: 4, intermediate: 2, noise_snr: 0}"),
        ("four heads, two of keys and values", grouped.clone(), "2"),
        ("the same with noise", grouped, "{width: 2, noise_snr: 10}"),
        ("factor", TOY, "{width: 2, head: factor}"),
        ("another factor", TOY, "{width: 2, head: factor, factor: 8}"),
        ("untied", TOY, "{width: 2, head: untied}"),
        ("untied, 3x", TOY, "{width: 3, head: untied}"),
    ];
    for (name, toy, grow) in cases {
        let world = World::new(toy);
        world.grow("small", grow, "wide");
        let far = world.apart("small", "wide");
        println!("{name:40} {far:.1e}");
        assert!(far < TOLERANCE, "{name}: {far:e}");
    }
}

#[test]
fn a_clone_can_be_cloned() {
    for head in ["norm", "factor", "untied"] {
        let world = World::new(&TOY);
        world.grow("small", &format!("{{width: 2, head: {head}}}"), "wide");
        let again = if head == "untied" { "2".to_owned() } else { format!("{{width: 2, head: {head}}}") };
        let config = world.grow("wide", &again, "wider");
        assert!(world.apart("small", "wider") < TOLERANCE, "{head}");
        assert_eq!(config["hidden_size"], 96);
        let factor = (head == "factor").then_some(json!(4.0));
        assert_eq!(config.get("lm_head_normalization_factor"), factor.as_ref());
    }
}

/// What the check must see: the test that can fail.
#[test]
fn a_wrong_model_is_seen() {
    let world = World::new(&TOY);
    let config = world.grow("small", "{width: 2, head: factor}", "wide");
    let small = logits(&world.path("small"));
    let under = |change: &dyn Fn(&mut Value)| {
        let mut config = config.clone();
        change(&mut config);
        apart(&small, &logits_by(&world.path("wide"), &config))
    };
    assert!(under(&|_| {}) < TOLERANCE);
    // Logits twice too large.
    let far = under(&|c| drop(c.as_object_mut().unwrap().remove("lm_head_normalization_factor")));
    assert!((far - 1.0).abs() < 1e-4, "{far}");
    assert!(under(&|c| c["rms_norm_eps"] = json!(2e-5)) > 3.0 * TOLERANCE);
    let merged = |c: &mut Value| {
        (c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]) = (json!(3), json!(1), json!(16));
    };
    assert!(under(&merged) > 0.1);
}

/// Every family with formulas keeps its logits, every other is refused by name.
#[test]
fn families() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families");
    let (mut grown, mut refused) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let case = entry.unwrap().path();
        if !case.join("config.json").exists() {
            continue;
        }
        let config: Value =
            serde_json::from_slice(&std::fs::read(case.join("config.json")).unwrap()).unwrap();
        let family = config["model_type"].as_str().unwrap().to_owned();
        let tied = config["tie_word_embeddings"] == true;
        if ["gemma2", "gemma3_text", "phi3"].contains(&family.as_str()) {
            let told = refusal(&passthrough(&case, "2"));
            assert!(
                told.contains(&format!("no growth formulas are known for model_type `{family}`")),
                "{told}"
            );
            refused.push(family);
            continue;
        }
        let small = logits(&case);
        for (head, rest) in
            [("norm", "width: 2"), ("untied", "width: 3, intermediate: 2"), ("factor", "width: 2")]
        {
            let with_head = if tied { format!(", head: {head}") } else { String::new() };
            let text = passthrough(&case, &format!("{{{rest}{with_head}}}")) + "dtype: float32\n";
            if tied && head == "factor" && !["llama", "hyperllama"].contains(&family.as_str()) {
                assert!(refusal(&text).contains("`head: factor` makes a hyperllama, which a"), "{family}");
                continue;
            }
            let wide = tempfile::tempdir().unwrap();
            write_model(wide.path(), &merge(&text), &plan(&text).config.unwrap());
            let far = apart(&small, &logits(wide.path()));
            println!("{family:12} {rest}{with_head}: {far:.1e}");
            assert!(far < 2.0 * TOLERANCE, "{}: {far:e}", case.display());
        }
        grown.push(family);
    }
    for list in [&mut grown, &mut refused] {
        list.sort();
        list.dedup();
    }
    assert_eq!(grown, ["hyperllama", "llama", "mistral", "olmo2", "qwen2", "qwen3", "smollm3"]);
    assert_eq!(refused, ["gemma2", "gemma3_text", "phi3"]);
}

#[test]
fn the_three_forms_of_a_head_and_the_way_back() {
    let world = World::new(&TOY);
    for form in ["norm", "factor", "untied"] {
        world.grow("small", &format!("{{width: 2, head: {form}}}"), form);
    }
    let weights = |name: &str| read_file(&world.path(name).join("model.safetensors"));
    let same = |a: &Tensors, b: &Tensors| a.len() == b.len() && a.iter().all(|(n, t)| b[n].bytes == t.bytes);
    for from in ["norm", "factor", "untied"] {
        for to in ["norm", "factor", "untied"] {
            // From a norm, nothing tells the factor: any will do.
            let factor = if from == "norm" && to == "factor" { ", factor: 2" } else { "" };
            let config = world.grow(from, &format!("{{width: 1, head: {to}{factor}}}"), "converted");
            let converted = weights("converted");
            if (from, to) == ("norm", "untied") {
                // The norm keeps the factor, and the head is the embedding.
                assert_eq!(converted["lm_head.weight"].bytes, converted["model.embed_tokens.weight"].bytes);
            } else {
                assert!(same(&converted, &weights(to)), "{from} to {to}");
            }
            let wanted: Value =
                serde_json::from_slice(&std::fs::read(world.path(to).join("config.json")).unwrap()).unwrap();
            assert_eq!(config, wanted, "{from} to {to}");
            assert_eq!(world.apart(from, "converted"), 0.0, "{from} to {to}");
        }
    }
    // A head that went its own way is not tied again.
    let mut changed = weights("untied");
    changed.get_mut("lm_head.weight").unwrap().bytes[403] ^= 1;
    write_model(&world.path("changed"), &changed, &plan(&world.recipe("untied", "1")).config.unwrap());
    let told = refusal(&world.recipe("changed", "{width: 1, head: norm}"));
    assert!(told.contains("`head: norm` asks for a tied head, but lm_head.weight is no multiple"), "{told}");
}

#[test]
fn config_says_what_was_grown() {
    let world = World::new(&Toy { heads: 4, kv_heads: 2, ..TOY });
    let small = Toy { heads: 4, kv_heads: 2, ..TOY }.config();
    let changed = |grow: &str| -> Value {
        let config = plan(&world.recipe("small", grow)).config.unwrap();
        let map = config.as_object().unwrap();
        let differs = |(k, v): &(&String, &Value)| small.get(k.as_str()) != Some(v);
        let changed: serde_json::Map<String, Value> =
            map.iter().filter(differs).map(|(k, v)| (k.clone(), v.clone())).collect();
        changed.into()
    };
    let sizes = json!({
        "hidden_size": 72, "num_attention_heads": 12, "num_key_value_heads": 6, "intermediate_size": 80
    });
    assert_eq!(changed("{width: 3, intermediate: 2}"), sizes);
    let mut factor = sizes.clone();
    factor["model_type"] = json!("hyperllama");
    factor["architectures"] = json!(["HyperLlamaForCausalLM"]);
    factor["lm_head_normalization_factor"] = json!(3.0);
    assert_eq!(changed("{width: 3, intermediate: 2, head: factor}"), factor);
    let mut untied = sizes;
    untied["tie_word_embeddings"] = json!(false);
    assert_eq!(changed("{width: 3, intermediate: 2, head: untied}"), untied);
}

/// The size of a head is written out where it followed from sizes that grow.
#[test]
fn a_head_keeps_its_size() {
    let world = World::new(&TOY);
    let mut config = TOY.config();
    config.as_object_mut().unwrap().remove("head_dim");
    write_model(&world.path("small"), &TOY.tensors(), &config);
    assert_eq!(world.grow("small", "2", "wide")["head_dim"], 8);
    assert!(world.apart("small", "wide") < TOLERANCE);
}

#[test]
fn what_cannot_be_grown_is_refused() {
    let world = World::new(&TOY);
    let other = |change: &dyn Fn(&mut Tensors, &mut Value)| {
        let (mut tensors, mut config) = (TOY.tensors(), TOY.config());
        change(&mut tensors, &mut config);
        write_model(&world.path("other"), &tensors, &config);
        refusal(&world.recipe("other", "2"))
    };
    type Case<'a> = (&'a str, String);
    let small = |grow: &str| refusal(&world.recipe("small", grow));
    let layer = "model.layers.1.self_attn.q_proj.weight";
    let cases: Vec<Case<'_>> = vec![
        ("must be a whole factor from 1 to 1024, not 1.5", small("1.5")),
        ("must be a whole factor from 1 to 1024, not 0", small("0")),
        ("must be a whole factor from 1 to 1024, not a boolean", small("true")),
        ("grow: `width` is missing", small("{intermediate: 2}")),
        ("did you mean `width`?", small("{widht: 2}")),
        ("grow.noise_snr: must be decibels", small("{width: 2, noise_snr: loud}")),
        ("`seed` has no effect without `noise_snr`", small("{width: 2, seed: 1}")),
        ("must be norm, factor or untied, not `tied`", small("{width: 2, head: tied}")),
        ("`factor` goes with `head: factor` only", small("{width: 2, factor: 2}")),
        (
            "no growth formulas are known for model_type `mixtral`",
            other(&|_, c| c["model_type"] = "mixtral".into()),
        ),
        (
            "no growth formula is known for this tensor",
            other(&|t, _| {
                drop(t.insert("model.layers.0.mlp.experts.0.w1.weight".into(), t[layer].clone()));
            }),
        ),
        (
            "has shape [24, 24], but by config.json it has [32, 24]",
            other(&|_, c| (c["num_attention_heads"], c["num_key_value_heads"]) = (4.into(), 1.into())),
        ),
        (
            "config.json has no hidden_size",
            other(&|_, c| drop(c.as_object_mut().unwrap().remove("hidden_size"))),
        ),
        (
            "intermediate_size in config.json is no sensible size",
            other(&|_, c| c["intermediate_size"] = (-4).into()),
        ),
        (
            "the head is not tied, but there is no lm_head.weight",
            other(&|_, c| c["tie_word_embeddings"] = false.into()),
        ),
        (
            "stored as I8, which cannot be divided",
            other(&|t, _| {
                let tensor = t.get_mut(layer).unwrap();
                tensor.dtype = safetensors::tensor::Dtype::I8;
                tensor.bytes.truncate(24 * 24);
            }),
        ),
        ("the weights are quantised", other(&|_, c| c["quantization_config"] = json!({"bits": 4}))),
    ];
    for (want, told) in cases {
        assert!(told.contains(want), "wanted {want:?}:\n{told}");
    }
    // Shapes that still do not fit say so, with the grown shape.
    let told = refusal(&format!(
        "merge_method: linear\nmodels:\n  - {{model: {0}, grow: 2}}\n  - {{model: {0}}}\nparameters: {{weight: 1}}\n",
        world.path("small").display()
    ));
    assert!(told.contains("shapes differ: [97, 48]"), "{told}");
}

/// A factor in one model's configuration and not in the other's is a difference of meaning.
#[test]
fn a_factor_beside_none_is_warned_of() {
    let world = World::new(&TOY);
    world.grow("small", "{width: 2, head: factor}", "large");
    let recipe = |grow: &str| {
        let (small, large) = (world.path("small"), world.path("large"));
        let (small, large) = (small.display(), large.display());
        format!(
            "merge_method: linear\nmodels:\n  - model: {large}\n  - {{model: {small}, grow: {grow}}}\nparameters: {{weight: 0.5}}\n"
        )
    };
    let told = plan(&recipe("2")).warnings.to_string();
    assert!(told.contains("config.json has lm_head_normalization_factor = 1.0, but"), "{told}");
    assert!(plan(&recipe("{width: 2, head: factor}")).warnings.is_empty());
}
