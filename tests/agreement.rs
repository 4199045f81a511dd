//! The same bytes whatever the threads, blocks, sharding, vector width and element types.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use growmerge::device::LINE;
use growmerge::device::cpu::Cpu;
use growmerge::execute::UNIT;
use growmerge::plan::PlanOptions;
use safetensors::tensor::Dtype;
use support::{Noise, Tensors, command, merge, plan, plan_with, read, recipe, run, save, stored, write};

/// One recipe for each path through the engine: method, needs a base, parameters.
const RECIPES: &[(&str, bool, &str)] = &[
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

struct Set {
    folder: tempfile::TempDir,
    models: Vec<PathBuf>,
}

impl Set {
    fn recipes(&self) -> Vec<String> {
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

const NAMES: [&str; 4] = ["base", "a", "b", "c"];

fn set(large: bool, dtypes: [Dtype; 4]) -> Set {
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

fn same(a: &Tensors, b: &Tensors) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((n, x), (m, y))| n == m && x.bytes == y.bytes)
}

#[test]
fn threads_and_blocks_change_no_byte() {
    let set = set(true, [Dtype::F32; 4]);
    for text in set.recipes() {
        let plan = plan(&text);
        let one = run(&plan, &Cpu::new(), 1).unwrap();
        for (threads, block) in [(2, LINE), (7, 3 * LINE), (7, 1 << 24), (2, 1)] {
            let other = run(&plan, &Cpu::new().with_block_elements(block), threads).unwrap();
            assert!(same(&one, &other), "{threads} threads, blocks of {block}:\n{text}");
        }
    }
}

#[test]
fn stored_types_change_no_byte() {
    use Dtype::{BF16, F16, F32, F64};
    let plain = set(false, [F32; 4]);
    for dtypes in [[BF16; 4], [F16; 4], [F64; 4], [F32, BF16, F16, F64]] {
        let other = set(false, dtypes);
        for (a, b) in plain.recipes().iter().zip(other.recipes()) {
            let (a, b) = (format!("{a}dtype: float32\n"), format!("{b}dtype: float32\n"));
            assert!(same(&merge(&a), &merge(&b)), "{dtypes:?}:\n{b}");
        }
    }
}

#[test]
fn sharded_inputs_change_no_byte() {
    let whole = set(false, [Dtype::BF16; 4]);
    let parts = set(false, [Dtype::BF16; 4]);
    for name in NAMES {
        shard(&parts.folder.path().join(name));
    }
    for (a, b) in whole.recipes().iter().zip(parts.recipes()) {
        assert!(same(&merge(a), &merge(&b)), "{b}");
    }
}

/// Splits a checkpoint into a file for each tensor, with an index.
fn shard(folder: &Path) {
    let tensors = read(folder);
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, tensors.len());
        save(&folder.join(&file), &Tensors::from([(name.clone(), tensor.clone())]));
        map.insert(name.clone(), file.into());
    }
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn output_shards_change_no_byte_of_a_tensor() {
    let set = set(false, [Dtype::F32; 4]);
    for text in set.recipes() {
        let one = plan(&text);
        let many = plan_with(&text, &PlanOptions { shard_size: 20_000, ..PlanOptions::default() });
        assert!(one.layout.shards.len() == 1 && many.layout.shards.len() > 1);
        let (a, b) = (run(&one, &Cpu::new(), 2).unwrap(), run(&many, &Cpu::new(), 2).unwrap());
        assert!(same(&a, &b), "{text}");
    }
}

#[test]
fn vector_width_changes_no_byte() {
    let set = set(true, [Dtype::BF16; 4]);
    for text in set.recipes() {
        let recipe = set.folder.path().join("recipe.yaml");
        std::fs::write(&recipe, &text).unwrap();
        let outputs: Vec<Tensors> = ["", "avx2", "plain"]
            .iter()
            .map(|level| {
                let out = set.folder.path().join("out");
                let mut merge = command();
                merge.env("GROWMERGE_SIMD", level).args(["merge", "--quiet", "--overwrite"]);
                merge.arg(&recipe).arg(&out).assert().success();
                read(&out)
            })
            .collect();
        assert!(same(&outputs[0], &outputs[1]) && same(&outputs[0], &outputs[2]), "{text}");
    }
}

#[test]
fn seeds_and_models_do_change_random_drops() {
    let set = set(false, [Dtype::F32; 4]);
    let text = &set.recipes()[4];
    let seeded = |seed| {
        let plan = plan_with(text, &PlanOptions { seed, ..PlanOptions::default() });
        run(&plan, &Cpu::new(), 2).unwrap()
    };
    assert!(same(&seeded(3), &seeded(3)));
    assert!(!same(&seeded(3), &seeded(4)));
}
