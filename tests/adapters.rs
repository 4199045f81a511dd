//! Adapters applied while a model is read: against PEFT, an oracle, and themselves in other pieces.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use growmerge::adapter::extract::{Embeddings, Extraction, extract};
use growmerge::checkpoint::Checkpoint;
use growmerge::device::cpu::Cpu;
use growmerge::plan::{Plan, PlanOptions};
use growmerge::recipe::Recipe;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use support::toy::{TOY, Toy, apart, logits, write_model};
use support::{Noise, Tensor, Tensors, f32s, merge, plan, read_file, refusal, run, save, stored, values};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/adapters")
}

fn passthrough(model: &str) -> String {
    format!("merge_method: passthrough\nmodels:\n  - model: {model}\n")
}

/// The farthest of two tensors' elements, as a part of the root mean square of the first.
fn farthest(want: &[f64], got: &[f64]) -> f64 {
    assert_eq!(want.len(), got.len());
    let size = (want.iter().map(|x| x * x).sum::<f64>() / want.len() as f64).sqrt();
    want.iter().zip(got).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max) / size
}

/// Every kind of adapter as PEFT merges it, and as it computes before it merges.
#[test]
fn adapters_do_what_peft_does() {
    // PEFT's merge changes head and embedding together where they are one tensor, twice over where both have
    // an update; what the adapted model computes is what was trained.
    let not_as_trained = ["tied_embedding", "tied_head", "tied_ensured"];
    let (mut seen, mut with_logits) = (0, 0);
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("expected.safetensors").exists() {
            continue;
        }
        seen += 1;
        let case = folder.file_name().unwrap().to_str().unwrap();
        let config: Value =
            serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap();
        let base =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(config["base_model_name_or_path"].as_str().unwrap());
        let plan = plan(&passthrough(&format!("{}+{}", base.display(), folder.display())));
        let merged = run(&plan, &Cpu::new(), 2).unwrap();
        let mut expected = read_file(&folder.join("expected.safetensors"));
        let before = read_file(&base.join("model.safetensors"));
        if let Some(want) = expected.remove("logits") {
            with_logits += 1;
            let out = tempfile::tempdir().unwrap();
            write_model(out.path(), &merged, plan.config.as_ref().unwrap());
            let want: Vec<f32> = values(&want).into_iter().map(|x| x as f32).collect();
            // As of every family: a part of the largest logit (`tests/families.rs`).
            let far = apart(&want, &logits(out.path()));
            println!("{case:16} logits {far:.1e}");
            assert!(far < 1e-5, "{case}: {far:e}");
        }
        if not_as_trained.contains(&case) {
            continue;
        }
        assert!(!expected.is_empty());
        let mut worst = 0f64;
        for (name, tensor) in &merged {
            let tied_head = name == "lm_head.weight" && !before.contains_key(name);
            let own = if tied_head { "model.embed_tokens.weight" } else { name };
            assert_eq!(tensor.dtype, before[own].dtype, "{case}: {name}");
            match expected.remove(name) {
                None => assert!(tensor.bytes == before[own].bytes, "{case}: {name} changed"),
                Some(want) if want.dtype == Dtype::F32 => {
                    let far = farthest(&values(&want), &values(tensor));
                    worst = worst.max(far);
                    assert!(far < 1e-6, "{case}: {name} {far:e}");
                }
                Some(want) => {
                    // Sums in another order, rounded to 8 bits: seldom another neighbour, never farther.
                    let pairs: Vec<(f64, f64)> = values(&want).into_iter().zip(values(tensor)).collect();
                    let differ = pairs.iter().filter(|(x, y)| x != y).count();
                    println!("{case:16} {name}: {differ} of {} differ", pairs.len());
                    assert!(differ * 100 <= pairs.len(), "{case}: {name} differs in {differ}");
                    assert!(pairs.iter().all(|(x, y)| (x - y).abs() <= x.abs() / 127.0), "{case}: {name}");
                }
            }
        }
        assert!(expected.is_empty(), "{case}: {:?} are missing", expected.keys());
        println!("{case:16} weights {worst:.1e}");
    }
    assert_eq!((seen, with_logits), (20, 16));
}

