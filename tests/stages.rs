//! Recipes of several documents: the bytes are those of merging one document after the other.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use growmerge::device::cpu::Cpu;
use growmerge::plan::{Plan, PlanOptions};
use growmerge::recipe::Reading;
use safetensors::tensor::Dtype;
use serde_json::Value;
use support::{Noise, Tensors, command, plan, run, stored, write};

struct World(tempfile::TempDir);

impl World {
    /// Four fine-tunes of a model in bfloat16, one tensor of which is longer than a unit.
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        let mut noise = Noise(29);
        let shapes = [
            ("model.embed_tokens", vec![700, 801]),
            ("model.layers.0.mlp.up_proj", vec![31, 77]),
            ("model.layers.1.mlp.up_proj", vec![130, 77]),
            ("model.norm", vec![77]),
        ];
        let base: Vec<Vec<f32>> =
            shapes.iter().map(|(_, s)| (0..s.iter().product()).map(|_| noise.next()).collect()).collect();
        for name in ["base", "a", "b", "c", "d"] {
            let mut tensors = Tensors::new();
            for ((tensor, shape), base) in shapes.iter().zip(&base) {
                let x = if name == "base" { base.clone() } else { noise.tuned(base) };
                tensors.insert(format!("{tensor}.weight"), stored(Dtype::BF16, shape, &x));
            }
            write(&world.path(name), &tensors);
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A recipe with the models' paths in the place of `$a` and so on.
    fn text(&self, text: &str) -> String {
        ["base", "a", "b", "c", "d", "first", "second"].iter().fold(text.to_owned(), |text, name| {
            text.replace(&format!("${name}"), &self.path(name).display().to_string())
        })
    }

    /// The plan of several documents.
    fn plan(&self, text: &str) -> Plan {
        let reading = Reading::parse("recipe.yaml", &self.text(text));
        Plan::from_reading(reading, &PlanOptions::default()).unwrap_or_else(|p| panic!("{p}"))
    }

    /// Merges one document into a folder, by the tools of the tests.
    fn write(&self, text: &str, out: &str) -> Tensors {
        let merged = run(&plan(&self.text(text)), &Cpu::new(), 1).unwrap();
        write(&self.path(out), &merged);
        merged
    }
}

/// Cuts by magnitude, rows, draws, a whole-tensor angle, another type: what a stage may need before a block.
const FIRST: &[&str] = &[
    "merge_method: ties\nbase_model: $base\nmodels: [{model: $a}, {model: $b}]\nparameters: {weight: 0.5, density: 0.4}\n",
    "merge_method: dare_ties\nbase_model: $base\nmodels: [{model: $a}, {model: $b}]\nparameters: {weight: 0.5, density: 0.4}\n",
    "merge_method: nuslerp\nmodels: [{model: $a}, {model: $b}]\nparameters: {weight: 0.5, nuslerp_flatten: false}\n",
    "merge_method: slerp\nbase_model: $a\nmodels: [{model: $a}, {model: $b}]\nparameters: {t: 0.3}\ndtype: float32\n",
    "merge_method: linear\nmodels: [{model: $a}, {model: $b}]\nparameters: {weight: 0.5}\nout_dtype: float16\n",
    "merge_method: arcee_fusion\nbase_model: $base\nmodels: [{model: $a}]\n",
];

const SECOND: &[&str] = &[
    "merge_method: linear\nmodels: [{model: @, parameters: {weight: 0.3}}, {model: $c, parameters: {weight: 0.7}}]\n",
    "merge_method: ties\nbase_model: $base\nmodels: [{model: @}, {model: $c}]\nparameters: {weight: 0.6, density: 0.3}\n",
    "merge_method: breadcrumbs\nbase_model: @\nmodels: [{model: $c}, {model: $d}]\nparameters: {weight: 1, density: 0.6, gamma: 0.05}\n",
    "merge_method: passthrough\nmodels: [{model: @}]\n",
    "merge_method: passthrough\nslices: [{sources: [{model: @, layer_range: [0, 2]}]}, {sources: [{model: @, layer_range: [1, 2]}]}]\n",
];

#[test]
fn a_stage_has_the_bytes_that_it_would_have_on_disk() {
    for first in FIRST {
        let world = World::new();
        world.write(first, "first");
        for second in SECOND {
            let expected = world.write(&second.replace('@', "$first"), "second");
            let text = format!("name: one\n{first}---\n{}", second.replace('@', "one"));
            let plan = world.plan(&text);
            for (threads, block) in [(2, 16384), (1, 4096), (3, 4096 * 5)] {
                let merged = run(&plan, &Cpu::new().with_block_elements(block), threads).unwrap();
                assert_eq!(merged.len(), expected.len(), "{text}");
                for (name, tensor) in &expected {
                    assert_eq!(merged[name].dtype, tensor.dtype, "{name} of\n{text}");
                    assert!(
                        merged[name].bytes == tensor.bytes,
                        "{name}, {threads} threads, blocks of {block}:\n{text}"
                    );
                }
            }
        }
    }
}

const THREE: &str = "name: one\nmerge_method: ties\nbase_model: $base\nmodels: [{model: $a}, {model: $b}]\nparameters: {weight: 0.5, density: 0.4}\n\
    ---\nname: two\nmerge_method: slerp\nbase_model: one\nmodels: [{model: one}, {model: $c}]\nparameters: {t: 0.5}\n\
    ---\nmerge_method: task_arithmetic\nbase_model: $base\nmodels: [{model: two}, {model: one}, {model: $d}]\nparameters: {weight: 0.4}\n";

#[test]
fn stages_are_written_only_when_asked_and_the_manifest_names_what_was_read() {
    let world = World::new();
    let recipe = world.path("recipe.yaml");
    std::fs::write(&recipe, world.text(THREE)).unwrap();
    command().arg("merge").arg(&recipe).arg(world.path("out")).arg("--quiet").assert().success();
    assert!(!world.path("out-one").exists());
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(world.path("out/growmerge.json")).unwrap()).unwrap();
    let models: Vec<&str> =
        manifest["inputs"].as_array().unwrap().iter().map(|i| i["model"].as_str().unwrap()).collect();
    for name in ["base", "a", "b", "c", "d"] {
        let name = world.path(name).display().to_string();
        assert!(models.contains(&name.as_str()), "{models:?}");
    }
    let input =
        |name: &str| manifest["inputs"].as_array().unwrap().iter().find(|i| i["model"] == name).unwrap();
    assert_eq!(input("one")["made_by"]["method"], "ties");
    assert_eq!(input("two")["made_by"]["method"], "slerp");
    command().arg("verify").arg(world.path("out")).assert().success();

