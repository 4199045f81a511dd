//! A recipe for each method over a set of `benches/synthesize.rs`.
#![allow(dead_code)] // each bench uses a part

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use growmerge::checkpoint::{Checkpoint, DType, Saved, save};
use growmerge::method::FileKind;
use growmerge::plan::{Plan, PlanOptions};
use growmerge::recipe::Recipe;

/// Method, whether it has a base, and parameters.
pub(crate) const RECIPES: &[(&str, bool, &str)] = &[
    ("linear", false, "weight: 0.2"),
    ("slerp", true, "t: 0.5"),
    ("nuslerp", false, "weight: 0.5"),
    ("multislerp", false, "weight: 0.2"),
    ("karcher", false, ""),
    ("model_stock", true, ""),
    ("task_arithmetic", true, "weight: 0.2"),
    ("ties", true, "weight: 0.2, density: 0.5"),
    ("dare_linear", true, "weight: 0.2, density: 0.5"),
    ("dare_ties", true, "weight: 0.2, density: 0.5"),
    ("breadcrumbs", true, "weight: 0.2, density: 0.5"),
    ("breadcrumbs_ties", true, "weight: 0.2, density: 0.5"),
    ("della_linear", true, "weight: 0.2, density: 0.5"),
    ("della", true, "weight: 0.2, density: 0.5"),
    ("sce", true, "select_topk: 0.5"),
    ("nearswap", true, "t: 0.001"),
    ("ram", true, ""),
    ("ramplus_tl", true, ""),
    ("arcee_fusion", true, ""),
    ("fisher", true, "importance: SET/importance.safetensors"),
    ("regmean", true, "grams: SET/grams.safetensors"),
    ("passthrough", false, ""),
];

pub(crate) fn plan(set: &Path, (method, based, parameters): (&str, bool, &str)) -> Plan {
    let models: &[&str] = match method {
        "slerp" | "nearswap" | "arcee_fusion" | "passthrough" => &["et"],
        "nuslerp" => &["et", "fo"],
        _ => &["et", "fo", "is", "fa", "sv"],
    };
    let parameters = parameters.replace("SET", &set.display().to_string());
    let mut text = format!("merge_method: {method}\nparameters: {{{parameters}}}\nmodels:\n");
    for model in models {
        text += &format!("  - model: {}\n", set.join(model).display());
    }
    if based {
        text += &format!("base_model: {}\n", set.join("base").display());
    }
    plan_of(&text)
}

/// Of a recipe's text.
pub(crate) fn plan_of(text: &str) -> Plan {
    let recipe = Recipe::parse("bench", text).unwrap_or_else(|p| panic!("{p}"));
    Plan::build(&recipe, &PlanOptions::default()).unwrap_or_else(|p| panic!("{p}"))
}

/// Files that stand beside every model: magnitudes of one as its importance, and the identity for all that goes into
/// projections, one for each width.
pub(crate) fn write_beside(set: &Path) {
    let model = Checkpoint::open(set.join("et").to_str().unwrap()).unwrap();
    let (mut importance, mut grams, mut shared) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut widths: BTreeMap<usize, String> = BTreeMap::new();
    for tensor in model.tensors() {
        let bytes: Vec<u8> = model.bytes(tensor).chunks(2).flat_map(|b| [b[0], b[1] & 0x7f]).collect();
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        importance.push(Saved { name, dtype: tensor.dtype, shape, bytes: Cow::Owned(bytes) });
        if !tensor.name.contains("proj") {
            continue;
        }
        let width = tensor.shape[1];
        if let Some(first) = widths.get(&width) {
            shared.insert(tensor.name.clone(), first.clone());
            continue;
        }
        widths.insert(width, tensor.name.clone());
        let entry = |at: usize| f32::from(u8::from(at.is_multiple_of(width + 1))).to_le_bytes();
        let bytes = (0..width * width).flat_map(entry).collect();
        let (name, shape) = (tensor.name.clone(), vec![width; 2]);
        grams.push(Saved { name, dtype: DType::F32, shape, bytes: Cow::Owned(bytes) });
    }
    let about = |kind: FileKind| ("format", kind.format().to_owned());
    let mean = ("mean", "0.01".to_owned());
    let path = set.join("importance.safetensors");
    save(&path, &[about(FileKind::Importance), mean], &importance).unwrap();
    let shared = ("shared", serde_json::to_string(&shared).unwrap());
    save(&set.join("grams.safetensors"), &[about(FileKind::Grams), shared], &grams).unwrap();
}
