//! The same bytes whatever the threads, blocks, sharding, vector width and element types.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;

use growmerge::device::LINE;
use growmerge::device::cpu::Cpu;
use growmerge::plan::PlanOptions;
use safetensors::tensor::Dtype;
use support::every::{NAMES, same, set};
use support::{Tensors, command, merge, plan, plan_with, read, run, save};

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
