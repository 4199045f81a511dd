//! The numbers of an update: what it says by definition, in any pieces, on the fly and extracted again.

use std::collections::BTreeMap;

use growmerge::adapter::extract::{Embeddings, Extraction, extract};
use growmerge::checkpoint::Checkpoint;
use growmerge::device::cpu::Cpu;
use safetensors::tensor::Dtype;
use serde_json::json;

use super::support::toy::{TOY, Toy, write_model};
use super::support::{Noise, Tensor, Tensors, f32s, merge, plan, run, values};
use super::{Made, Q0, Q1, UP, World, farthest, passthrough};

/// Ranks, scales, lengths and element types of all kinds, against the definition.
#[test]
fn updates_are_what_their_definition_says() {
    for (dora, stabilised) in [(false, false), (false, true), (true, false), (true, true)] {
        for (base_type, lora_type) in
            [(Dtype::F32, Dtype::F32), (Dtype::F32, Dtype::BF16), (Dtype::BF16, Dtype::F16)]
        {
            let world = World::new(&Toy { dtype: base_type, ..TOY });
            let mut made = Made::new(json!({
                "use_dora": dora, "use_rslora": stabilised, "rank_pattern": {"up_proj": 7, "layers.1.self_attn.q_proj": 1},
                "alpha_pattern": {"layers.*up_proj": 3}
            }));
            let mut scales = BTreeMap::new();
            for (module, rank, alpha, [out, into]) in
                [(Q0, 4, 6.0, [24, 24]), (Q1, 1, 6.0, [24, 24]), (UP, 7, 3.0, [40, 24])]
            {
                made.add(&format!("{module}.lora_A.weight"), lora_type, &[rank, into]);
                made.add(&format!("{module}.lora_B.weight"), lora_type, &[out, rank]);
                if dora {
                    made.add(&format!("{module}.lora_magnitude_vector"), lora_type, &[out]);
                }
                let rank = rank as f64;
                scales
                    .insert(format!("{module}.weight"), alpha / if stabilised { rank.sqrt() } else { rank });
            }
            made.write(&world.path("lora"));
            let merged = merge(&(passthrough(&world.with("lora")) + "dtype: float32\n"));
            for (name, tensor) in &world.base {
                let before = values(tensor);
                let got = values(&merged[name]);
                match scales.get(name) {
                    None => assert_eq!(got, before, "{name}"),
                    Some(scale) => {
                        let want = made.oracle(name.strip_suffix(".weight").unwrap(), &before, *scale);
                        let far = farthest(&want, &got);
                        assert!(far < 1e-6, "{name}, dora {dora}, {base_type:?}, {lora_type:?}: {far:e}");
                        assert!(farthest(&before, &got) > 0.1, "{name} did not change");
                    }
                }
            }
        }
    }
}

/// Neither threads nor blocks nor vectors change a byte; statistics over adapted tensors see the same numbers.
#[test]
fn the_same_bytes_in_any_pieces() {
    let toy = Toy { hidden: 96, intermediate: 700, vocab: 300, layers: 1, ..TOY };
    let world = World::new(&Toy { heads: 12, ..toy });
    let mut made = Made::new(json!({ "use_dora": true, "modules_to_save": ["norm"] }));
    let magnitudes = |made: &mut Made, module: &str, out: usize| {
        made.add(&format!("{module}.lora_magnitude_vector"), Dtype::F32, &[out]);
    };
    let down = "model.layers.0.mlp.down_proj";
    made.pair(down, 4, [96, 700]);
    magnitudes(&mut made, down, 96);
    made.pair("model.layers.0.mlp.gate_proj", 4, [700, 96]);
    magnitudes(&mut made, "model.layers.0.mlp.gate_proj", 700);
    made.add("model.embed_tokens.lora_embedding_A", Dtype::F32, &[4, 300]);
    made.add("model.embed_tokens.lora_embedding_B", Dtype::F32, &[96, 4]);
    magnitudes(&mut made, "model.embed_tokens", 96);
    made.add("model.norm.weight", Dtype::BF16, &[96]);
    made.write(&world.path("lora"));
    let (base, adapted) = (world.path("base"), world.with("lora"));
    let base = base.display();
    let two = |method: &str| {
        format!(
            "merge_method: {method}\nmodels:\n  - {{model: {adapted}, parameters: {{weight: 0.5}}}}\n  \
             - {{model: {base}, parameters: {{weight: 0.25}}}}\n"
        )
    };
    let ties = format!(
        "merge_method: ties\nmodels:\n  - model: {adapted}\nbase_model: {base}\n\
         parameters: {{weight: 0.5, density: 0.3}}\n"
    );
    for text in [ties, two("linear"), two("nuslerp")] {
        let plan = plan(&text);
        let whole = run(&plan, &Cpu::new(), 1).unwrap();
        for (block, threads) in [(1, 2), (97, 1), (1000, 3), (1 << 20, 2)] {
            let pieces = run(&plan, &Cpu::new().with_block_elements(block), threads).unwrap();
            for (name, tensor) in &whole {
                assert!(tensor.bytes == pieces[name].bytes, "{name} in blocks of {block}:\n{text}");
            }
        }
    }
}

