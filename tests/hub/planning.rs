//! Plans and merges of models that are elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use growmerge::checkpoint::Folder;
use growmerge::hub::{Hub, Pins, fetch};
use growmerge::plan::{Library, Plan, PlanOptions};
use growmerge::problem::Problems;
use growmerge::recipe::Reading;
use growmerge::write::Manifest;
use serde_json::{Value, json};

use crate::loopback::Fault;
use crate::world::{Quiet, World, find, noise, quickstart, tree};

const LANGUAGES: [&str; 6] = ["en", "et", "fo", "is", "sv", "fa"];

fn plan_with(hub: Hub, text: &str) -> Result<Plan, Problems> {
    let mut library = Library::new().with(Arc::new(hub));
    Plan::from_reading_with(Reading::parse("recipe.yaml", text), &PlanOptions::default(), &mut library)
}

fn plan(world: &World, text: &str) -> Plan {
    plan_with(world.client(), text).unwrap_or_else(|p| panic!("{p}"))
}

/// Where the Estonian model is.
fn et(plan: &Plan) -> &Folder {
    plan.inputs.iter().find(|input| input.name().starts_with("own/et")).unwrap().folder()
}

fn bring(plan: &Plan) {
    fetch(&plan.away(), 3, &Quiet, &AtomicBool::new(false)).unwrap();
    plan.attach().unwrap();
}

/// The quickstart's models, on the Hub.
fn quickstarts() -> World {
    let world = World::new();
    for language in LANGUAGES {
        world.upload(&format!("own/{language}"), &quickstart(language));
    }
    world
}

fn recipe(model: impl Fn(&str) -> String) -> String {
    let mut text =
        format!("merge_method: ties\nbase_model: {}\nparameters: {{density: 0.5}}\nmodels:\n", model("en"));
    for language in &LANGUAGES[1..] {
        text += &format!("  - {{model: {}, parameters: {{weight: 1}}}}\n", model(language));
    }
    text + "dtype: bfloat16\n"
}

fn remote() -> String {
    recipe(|language| format!("own/{language}"))
}

