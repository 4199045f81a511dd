//! A set of small models, and a recipe for each path through the engine.

use std::path::PathBuf;

use growmerge::execute::UNIT;
use safetensors::tensor::Dtype;

use super::{Noise, Tensors, recipe, stored, write};

/// One recipe for each path through the engine: method, needs a base, parameters.
pub const RECIPES: &[(&str, bool, &str)] = &[
    ("linear", false, "{weight: 0.3}"),
    ("task_arithmetic", true, "{weight: [0.2, 0.7], lambda: 1.3}"),
    ("ties", true, "{weight: 0.4, density: [{filter: scalar, value: 1}, {value: 0.37}]}"),
    (
        "ties",
        true,
        "{weight: 0.4, density: [{filter: scalar, value: 1}, {value: 0.6}], rescale: l1, normalize: false}",
    ),
    ("dare_linear", true, "{weight: 0.4, density: 0.5}"),
    ("dare_ties", true, "{weight: 0.4, density: 0.5, rescale: density}"),
    ("multislerp", false, "{weight: [0.2, 0.7]}"),
    ("multislerp", true, "{weight: 0.5}"),
    ("karcher", false, ""),
    ("model_stock", true, ""),
    ("model_stock", true, "{filter_wise: true}"),
    ("breadcrumbs", true, "{weight: 0.4, density: [{filter: scalar, value: 1}, {value: 0.37}], gamma: 0.1}"),
    (
        "breadcrumbs_ties",
        true,
        "{weight: 0.4, density: [{filter: scalar, value: 1}, {value: 0.37}], rescale: l1}",
    ),
    ("della", true, "{weight: 0.4, density: 0.5}"),
    ("della_linear", true, "{weight: 0.4, density: 0.3, epsilon: 0.2, rescale: density}"),
    ("sce", true, "{select_topk: 0.4}"),
    ("sce", true, ""),
    ("ram", true, "{epsilon: 0.02}"),
    ("ramplus_tl", true, "{epsilon: 0.02, alpha: 3}"),
];

pub struct Set {
    pub folder: tempfile::TempDir,
    pub models: Vec<PathBuf>,
}

impl Set {
    pub fn recipes(&self) -> Vec<String> {
        let base = self.folder.path().join("base");
        let mut all: Vec<String> = RECIPES
            .iter()
            .map(|(method, based, parameters)| {
                recipe(method, based.then_some(base.as_path()), &self.models, parameters)
            })
            .collect();
        all.push(recipe("slerp", Some(&base), &self.models[..1], "{t: 0.4}"));
        for parameters in [
            "{weight: 0.3}",
            "{weight: 0.3, nuslerp_flatten: false}",
            "{weight: 0.3, nuslerp_flatten: false, nuslerp_row_wise: true}",
        ] {
            all.push(recipe("nuslerp", None, &self.models[..2], parameters));
            all.push(recipe("nuslerp", Some(&base), &self.models[..2], parameters));
        }
        all.push(recipe("nearswap", Some(&base), &self.models[..1], "{t: 0.01}"));
        all.push(recipe("arcee_fusion", Some(&base), &self.models[..1], ""));
        all.push(recipe("passthrough", None, &self.models[..1], "{scale: 0.7}"));
        all
    }
}

/// Shapes that meet every edge: several units, rows longer than a line and than a block, a part of a line, one element, no dimension, none at all.
fn shapes(large: bool) -> Vec<(&'static str, Vec<usize>)> {
    let mut shapes = vec![
        ("model.layers.0.mlp.up_proj.weight", vec![37, 331]),
        ("model.layers.1.mlp.up_proj.weight", vec![3, 4096]),
        ("model.layers.1.mlp.down_proj.weight", vec![5, 9001]),
        ("model.norm.weight", vec![17]),
        ("scalar", vec![]),
    ];
    if large {
        shapes.push(("model.embed_tokens.weight", vec![2 * UNIT / 1000 + 7, 1000]));
    }
    shapes
}

/// Name, shape and elements of a tensor.
type Values = (&'static str, Vec<usize>, Vec<f32>);

/// A base and three fine-tunes as f32 values that every one of the dtypes can hold.
fn values(large: bool) -> Vec<Vec<Values>> {
    let mut noise = Noise(7);
    let coarse = |x: f32| (x * 64.0).round() / 64.0;
    let base: Vec<Vec<f32>> = shapes(large)
        .iter()
        .map(|(_, s)| (0..s.iter().product()).map(|_| coarse(noise.next())).collect())
        .collect();
    let mut models = vec![base.clone()];
    for _ in 0..3 {
        let tuned = base.iter().map(|x| noise.tuned(x).into_iter().map(coarse).collect());
        models.push(tuned.collect());
    }
    let named =
        |model: Vec<Vec<f32>>| shapes(large).into_iter().zip(model).map(|((n, s), x)| (n, s, x)).collect();
    models.into_iter().map(named).collect()
}

pub const NAMES: [&str; 4] = ["base", "a", "b", "c"];

pub fn set(large: bool, dtypes: [Dtype; 4]) -> Set {
    let folder = tempfile::tempdir().unwrap();
    let mut models = Vec::new();
    for ((name, model), dtype) in NAMES.iter().zip(values(large)).zip(dtypes) {
        let tensors: Tensors =
            model.into_iter().map(|(n, shape, x)| (n.to_owned(), stored(dtype, &shape, &x))).collect();
        write(&folder.path().join(name), &tensors);
        models.push(folder.path().join(name));
    }
    models.remove(0);
    Set { folder, models }
}

pub fn same(a: &Tensors, b: &Tensors) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((n, x), (m, y))| n == m && x.bytes == y.bytes)
}