/// Merging with the adapter is merging with the model that it makes.
#[test]
fn on_the_fly_as_from_disk() {
    let world = World::new(&TOY);
    Made::new(json!({})).pair(Q0, 4, [24, 24]).pair(UP, 4, [40, 24]).write(&world.path("lora"));
    let text = passthrough(&world.with("lora"));
    write_model(&world.path("written"), &merge(&text), &plan(&text).config.unwrap());
    Toy { seed: 5, ..TOY }.write(&world.path("other"));
    let recipe = |model: &str| {
        format!(
            "merge_method: ties\nmodels:\n  - model: {model}\n  - model: {}\nbase_model: {}\n\
             parameters: {{weight: 0.5, density: 0.4}}\n",
            world.path("other").display(),
            world.path("base").display()
        )
    };
    let on_the_fly = merge(&recipe(&world.with("lora")));
    let from_disk = merge(&recipe(world.path("written").to_str().unwrap()));
    assert!(on_the_fly.iter().all(|(name, tensor)| tensor.bytes == from_disk[name].bytes));
}

/// A matrix of a rank, taken off and put on again.
#[test]
fn what_is_extracted_can_be_applied() {
    let world = World::new(&TOY);
    let mut noise = Noise(4);
    let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| noise.next()).collect() };
    let mut changed = |tensor: &Tensor| -> Vec<f32> {
        let x = values(tensor).into_iter().map(|x| x as f32);
        let [rows, columns] = tensor.shape[..] else { return x.map(|x| 1.5 * x).collect() };
        let (u, v) = (draw(2 * rows), draw(2 * columns));
        let sum = |i: usize, part: usize| u[part * rows + i / columns] * v[part * columns + i % columns];
        x.enumerate().map(|(i, x)| x + 0.1 * (sum(i, 0) + sum(i, 1))).collect()
    };
    let model: Tensors =
        world.base.iter().map(|(name, t)| (name.clone(), f32s(&t.shape, changed(t)))).collect();
    write_model(&world.path("model"), &model, &TOY.config());
    let open = |name: &str| Checkpoint::open(world.path(name).to_str().unwrap()).unwrap();
    let how = Extraction {
        rank: 3,
        exclude: Vec::new(),
        save: vec!["norm".into(), "input_layernorm".into(), "post_attention_layernorm".into()],
        embeddings: Embeddings::Update,
        seed: 0,
        threads: 2,
    };
    let extracted = extract(&open("model"), &open("base"), &world.path("lora"), &how, &|_| {}).unwrap();
    assert!(extracted.missed.is_empty() && extracted.error() < 1e-5, "{extracted:?}");
    // The head is tied, and the embedding changes: untied by the adapter, tied in the model.
    let text = passthrough(&world.with("lora"));
    let merged = merge(&text);
    for (name, tensor) in &model {
        let far = farthest(&values(tensor), &values(&merged[name]));
        assert!(far < 2e-5, "{name}: {far:e}");
    }
}
