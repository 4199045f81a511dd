//! The numbers of mergekit 0.1.5, as recorded in `tests/golden` by its `make.py`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use support::{Tensors, merge, values};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// How near a recipe's output is to mergekit's.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// Every byte.
    SameBytes,
    /// Each tensor's difference is at most this share of its norm.
    Within(f64),
    /// The same, but these tensors differ by more, since growmerge means it otherwise.
    WithinBut(f64, &'static [&'static str]),
}

use Expect::{SameBytes, Within, WithinBut};

/// Weighted averages differ in the last bit: this mergekit's `addcmul_` fuses the product into the sum
/// on machines that can, while here every operation rounds, so that all devices agree. Slerp's angle
/// and the sums behind `rescale` are taken in f64 here.
const ROUNDING: Expect = Within(2e-7);
/// mergekit steps towards Karcher's mean in f32, here f64 does.
const STEPS: Expect = Within(1e-6);
/// mergekit takes as many models for what comes after the layers as the *first* slice has, growmerge all of the last.
const LAST_SLICE: &[&str] = &["lm_head.weight", "model.norm.weight"];
/// One unit in the last place of bf16 where the average falls next to a tie.
const ROUNDING_BF16: Expect = Within(2e-4);

const RECIPES: &[(&str, Expect)] = &[
    ("linear", ROUNDING),
    ("linear_unnormalized", ROUNDING),
    ("linear_base_among_models", ROUNDING),
    ("linear_out_bf16", ROUNDING_BF16),
    ("linear_bf16", Within(4e-3)),
    ("slerp", ROUNDING),
    ("slerp_filters", ROUNDING),
    ("nuslerp", ROUNDING),
    ("nuslerp_rows", ROUNDING),
    ("nuslerp_base", ROUNDING),
    ("nuslerp_base_rows", ROUNDING),
    ("nuslerp_base_columns", ROUNDING),
    ("multislerp", ROUNDING),
    ("multislerp_base", ROUNDING),
    ("multislerp_base_unnormalized", ROUNDING),
    ("karcher", STEPS),
    ("karcher_with_base", STEPS),
    ("model_stock", ROUNDING),
    ("model_stock_filter_wise", ROUNDING),
    ("task_arithmetic", SameBytes),
    ("task_arithmetic_normalized", SameBytes),
    ("task_arithmetic_gradient", SameBytes),
    ("task_arithmetic_dtype_bf16_out_f32", Within(4e-3)),
    ("ties", SameBytes),
    ("ties_sum", SameBytes),
    ("ties_rescaled", ROUNDING),
    ("ties_slices", SameBytes),
    ("dare_linear_whole", SameBytes),
    ("dare_ties_whole", SameBytes),
    ("breadcrumbs", SameBytes),
    ("breadcrumbs_mostly_cut", ROUNDING),
    ("breadcrumbs_ties", SameBytes),
    ("della_whole", SameBytes),
    ("della_linear_whole", SameBytes),
    ("sce", ROUNDING),
    ("sce_whole", ROUNDING),
    ("nearswap", SameBytes),
    ("ram", SameBytes),
    ("ram_coarse", SameBytes),
    ("ramplus_tl", SameBytes),
    ("ramplus_tl_strong", SameBytes),
    ("arcee_fusion", SameBytes),
    ("passthrough_slices", SameBytes),
    ("passthrough_out_bf16", SameBytes),
    ("frankenmerge", ROUNDING),
    ("slices_last_widest", WithinBut(2e-7, LAST_SLICE)),
    ("levels_filters_gradients", SameBytes),
    ("raw_ties", SameBytes),
    ("two_stages", ROUNDING),
];

fn distance(got: &[f64], want: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut want.iter().copied());
    norm(&mut got.iter().zip(want).map(|(a, b)| a - b)) / size.max(f64::MIN_POSITIVE)
}

fn compare(name: &str, expect: Expect, got: &Tensors, want: &Tensors) -> Vec<String> {
    let mut wrong = Vec::new();
    if got.keys().ne(want.keys()) {
        return vec![format!("{name}: other tensors: {:?}", got.keys().collect::<Vec<_>>())];
    }
    for (tensor, want) in want {
        let got = &got[tensor];
        if (got.dtype, &got.shape) != (want.dtype, &want.shape) {
            wrong.push(format!("{name}: {tensor} is {:?} {:?}", got.dtype, got.shape));
            continue;
        }
        let off = distance(&values(got), &values(want));
        let fine = match expect {
            SameBytes => got.bytes == want.bytes,
            WithinBut(limit, others) if others.contains(&tensor.as_str()) => off > 1e3 * limit,
            Within(limit) | WithinBut(limit, _) => off <= limit,
        };
        if !fine {
            wrong.push(format!("{name}: {tensor} is off by {off:e}"));
        }
    }
    wrong
}

/// A recorded recipe; files without `config.json`, if it takes such, are put into `raw`.
fn recipe(name: &str, raw: &Path) -> String {
    let text = std::fs::read_to_string(golden().join(format!("recipes/{name}.yaml"))).unwrap();
    if text.contains("@RAW@") {
        for model in ["base", "et", "fo", "is"] {
            let weights = golden().join(format!("inputs/{model}/model.safetensors"));
            std::fs::copy(weights, raw.join(format!("{model}.safetensors"))).unwrap();
        }
    }
    text.replace("@RAW@", raw.to_str().unwrap()).replace("@IN@", golden().join("inputs").to_str().unwrap())
}

#[test]
fn outputs_are_mergekits() {
    let mut wrong = Vec::new();
    for (name, expect) in RECIPES {
        let raw = tempfile::tempdir().unwrap();
        let got = merge(&recipe(name, raw.path()));
        let want = support::read_file(&golden().join(format!("outputs/{name}.safetensors")));
        wrong.extend(compare(name, *expect, &got, &want));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_recorded_recipe_is_compared() {
    let mut there: Vec<String> = std::fs::read_dir(golden().join("recipes"))
        .unwrap()
        .map(|e| e.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    there.sort();
    let mut listed: Vec<String> = RECIPES.iter().map(|(name, _)| (*name).to_owned()).collect();
    listed.sort();
    assert_eq!(there, listed);
}

/// Layers and element type as mergekit writes them into `config.json`.
#[test]
fn configs_are_mergekits() {
    let text = std::fs::read_to_string(golden().join("outputs/configs.json")).unwrap();
    let recorded: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert!(recorded.contains_key("frankenmerge") && recorded.contains_key("linear_out_bf16"));
    for (name, _) in RECIPES {
        let raw = tempfile::tempdir().unwrap();
        let config = support::plan(&recipe(name, raw.path())).config;
        let Some(want) = recorded.get(*name) else {
            assert_eq!(config, None, "{name}");
            continue;
        };
        let config = config.unwrap();
        assert_eq!(config["num_hidden_layers"], want["num_hidden_layers"], "{name}");
        assert_eq!(config.get("dtype").or(config.get("torch_dtype")), want.get("dtype"), "{name}");
    }
}

#[test]
fn a_changed_parameter_would_be_noticed() {
    let recipe = std::fs::read_to_string(golden().join("recipes/ties.yaml")).unwrap();
    let recipe = recipe.replace("@IN@", golden().join("inputs").to_str().unwrap());
    let want = support::read_file(&golden().join("outputs/ties.safetensors"));
    let got = merge(&recipe.replace("density: 0.3", "density: 0.32"));
    assert!(!compare("ties", Within(1e-4), &got, &want).is_empty());
}