/// A safetensors file of bf16 tensors.
fn safetensors(tensors: &[(&str, &[usize])], bytes: &[u8]) -> Vec<u8> {
    let mut at = 0;
    let mut header = serde_json::Map::new();
    for (name, shape) in tensors {
        let end = at + 2 * shape.iter().product::<usize>();
        header.insert((*name).into(), json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    // Small numbers: the high byte of each is that of about 1.
    file.extend(bytes[..at].iter().enumerate().map(|(i, b)| if i % 2 == 1 { 0x3f } else { *b }));
    file
}

/// A model of two layers in a file for each, and one for what is around them.
fn sharded(world: &World, name: &str) {
    let repo = world.hub.repo(name);
    let bytes = noise(200_000);
    let mut map = serde_json::Map::new();
    let around: Vec<(&str, &[usize])> =
        vec![("model.embed_tokens.weight", &[64, 16]), ("model.norm.weight", &[16])];
    let mut put = |file: &str, tensors: &[(&str, &[usize])]| {
        tensors.iter().for_each(|(name, _)| drop(map.insert((*name).into(), json!(file))));
        repo.put_lfs(file, safetensors(tensors, &bytes));
    };
    put("model-00001-of-00003.safetensors", &around);
    for layer in 0..2 {
        let name = |what: &str| format!("model.layers.{layer}.{what}.weight");
        let names = [name("self_attn.q_proj"), name("mlp.up_proj"), name("input_layernorm")];
        let shapes: [&[usize]; 3] = [&[16, 16], &[4096, 16], &[16]];
        let tensors: Vec<(&str, &[usize])> = names.iter().map(String::as_str).zip(shapes).collect();
        put(&format!("model-0000{}-of-00003.safetensors", layer + 2), &tensors);
    }
    repo.put("model.safetensors.index.json", json!({"metadata": {}, "weight_map": map}).to_string());
    let config = json!({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 16, "tie_word_embeddings": true});
    repo.put("config.json", config.to_string()).commit();
}

#[test]
fn a_plan_of_six_large_models_moves_little() {
    let world = World::new();
    // One tokenizer, as large as that of a real model, which nobody needs to look at: its hash is known.
    let tokenizer = noise(3_000_000);
    for language in LANGUAGES {
        let repo = world.hub.repo(&format!("own/{language}"));
        let names: Vec<String> =
            (0..220).map(|i| format!("model.layers.{}.part{}.weight", i / 9, i % 9)).collect();
        let tensors: Vec<(&str, &[usize])> = names.iter().map(|n| (n.as_str(), &[128, 64][..])).collect();
        repo.put_lfs("model.safetensors", safetensors(&tensors, &noise(220 * 128 * 64 * 2)));
        repo.put_lfs("tokenizer.json", tokenizer.clone());
        repo.put("config.json", r#"{"model_type": "llama"}"#).commit();
    }
    let planned = plan(&world, &remote());
    assert_eq!(planned.jobs.len(), 220);
    let moved = world.sent();
    assert!(moved < 2_000_000, "{moved} bytes");
    assert!(world.reads("tokenizer.json").is_empty());
    assert!(planned.companions.iter().any(|c| c.name == "tokenizer.json"));
    let away: u64 = planned
        .away()
        .iter()
        .map(|place| {
            place.folder.remote().unwrap().files().iter().find(|f| f.name == place.name).unwrap().bytes
        })
        .sum();
    assert!(away > 6 * 220 * 128 * 64 * 2, "{away}");
    // A second look asks for nothing but what the branches are now.
    world.hub.forget();
    plan(&world, &remote());
    let asked: Vec<String> = world.hub.requests().into_iter().map(|r| r.path).collect();
    assert!(asked.len() == 6 && asked.iter().all(|path| path.contains("/revision/")), "{asked:?}");
}

#[test]
fn a_merge_is_that_of_folders_and_says_where_its_models_were() {
    let world = quickstarts();
    let text = remote();
    let planned = plan(&world, &text);
    bring(&planned);
    let local = plan(&world, &recipe(|language| quickstart(language).display().to_string()));
    assert_eq!(planned.digest, local.digest, "the same plan");
    assert_eq!(planned.config, local.config);
    let recipe = world.path("recipe.yaml");
    std::fs::write(&recipe, &text).unwrap();
    let out = world.path("out");
    world.growmerge().args(["merge", "--quiet"]).args([&recipe, &out]).assert().success();
    let local_recipe = world.path("local.yaml");
    std::fs::write(&local_recipe, self::recipe(|language| quickstart(language).display().to_string()))
        .unwrap();
    let other = world.path("other");
    world.growmerge().args(["merge", "--quiet"]).args([&local_recipe, &other]).assert().success();
    for file in
        tree(&other).iter().filter(|f| !["growmerge.json", "recipe.yaml", "README.md"].contains(&f.as_str()))
    {
        assert_eq!(
            std::fs::read(out.join(file)).unwrap(),
            std::fs::read(other.join(file)).unwrap(),
            "{file}"
        );
    }
    let manifest: Manifest =
        serde_json::from_slice(&std::fs::read(out.join("growmerge.json")).unwrap()).unwrap();
    assert_eq!(manifest.inputs.len(), LANGUAGES.len());
    for input in &manifest.inputs {
        let language = input.model.strip_prefix("own/").unwrap();
        let head = world.hub.repo(&format!("own/{language}")).head("main");
        assert_eq!(input.commit, head, "{language}");
        let weights = std::fs::read(quickstart(language).join("model.safetensors")).unwrap();
        assert_eq!(input.files[0].sha256.as_deref(), Some(growmerge::write::sha256_hex(&weights).as_str()));
    }
    let verified = world.growmerge().arg("verify").arg(&out).assert().success();
    let told = String::from_utf8_lossy(&verified.get_output().stdout).into_owned();
    assert!(told.contains("of the Hub, at commit"), "{told}");
}

#[test]
fn of_a_model_of_which_layers_are_taken_only_their_files_come() {
    let world = World::new();
    sharded(&world, "own/big");
    sharded(&world, "own/other");
    let text = "merge_method: passthrough\nslices:\n  - sources: [{model: own/big, layer_range: [0, 1]}]\n  \
                - sources: [{model: own/other, layer_range: [1, 2]}]\n";
    let planned = plan(&world, text);
    let away = |repo: &str| -> Vec<String> {
        let of = planned.away().into_iter().filter(|p| p.folder.remote().unwrap().name() == repo);
        of.map(|p| p.name.clone()).filter(|n| n.ends_with(".safetensors")).collect()
    };
    assert_eq!(away("own/big"), ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"]);
    // The last norm is that of the last slice.
    assert_eq!(away("own/other"), ["model-00003-of-00003.safetensors", "model-00001-of-00003.safetensors"]);
    let out = world.path("out");
    let recipe = world.path("recipe.yaml");
    std::fs::write(&recipe, text).unwrap();
    world.growmerge().args(["merge", "--quiet", "--hash-inputs"]).args([&recipe, &out]).assert().success();
    world.growmerge().arg("verify").arg(&out).assert().success();
    let files = tree(&world.cache());
    assert!(
        !files.iter().any(|f| f.contains("models--own--other/snapshots") && f.contains("00002")),
        "{files:?}"
    );
    // Without the network the same is there, and what is not is told by name.
    world.hub.forget();
    let again = world.path("again");
    world.growmerge().args(["merge", "--quiet", "--offline"]).args([&recipe, &again]).assert().success();
    std::fs::write(&recipe, "merge_method: passthrough\nmodels: [{model: own/other}]\n").unwrap();
    let failed =
        world.growmerge().args(["merge", "--offline"]).args([&recipe, &world.path("no")]).assert().code(2);
    let told = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(told.contains("model-00002-of-00003.safetensors") && told.contains("not to be used"), "{told}");
    assert!(world.hub.requests().is_empty());
}

#[test]
fn weights_that_are_not_here_are_an_error_and_no_zeros() {
    let world = quickstarts();
    let planned = plan(&world, &remote());
    let error = planned.attach().unwrap_err();
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    let jobs: Vec<usize> = (0..planned.jobs.len()).collect();
    struct Nowhere;
    impl growmerge::execute::Sink for Nowhere {
        fn write(
            &self,
            _: usize,
            _: u64,
            _: growmerge::execute::Piece,
        ) -> Result<(), growmerge::problem::ExecError> {
            Ok(())
        }
        fn seal(&self, _: usize, _: growmerge::execute::Sealed) -> Result<(), growmerge::problem::ExecError> {
            Ok(())
        }
    }
    struct Nobody;
    impl growmerge::execute::Observer for Nobody {
        fn begin(&self, _total: u64) {}
        fn advance(&self, _bytes: u64) {}
    }
    let options = growmerge::execute::Options { threads: 1, cancel: &AtomicBool::new(false) };
    let device = growmerge::device::cpu::Cpu::new();
    let ran = growmerge::execute::run(&device, &planned, &jobs, &options, &Nowhere, &Nobody);
    assert!(ran.unwrap_err().to_string().contains("is not here yet"));
}

#[test]
fn a_recipe_means_what_it_was_locked_to() {
    let world = quickstarts();
    let recipe = world.path("recipe.yaml");
    std::fs::write(&recipe, remote()).unwrap();
    world.growmerge().arg("lock").arg(&recipe).assert().success();
    let pinned = plan(&world, &remote());
    // The branch moves to another language.
    world.upload("own/et", &quickstart("sv"));
    let hub = Hub::new(world.settings(), Pins::of(&recipe).unwrap(), 4);
    let locked = plan_with(hub, &remote()).unwrap();
    assert_eq!(locked.digest, pinned.digest);
    let commit = |plan: &Plan| et(plan).remote().unwrap().commit().to_owned();
    assert_eq!(commit(&locked), commit(&pinned));
    assert_ne!(commit(&plan(&world, &remote())), commit(&pinned));
    // A revision in the recipe goes to its own commit, and what is not locked is told.
    let text = remote().replace("own/et,", &format!("own/et@{},", commit(&pinned)));
    assert_eq!(commit(&plan(&world, &text)), commit(&pinned));
    let hub = Hub::new(world.settings(), Pins::of(&recipe).unwrap(), 4);
    let told = plan_with(hub, &text).unwrap_err().to_string();
    assert!(told.contains("is not in") && told.contains("growmerge lock"), "{told}");
    // Locked to commits that are known, a plan asks for nothing at all.
    world.hub.forget();
    let hub = Hub::new(world.settings(), Pins::of(&recipe).unwrap(), 4);
    plan_with(hub, &remote()).unwrap();
    assert!(world.hub.requests().is_empty());
}

#[test]
fn a_commit_is_chosen_once() {
    let world = quickstarts();
    let planned = plan(&world, &remote());
    let was = world.hub.repo("own/et").head("main");
    world.upload("own/et", &quickstart("sv"));
    bring(&planned);
    assert_eq!(et(&planned).remote().map(|r| r.commit().to_owned()), was);
    let bytes = std::fs::read(et(&planned).path().join("model.safetensors")).unwrap();
    assert_eq!(bytes, std::fs::read(quickstart("et").join("model.safetensors")).unwrap());
}

#[test]
fn adapters_and_tokenizers_are_found_by_name_too() {
    let world = quickstarts();
    let lora = world.path("lora");
    let (et, en) = (quickstart("et"), quickstart("en"));
    world.growmerge().arg("extract-lora").args([&et, &en, &lora]).args(["--rank", "4"]).assert().success();
    world.upload("own/lora", &lora);
    let text = |base: &str, lora: &str, source: &str| {
        format!("merge_method: passthrough\nmodels: [{{model: {base}+{lora}}}]\ntokenizer_source: {source}\n")
    };
    let planned = plan(&world, &text("own/en", "own/lora", "own/fo"));
    bring(&planned);
    let local = plan(
        &world,
        &text(
            &en.display().to_string(),
            &lora.display().to_string(),
            &quickstart("fo").display().to_string(),
        ),
    );
    assert_eq!(planned.digest, local.digest);
    let commits: Vec<_> = planned.inputs[0]
        .checkpoints()
        .iter()
        .map(|c| c.folder().remote().unwrap().name().to_owned())
        .collect();
    assert_eq!(commits, ["own/en", "own/lora"]);
    let told = plan_with(world.client(), &text("own/lora", "own/en", "base")).unwrap_err().to_string();
    assert!(told.contains("is an adapter, not a model"), "{told}");
}

#[test]
fn pickles_are_refused_from_the_list_alone() {
    let world = World::new();
    world.hub.repo("own/old").put_lfs("pytorch_model.bin", noise(1000)).put("config.json", "{}").commit();
    let told = plan_with(world.client(), "merge_method: passthrough\nmodels: [{model: own/old}]\n")
        .unwrap_err()
        .to_string();
    assert!(told.contains("pickled weights") && told.contains("save_pretrained"), "{told}");
    assert!(world.reads("pytorch_model.bin").is_empty());
    // Where there are both, pickles stay where they are.
    sharded(&world, "own/both");
    world.hub.repo("own/both").put_lfs("pytorch_model.bin", noise(1000)).commit();
    bring(&plan(&world, "merge_method: passthrough\nmodels: [{model: own/both}]\n"));
    assert!(world.reads("pytorch_model.bin").is_empty());
}

#[test]
fn a_header_that_lies_is_refused() {
    let world = World::new();
    let mut huge = noise(1000);
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for bytes in [huge, noise(7), vec![0; 16]] {
        let name = format!("own/bad{}", bytes.len());
        world.hub.repo(&name).put_lfs("model.safetensors", bytes).put("config.json", "{}").commit();
        let text = format!("merge_method: passthrough\nmodels: [{{model: {name}}}]\n");
        let told = plan_with(world.client(), &text).unwrap_err().to_string();
        assert!(told.contains(&format!("{name}/model.safetensors")), "{told}");
    }
    assert!(find(&world.client(), "own/none").is_err());
    assert!(!Path::new("own").exists());
}

#[test]
fn a_header_that_cannot_be_had_is_the_networks_fault_and_a_damaged_note_nobodys() {
    let world = World::new();
    let repo = world.hub.repo("own/big");
    let names: Vec<String> =
        (0..900).map(|i| format!("model.layers.{i}.a_rather_long_name_of_a_tensor.weight")).collect();
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|n| (n.as_str(), &[4, 4][..])).collect();
    repo.put_lfs("model.safetensors", safetensors(&tensors, &noise(900 * 32)));
    repo.put("config.json", r#"{"model_type": "llama"}"#).commit();
    let recipe = world.path("recipe.yaml");
    std::fs::write(&recipe, "merge_method: passthrough\nmodels: [{model: own/big}]\n").unwrap();
    // The first part of the header comes, the second does not.
    world.hub.fault(Fault::on("model.safetensors").busy(503, "0").after(2).times(9));
    let failed = world.growmerge().arg("plan").arg(&recipe).assert().code(3);
    let told = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(told.contains("503") && !told.contains("the machine"), "{told}");
    let world = quickstarts();
    let before = plan(&world, &remote()).digest;
    for note in tree(&world.cache()).iter().filter(|f| f.contains(".growmerge/heads/")) {
        std::fs::write(world.cache().join(note), noise(100)).unwrap();
    }
    assert_eq!(plan(&world, &remote()).digest, before);
}

#[test]
fn a_folder_that_is_taken_is_told_before_anything_is_fetched() {
    let world = quickstarts();
    let recipe = world.path("recipe.yaml");
    std::fs::write(&recipe, remote()).unwrap();
    let out = world.path("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("mine"), "x").unwrap();
    world.growmerge().arg("merge").args([&recipe, &out]).assert().code(2);
    world.growmerge().args(["extract-lora", "own/et", "own/en", "--rank", "2"]).arg(&out).assert().code(2);
    assert!(world.reads("model.safetensors").iter().all(Option::is_some), "headers at most");
}
