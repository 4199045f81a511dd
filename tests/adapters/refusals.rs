//! Adapters that are none, or of another base, or not whole.

use growmerge::device::cpu::Cpu;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use super::support::toy::TOY;
use super::support::{plan, refusal, run};
use super::{Made, Q0, UP, World, passthrough};

#[test]
fn what_is_no_adapter_of_this_base_is_refused() {
    let world = World::new(&TOY);
    let pair = |config: Value, module: &str, rank: usize, shape: [usize; 2]| {
        let mut made = Made::new(config);
        made.pair(module, rank, shape);
        made
    };
    let good = || pair(json!({}), Q0, 4, [24, 24]);
    let told = |made: &Made, want: &str| {
        let told = world.refusal(made);
        assert!(told.contains(want), "wanted {want:?}:\n{told}");
    };
    told(
        &pair(json!({}), "model.layers.9.self_attn.q_proj", 4, [24, 24]),
        "changes module model.layers.9.self_attn.q_proj, which the base does not have",
    );
    told(
        &pair(json!({}), Q0, 4, [32, 24]),
        "A and B make [32, 24], but the base's model.layers.0.self_attn.q_proj.weight has [24, 24]",
    );
    told(&pair(json!({}), UP, 4, [24, 40]), "A and B make [24, 40]");
    told(&pair(json!({}), Q0, 3, [24, 24]), "has rank 3, but by adapter_config.json it has 4");
    told(
        &pair(json!({"rank_pattern": {"q_proj": 2}}), Q0, 4, [24, 24]),
        "has rank 4, but by adapter_config.json it has 2",
    );
    told(&pair(json!({"use_dora": true}), Q0, 4, [24, 24]), "it is a DoRA, but it has no magnitudes");
    told(good().add(&format!("{Q0}.lora_magnitude_vector"), Dtype::F32, &[24]), "it is no DoRA");
    told(
        Made::new(json!({})).add(&format!("{Q0}.lora_A.weight"), Dtype::F32, &[4, 24]),
        "does not hold both A and B of module model.layers.0",
    );
    told(
        good().add("score.weight", Dtype::F32, &[2, 24]),
        "holds base_model.model.score.weight, and the base has no score.weight",
    );
    told(
        good().add("model.embed_tokens.weight", Dtype::F32, &[99, 24]),
        "has shape [99, 24], the base's model.embed_tokens.weight has [97, 24]",
    );
    told(good().add(&format!("{Q0}.lora_A.other.weight"), Dtype::F32, &[4, 24]), "is there under two names");
    told(
        good().add(&format!("{Q0}.lora_A.strange.thing"), Dtype::F32, &[4, 24]),
        "is no part of a LoRA that is known",
    );
    told(&pair(json!({}), "model.norm", 4, [24, 24]), "the base's model.norm.weight has [24]");
    told(&Made::new(json!({})), "changes nothing");
    for (config, want) in [
        (json!({"peft_type": "LOHA"}), "peft_type is LOHA; only LORA"),
        (json!({"peft_type": null}), "has no peft_type"),
        (json!({"r": 0}), "`r` must be a whole number from 1"),
        (json!({"r": "8"}), "`r` must be a whole number from 1"),
        (json!({"lora_alpha": "16"}), "`lora_alpha` must be a number"),
        (json!({"use_dora": 1}), "`use_dora` must be true or false"),
        (json!({"bias": "some"}), "`bias` must be none, all or lora_only"),
        (json!({"rank_pattern": {"(": 4}}), "the pattern `(` is not understood"),
        (json!({"lora_bias": true}), "`lora_bias` is set"),
        (json!({"target_parameters": ["experts.w1"]}), "`target_parameters` is set"),
        (json!({"trainable_token_indices": [1]}), "`trainable_token_indices` is set"),
        (json!({"init_lora_weights": "pissa_niter_4"}), "init_lora_weights is `pissa_niter_4`"),
    ] {
        told(&pair(config, Q0, 4, [24, 24]), want);
    }
    // Everything at once.
    let mut made = good();
    made.pair("model.layers.7.mlp.up_proj", 4, [40, 24]).pair("model.layers.8.mlp.up_proj", 4, [40, 24]);
    made.add("nothing.weight", Dtype::F32, &[1]);
    let all = world.refusal(&made);
    assert!(all.contains("layers.7") && all.contains("layers.8") && all.contains("nothing.weight"), "{all}");

    // A key of a later version is said, not passed over.
    pair(json!({"use_wonders": true}), Q0, 4, [24, 24]).write(&world.path("lora"));
    let warnings = plan(&passthrough(&world.with("lora"))).warnings.to_string();
    assert!(warnings.contains("unknown key `use_wonders` is ignored"), "{warnings}");
}

