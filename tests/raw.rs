//! Single weight files without `config.json`, as mergekit-pytorch takes them: tensors of any names.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use support::{Tensors, command, f32s, merge, plan, read, refusal, save, stored, values, write};

/// Names that no language model has, one with a number that is no layer.
const NAMES: [&str; 4] = ["unet.down.3.conv.weight", "unet.down.0.conv.weight", "clip.text", "7"];

fn tensors(value: f32) -> Tensors {
    let mut all: Tensors = NAMES.iter().map(|n| ((*n).to_owned(), f32s(&[2, 3], [value; 6]))).collect();
    all.insert("steps".into(), support::Tensor { dtype: Dtype::I64, shape: vec![1], bytes: vec![7; 8] });
    all
}

/// `a.safetensors` of ones and `b.safetensors` of threes, with files beside them that belong to neither.
fn files(folder: &Path) -> [PathBuf; 2] {
    std::fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    [("a", 1.0), ("b", 3.0)].map(|(name, value)| {
        let path = folder.join(format!("{name}.safetensors"));
        save(&path, &tensors(value));
        path
    })
}

fn recipe(models: &[PathBuf], weights: [&str; 2]) -> String {
    let entry =
        |(m, w): (&PathBuf, &str)| format!("  - {{model: {}, parameters: {{weight: {w}}}}}\n", m.display());
    let entries: String = models.iter().zip(weights).map(entry).collect();
    format!("merge_method: linear\nmodels:\n{entries}parameters: {{normalize: false}}\n")
}

#[test]
fn files_of_any_names_merge_without_config_or_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let models = files(folder.path());
    let path = folder.path().join("recipe.yaml");
    std::fs::write(&path, recipe(&models, ["0.25", "0.5"])).unwrap();
    let out = folder.path().join("out");
    command().arg("merge").arg(&path).arg(&out).assert().success().stderr("");
    let merged = read(&out);
    assert_eq!(merged.len(), 5);
    for name in NAMES {
        assert_eq!(values(&merged[name]), [1.75; 6], "{name}");
    }
    assert_eq!(merged["steps"].bytes, vec![7; 8]);
    let mut there: Vec<String> =
        std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    assert_eq!(there, ["README.md", "growmerge.json", "model.safetensors", "recipe.yaml"]);
    command().arg("verify").arg(&out).assert().success();
}

#[test]
fn numbers_in_names_are_no_layers() {
    let folder = tempfile::tempdir().unwrap();
    let models = files(folder.path());
    let text = recipe(&models, ["[0.25, 1]", "[{filter: clip, value: [0, 1]}, {value: [0.5, 9]}]"]);
    let merged = merge(&text);
    assert_eq!(values(&merged["unet.down.3.conv.weight"]), [1.75; 6]);
    assert_eq!(values(&merged["clip.text"]), [0.25; 6]);
    let plan = plan(&text);
    let said = plan.warnings.to_string();
    assert_eq!(plan.warnings.iter().count(), 2, "{said}");
    assert!(said.contains("of a list over layers only the first value counts here: `weight`"), "{said}");
    assert!(plan.jobs.iter().all(|j| j.lookup.t == 0.0));
}

#[test]
fn with_a_config_beside_it_a_file_is_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let models = ["a", "b"].map(|name| {
        let tensors: Tensors =
            (0..2).map(|i| (format!("model.layers.{i}.w"), stored(Dtype::F32, &[1], &[1.0]))).collect();
        write(&folder.path().join(name), &tensors);
        folder.path().join(name).join("model.safetensors")
    });
    let text = recipe(&models, ["[0, 1]", "1"]);
    let merged = merge(&text);
    assert_eq!(values(&merged["model.layers.0.w"]), [1.0]);
    assert_eq!(values(&merged["model.layers.1.w"]), [2.0]);
    assert!(plan(&text).warnings.is_empty());

    // A donor without a config costs the others theirs.
    let bare = folder.path().join("bare.safetensors");
    std::fs::copy(&models[0], &bare).unwrap();
    let mixed = plan(&recipe(&[bare, models[1].clone()], ["1", "1"]));
    assert!(mixed.config.is_none());
    assert!(mixed.warnings.to_string().contains("has no config.json"), "{}", mixed.warnings);
}

#[test]
fn what_one_file_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let models = files(folder.path());
    let mut fewer = tensors(3.0);
    fewer.remove("clip.text");
    save(&models[1], &fewer);
    let said = refusal(&recipe(&models, ["1", "1"]));
    assert!(said.contains("clip.text") && said.contains("b.safetensors"), "{said}");
}