/// An adapter being made: tensors by the names that PEFT gives them.
struct Made {
    config: Value,
    tensors: Tensors,
    noise: Noise,
}

impl Made {
    fn new(config: Value) -> Self {
        let mut all = json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 6 });
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        Self { config: all, tensors: Tensors::new(), noise: Noise(77) }
    }

    fn add(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> &mut Self {
        let x: Vec<f32> = (0..shape.iter().product()).map(|_| 0.5 * self.noise.next() + 0.01).collect();
        self.tensors.insert(format!("base_model.model.{name}"), stored(dtype, shape, &x));
        self
    }

    /// A pair for a module of a shape `[out, in]`.
    fn pair(&mut self, module: &str, rank: usize, [out, into]: [usize; 2]) -> &mut Self {
        self.add(&format!("{module}.lora_A.weight"), Dtype::F32, &[rank, into]);
        self.add(&format!("{module}.lora_B.weight"), Dtype::F32, &[out, rank])
    }

    fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("adapter_config.json"), self.config.to_string()).unwrap();
        save(&folder.join("adapter_model.safetensors"), &self.tensors);
    }

    fn part(&self, module: &str, part: &str) -> &Tensor {
        &self.tensors[&format!("base_model.model.{module}.{part}")]
    }

    /// The update of a module by its definition, in f64: `W: [out, in]`.
    fn oracle(&self, module: &str, w: &[f64], scale: f64) -> Vec<f64> {
        let (a, b) = (self.part(module, "lora_A.weight"), self.part(module, "lora_B.weight"));
        let (rank, into) = (a.shape[0], a.shape[1]);
        let (a, b) = (values(a), values(b));
        let sum = |i: usize| (0..rank).map(|k| b[i / into * rank + k] * a[k * into + i % into]).sum::<f64>();
        let mut x: Vec<f64> = w.iter().enumerate().map(|(i, w)| w + scale * sum(i)).collect();
        let name = format!("base_model.model.{module}.lora_magnitude_vector");
        if let Some(m) = self.tensors.get(&name) {
            for (row, m) in x.chunks_mut(into).zip(values(m)) {
                let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                row.iter_mut().for_each(|x| *x *= m / length);
            }
        }
        x
    }
}

struct World {
    folder: tempfile::TempDir,
    base: Tensors,
}

impl World {
    fn new(toy: &Toy) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap(), base: toy.tensors() };
        toy.write(&world.path("base"));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn with(&self, adapter: &str) -> String {
        format!("{}+{}", self.path("base").display(), self.path(adapter).display())
    }

    /// Writes an adapter and says why it is refused.
    fn refusal(&self, made: &Made) -> String {
        made.write(&self.path("lora"));
        refusal(&passthrough(&self.with("lora")))
    }
}

const Q0: &str = "model.layers.0.self_attn.q_proj";
const Q1: &str = "model.layers.1.self_attn.q_proj";
const UP: &str = "model.layers.2.mlp.up_proj";

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

