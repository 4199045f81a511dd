//! Adapted models in recipes, and what plan, manifest and the other tensors make of an adapter.

use growmerge::device::cpu::Cpu;
use growmerge::plan::{Plan, PlanOptions};
use growmerge::recipe::Recipe;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use super::support::toy::TOY;
use super::support::{self, Noise, merge, plan, refusal, run};
use super::{Made, Q0, World, passthrough};

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
    assert!(told.contains("(revision `v2`)") && told.contains("the Hub was not asked"), "{told}");
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