    command()
        .arg("merge")
        .arg(&recipe)
        .arg(world.path("kept"))
        .args(["--keep", "one", "--keep", "two", "--quiet"])
        .assert()
        .success();
    let weights = |folder: &str| std::fs::read(world.path(folder).join("model.safetensors")).unwrap();
    assert!(weights("out") == weights("kept"));
    for (stage, document) in ["one", "two"].into_iter().zip(0..) {
        let folder = world.path(&format!("kept-{stage}"));
        command().arg("verify").arg(&folder).assert().success();
        // What is kept is what its own recipe gives.
        let again = world.path(&format!("again-{document}"));
        command().arg("merge").arg(folder.join("recipe.yaml")).arg(&again).arg("--quiet").assert().success();
        assert!(std::fs::read(again.join("model.safetensors")).unwrap() == weights(&format!("kept-{stage}")));
    }
    let run =
        command().arg("merge").arg(&recipe).arg(world.path("x")).args(["--keep", "ones"]).assert().code(2);
    let text = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    assert!(text.contains("did you mean `one`?"), "{text}");
}

/// An input of a stage that changes is noticed, though the merge itself does not name it.
#[test]
fn inputs_of_stages_are_verified() {
    let world = World::new();
    let recipe = world.path("recipe.yaml");
    std::fs::write(&recipe, world.text(THREE)).unwrap();
    command().arg("merge").arg(&recipe).arg(world.path("out")).arg("--quiet").assert().success();
    flip(&world.path("b/model.safetensors"));
    let run = command().arg("verify").arg(world.path("out")).assert().code(1);
    let text = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert!(text.contains("input") && text.contains("/b"), "{text}");
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// NaN in an input of a stage stops the merge, though the stage's method might hide it.
#[test]
fn what_is_no_number_is_found_below_a_stage() {
    let world = World::new();
    let mut tensors = support::read(&world.path("b"));
    let tensor = tensors.get_mut("model.norm.weight").unwrap();
    tensor.bytes[20..22].copy_from_slice(&half::bf16::NAN.to_le_bytes());
    write(&world.path("b"), &tensors);
    let error = run(&world.plan(THREE), &Cpu::new(), 2).unwrap_err().to_string();
    assert!(error.contains("/b has NaN at element 10"), "{error}");
    // Each document has its own word on it; TIES cuts what is no number off.
    let allowed = THREE.replace("name: one\n", "name: one\nnon_finite: allow\n");
    assert!(run(&world.plan(&allowed), &Cpu::new(), 2).is_ok());
}

#[test]
fn stages_that_double_the_work_are_refused_before_it_becomes_endless() {
    let world = World::new();
    // Each stage is the sum of the two before: 2^n ways down.
    let fibonacci: String = (2..40)
        .map(|i| {
            format!(
                "---\nname: s{i}\nmerge_method: linear\nmodels: [{{model: s{}, parameters: {{weight: 1}}}}, {{model: s{}, \
                 parameters: {{weight: 1}}}}]\n",
                i - 1,
                i - 2
            )
        })
        .collect();
    let one = |i: usize, model: &str| {
        format!("name: s{i}\nmerge_method: linear\nmodels: [{{model: {model}, parameters: {{weight: 1}}}}]\n")
    };
    let text = format!("{}---\n{}{fibonacci}", one(0, "$a"), one(1, "$b"));
    let reading = Reading::parse("recipe.yaml", &world.text(&text));
    let refused = Plan::from_reading(reading, &PlanOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("doubles the work") && refused.contains("--keep"), "{refused}");
    // A long chain without doubling is none of that.
    let chain: String = (1..60).map(|i| format!("---\n{}", one(i, &format!("s{}", i - 1)))).collect();
    let plan = world.plan(&format!("{}{chain}", one(0, "$a")));
    assert_eq!(plan.stages().len(), 59);
}

#[test]
fn kept_stages_never_share_a_folder() {
    let world = World::new();
    let recipe = world.path("recipe.yaml");
    let text = THREE.replace("name: one", "name: a/b").replace("name: two", "name: a-b");
    let text = text.replace("model: one", "model: a/b").replace("model: two", "model: a-b");
    std::fs::write(&recipe, world.text(&text)).unwrap();
    let keep = |out: PathBuf| {
        let run = command()
            .arg("merge")
            .arg(&recipe)
            .arg(out)
            .args(["--keep", "a/b", "--keep", "a-b"])
            .assert()
            .code(2);
        String::from_utf8(run.get_output().stderr.clone()).unwrap()
    };
    assert!(keep(world.path("out")).contains("would share"));
    assert!(!world.path("out-a-b").exists());
    assert!(keep(world.path("out/..")).contains("has no name that stages could be named after"));
}

/// What a stage leaves out is in the plan and in the manifest.
#[test]
fn what_a_stage_leaves_out_is_said() {
    let world = World::new();
    let first =
        "name: one\nmerge_method: passthrough\nslices: [{sources: [{model: $a, layer_range: [0, 1]}]}]\n";
    let text = format!("{first}---\nmerge_method: passthrough\nmodels: [{{model: one}}]\n");
    assert!(world.plan(&text).describe().contains("1 of"), "{}", world.plan(&text).describe());
    let recipe = world.path("recipe.yaml");
    std::fs::write(&recipe, world.text(&text)).unwrap();
    command().arg("merge").arg(&recipe).arg(world.path("out")).arg("--quiet").assert().success();
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(world.path("out/growmerge.json")).unwrap()).unwrap();
    let left_out = manifest["inputs"][0]["made_by"]["left_out"].as_array().unwrap();
    assert_eq!(left_out[0][1], "model.layers.1.mlp.up_proj.weight");
}

#[test]
fn a_stage_that_hides_a_folder_is_told_of() {
    let world = World::new();
    let text = |name: &str, model: &str| {
        format!(
            "name: {name}\nmerge_method: linear\nmodels: [{{model: $a}}]\nparameters: {{weight: 1}}\n---\n\
                 merge_method: linear\nmodels: [{{model: {model}}}]\nparameters: {{weight: 1}}\n"
        )
    };
    // The tests run in the folder of the repository.
    let told = world.plan(&text("src", "src")).warnings.to_string();
    assert!(told.contains("`src` is a path on the disk too; as a model it is this stage"), "{told}");
    assert!(told.contains("recipe.yaml:1:") && told.contains("write `./src`"), "{told}");
    assert!(world.plan(&text("one", "one")).warnings.is_empty());
    // Written so, it is the folder.
    let reading = Reading::parse("recipe.yaml", &world.text(&text("src", "./src")));
    let told = Plan::from_reading(reading, &PlanOptions::default()).unwrap_err().to_string();
    assert!(told.contains("./src") && !told.contains("path on the disk too"), "{told}");
}