/// The spellings of one model give one model.
#[test]
fn spellings() {
    let world = World::new(&TOY);
    Made::new(json!({})).pair(Q0, 4, [24, 24]).write(&world.path("lora"));
    let (base, lora) = (world.path("base"), world.path("lora"));
    let (base, lora) = (base.display(), lora.display());
    let want = merge(&passthrough(&format!("{base}+{lora}")));
    for entry in [
        format!("model: {{model: {base}, lora: {lora}}}"),
        format!("model: {{model: {{path: {base}}}, lora: {{path: {lora}}}}}"),
        format!("model: {{path: {base}, lora: {lora}}}"),
        format!("{{model: {base}, lora: {lora}}}"),
        format!("model: {{model: {base}+{lora}, override_architecture: LlamaForCausalLM}}"),
    ] {
        let text = format!("merge_method: passthrough\nmodels:\n  - {entry}\n");
        let recipe = Recipe::parse("recipe.yaml", &text).unwrap_or_else(|p| panic!("{entry}:\n{p}"));
        let plan = Plan::build(&recipe, &PlanOptions::default()).unwrap_or_else(|p| panic!("{entry}:\n{p}"));
        assert_eq!(plan.inputs[0].name(), format!("{base}+{lora}"));
        assert_eq!(!plan.warnings.is_empty(), entry.contains("override"), "{}", plan.warnings);
        let merged = run(&plan, &Cpu::new(), 1).unwrap();
        assert!(want.iter().all(|(name, tensor)| merged[name].bytes == tensor.bytes), "{entry}");
    }
    let told = refusal(&passthrough(&format!("{base}@main+{lora}")));
    assert!(told.contains("has no revision `main`: it is a local path"), "{told}");
    let told = refusal(&passthrough(&format!("{{model: {base}, lora: {{path: {lora}, revision: v2}}}}")));
    assert!(told.contains("has no revision `v2`: it is a local path"), "{told}");
    let told = refusal(&passthrough("owner/name@v2"));
    assert!(told.contains("hf download owner/name --revision v2"), "{told}");
    let told = refusal(&passthrough(&format!("{base}+{lora}+{lora}")));
    assert!(told.contains("more than one `+`"), "{told}");
    let told = refusal(&passthrough(&format!("{{model: {base}+{lora}, lora: {lora}}}")));
    assert!(told.contains("an adapter is given twice"), "{told}");
    // One base with and without its adapter are two models; twice the same is one too many.
    let two = |first: &str, second: &str| {
        format!(
            "merge_method: linear\nmodels:\n  - model: {first}\n  - model: {second}\nparameters: {{weight: 1}}\n"
        )
    };
    let adapted = format!("{base}+{lora}");
    assert_eq!(plan(&two(&base.to_string(), &adapted)).inputs.len(), 2);
    let told = refusal(&two(&adapted, &adapted));
    assert!(told.contains(&format!("{adapted} is listed twice")), "{told}");
}