#[test]
fn what_is_no_adapter_folder_is_refused() {
    let world = World::new(&TOY);
    let lora = world.path("lora");
    let told = |want: &str| {
        let told = refusal(&passthrough(&world.with("lora")));
        assert!(told.contains(want), "wanted {want:?}:\n{told}");
    };
    told("lora: no such folder");
    std::fs::create_dir(&lora).unwrap();
    told("adapter_config.json: is not there");
    told("holds no adapter_model.safetensors");
    std::fs::write(lora.join("adapter_model.bin"), "PK").unwrap();
    told("holds pickled weights (adapter_model.bin)");
    let mut made = Made::new(json!({}));
    made.pair(Q0, 4, [24, 24]).write(&lora);
    std::fs::write(lora.join("adapter_config.json"), "[]").unwrap();
    told("is not a JSON object");
    std::fs::write(lora.join("adapter_config.json"), "{").unwrap();
    told("is not JSON");
    made.write(&lora);
    let path = lora.join("adapter_model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
    told("the file is truncated");
    std::fs::write(&path, &bytes).unwrap();
    // An adapter alone is no model, and says what to do.
    let alone = refusal(&passthrough(lora.to_str().unwrap()));
    assert!(alone.contains("is an adapter, not a model") && alone.contains("+"), "{alone}");
    // A NaN in a factor is found, with the tensor that it gets into.
    let name = format!("base_model.model.{Q0}.lora_A.weight");
    made.tensors.get_mut(&name).unwrap().bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    made.write(&lora);
    let run = run(&plan(&passthrough(&world.with("lora"))), &Cpu::new(), 1);
    let error = run.err().unwrap().to_string();
    assert!(error.contains("q_proj"), "{error}");
}

/// An adapter is small, and a part of one looks whole: what its configuration names must be there.
#[test]
fn an_adapter_that_lacks_a_part_is_noticed() {
    let world = World::new(&TOY);
    let config = |more: Value| {
        let mut config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let small = growmerge::checkpoint::Checkpoint::open(world.path("base").to_str().unwrap()).unwrap();
    let queries: Vec<_> = small.tensors().iter().filter(|t| t.name.ends_with("q_proj.weight")).collect();
    assert!(queries.len() > 1);
    let adapter = |count: usize, more: Value| {
        let mut made = Made::new(config(more));
        for tensor in &queries[..count] {
            let shape = [tensor.shape[0], tensor.shape[1]];
            made.pair(tensor.name.strip_suffix(".weight").unwrap(), 2, shape);
        }
        made
    };
    let warnings = |made: &Made, name: &str| {
        made.write(&world.path(name));
        plan(&passthrough(&world.with(name))).warnings.to_string()
    };
    assert_eq!(warnings(&adapter(queries.len(), json!({})), "whole"), "");
    let told = warnings(&adapter(queries.len() - 1, json!({})), "part");
    assert!(told.contains("modules that target_modules names") && told.contains("download"), "{told}");
    // Layers that were left out on purpose are no lack.
    assert_eq!(warnings(&adapter(1, json!({"layers_to_transform": [0]})), "one"), "");
    let refused = world.refusal(&adapter(queries.len(), json!({"modules_to_save": ["embed_tokens"]})));
    assert!(refused.contains("modules_to_save names `embed_tokens`"), "{refused}");
}