/// Names of older versions, and of models without a head.
#[test]
fn names_of_other_versions() {
    let world = World::new(&TOY);
    let mut made = Made::new(json!({ "use_dora": true }));
    made.pair(Q0, 4, [24, 24]).add(&format!("{Q0}.lora_magnitude_vector"), Dtype::F32, &[24]);
    made.write(&world.path("lora"));
    let want = merge(&passthrough(&world.with("lora")));
    type Rename = fn(&str) -> String;
    let renames: [Rename; 4] = [
        |name| name.replace(".weight", ".default.weight").replace("vector", "vector.default.weight"),
        |name| name.replace("base_model.model.", ""),
        |name| name.replace("base_model.model.model.", "base_model.model."),
        |name| name.replace("vector", "vector.weight"),
    ];
    for rename in renames {
        let tensors = made.tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect();
        Made { tensors, config: made.config.clone(), noise: Noise(0) }.write(&world.path("renamed"));
        let merged = merge(&passthrough(&world.with("renamed")));
        assert!(
            want.iter().all(|(name, tensor)| merged[name].bytes == tensor.bytes),
            "{}",
            rename("x.weight")
        );
    }
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

#[test]
fn an_adapter_of_a_tied_model_unties_it() {
    let world = World::new(&TOY);
    let mut made = Made::new(json!({}));
    made.add("model.embed_tokens.lora_embedding_A", Dtype::F32, &[4, 97]);
    made.add("model.embed_tokens.lora_embedding_B", Dtype::F32, &[24, 4]);
    made.write(&world.path("lora"));
    let text = passthrough(&world.with("lora"));
    let untied = plan(&text);
    assert!(
        untied.warnings.to_string().contains("the head becomes a tensor of its own"),
        "{}",
        untied.warnings
    );
    assert_eq!(untied.config.as_ref().unwrap()["tie_word_embeddings"], false);
    let merged = merge(&text);
    assert_eq!(merged["lm_head.weight"].bytes, world.base["model.embed_tokens.weight"].bytes);
    assert_ne!(merged["model.embed_tokens.weight"].bytes, world.base["model.embed_tokens.weight"].bytes);
    // In a merge whose configuration comes from the tied base too: its head would be passed over.
    let both = plan(&format!(
        "merge_method: linear\nmodels:\n  - model: {}\n  - model: {}\nparameters: {{weight: 0.5}}\n",
        world.path("base").display(),
        world.with("lora")
    ));
    assert!(both.jobs.iter().any(|job| job.name == "lm_head.weight"));
    assert_eq!(both.config.as_ref().unwrap()["tie_word_embeddings"], false);
    assert!(both.warnings.to_string().contains("the output gets a head of its own"), "{}", both.warnings);
    made.config["ensure_weight_tying"] = json!(true);
    made.write(&world.path("lora"));
    let tied = plan(&text);
    assert!(tied.warnings.is_empty(), "{}", tied.warnings);
    assert_eq!(tied.config.as_ref().unwrap()["tie_word_embeddings"], true);
    assert!(!merge(&text).contains_key("lm_head.weight"));
}

#[test]
fn the_manifest_knows_the_adapter() {
    let world = World::new(&TOY);
    let mut made = Made::new(json!({ "modules_to_save": ["norm"] }));
    made.pair(Q0, 4, [24, 24]).add("model.norm.weight", Dtype::F32, &[24]);
    made.write(&world.path("lora"));
    std::fs::write(world.path("recipe.yaml"), passthrough(&world.with("lora"))).unwrap();
    let growmerge =
        |args: &[&str]| support::command().current_dir(world.folder.path()).args(args).output().unwrap();
    let output = growmerge(&["plan", "recipe.yaml", "--tensors"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("(1 tensors updated, 1 replaced)"), "{text}");
    let own = world.base.len();
    assert!(text.contains(&format!("lora  {own} tensors (+ 3 of adapters), ")), "{text}");
    let output = growmerge(&["plan", "recipe.yaml", "--json"]);
    let model = serde_json::from_slice::<Value>(&output.stdout).unwrap()["models"][0].clone();
    assert_eq!((&model["tensors"], &model["adapter_tensors"]), (&json!(own), &json!(3)));
    assert!(text.contains("LoRA of rank 4, scaled by 1.5"), "{text}");
    assert!(growmerge(&["merge", "recipe.yaml", "out", "--quiet"]).status.success());
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(world.path("out").join("growmerge.json")).unwrap()).unwrap();
    let files: Vec<&str> = manifest["inputs"][0]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["name"].as_str().unwrap())
        .collect();
    assert_eq!(files, ["model.safetensors", "adapter_model.safetensors"]);
    assert!(manifest["inputs"][0]["files"][1]["crc64nvme"].is_string(), "all of the adapter was read");
    let tensor = |name: &str| {
        manifest["tensors"].as_array().unwrap().iter().find(|t| t["name"] == name).unwrap()["sources"][0]
            .clone()
    };
    let q = tensor(&format!("{Q0}.weight"));
    assert_eq!(q["view"], "LoRA of rank 4, scaled by 1.5");
    assert_eq!(q["made_of"].as_array().unwrap().len(), 3);
    assert!(growmerge(&["verify", "out"]).status.success());
    // Another seed, another adapter.
    Made { noise: Noise(1), ..Made::new(made.config.clone()) }
        .pair(Q0, 4, [24, 24])
        .add("model.norm.weight", Dtype::F32, &[24])
        .write(&world.path("lora"));
    let output = growmerge(&["verify", "out"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("tensors differ"), "{text}");
}

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
