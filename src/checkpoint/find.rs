//! Which files a model's weights are in.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde_json::Value;

use super::Folder;
use crate::problem::{Problem, Problems};

/// A checkpoint's weight files.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) folder: Folder,
    /// Plain names inside the folder, sorted.
    pub(super) files: Vec<String>,
    /// For sharded checkpoints: tensor → file.
    pub(super) weight_map: Option<BTreeMap<String, String>>,
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLES: &[&str] = &["bin", "pt", "pth", "ckpt", "pkl"];

/// Looks at `name`, a folder or a safetensors file.
pub(super) fn find(name: &str) -> Result<Found, Problems> {
    let path = Path::new(name);
    if path.is_file() {
        return single_file(name, path);
    }
    if !path.is_dir() {
        return Err(absent(name).into());
    }
    in_folder(name, Folder::Local(path.to_owned()))
}

/// Looks at a folder.
pub(super) fn in_folder(name: &str, folder: Folder) -> Result<Found, Problems> {
    if folder.holds(SINGLE) {
        return Ok(Found { folder, files: vec![SINGLE.into()], weight_map: None });
    }
    if folder.holds(INDEX) {
        return sharded(name, folder);
    }
    let names = folder.names()?;
    let weights: Vec<String> = names.iter().filter(|n| n.ends_with(".safetensors")).cloned().collect();
    if weights.iter().any(|n| n == "adapter_model.safetensors")
        || names.iter().any(|n| n == "adapter_config.json")
    {
        return Err(Problem::error(name, "is an adapter, not a model")
            .hint(format!("name it with its base: `BASE+{name}`"))
            .into());
    }
    let pickles: Vec<String> = names.into_iter().filter(|n| is_pickle(n)).collect();
    match (weights.len(), pickles.first()) {
        (1, _) => Ok(Found { folder, files: weights, weight_map: None }),
        (0, Some(pickle)) => Err(Problem::error(
            name,
            format!("holds pickled weights ({pickle}), which can run code when read"),
        )
        .hint("convert them to safetensors first, for example with transformers' save_pretrained")
        .into()),
        (0, None) => Err(Problem::error(name, "holds no safetensors file").into()),
        (n, _) => Err(Problem::error(name, format!("holds {n} safetensors files but no {INDEX}"))
            .hint(format!("name the one that is meant: {}", folder.at(&weights[0])))
            .into()),
    }
}

fn is_pickle(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| PICKLES.contains(&e)) && !name.starts_with("training_args")
}

/// What to do about a model that may be on the Hub, where the Hub is not asked.
pub const NOT_ELSEWHERE: &str = "if this is a Hugging Face repository, the Hub was not asked for it: the command does so \
                                 unless it was built without the feature `hub`; or download it, and name the folder";

fn absent(name: &str) -> Problem {
    let parts: Vec<&str> = name.split('/').collect();
    let like_hub = parts.len() == 2 && parts.iter().all(|p| !p.is_empty() && !p.starts_with('.'));
    let problem = Problem::error(name, "no such folder or file");
    if like_hub { problem.hint(NOT_ELSEWHERE) } else { problem }
}

fn single_file(name: &str, path: &Path) -> Result<Found, Problems> {
    let (Some(file), Some(folder)) = (path.file_name().and_then(|f| f.to_str()), path.parent()) else {
        return Err(Problem::error(name, "no such folder or file").into());
    };
    if is_pickle(file) {
        return Err(Problem::error(name, "is a pickle, which can run code when read")
            .hint("convert it to safetensors first")
            .into());
    }
    if file.ends_with(".json") {
        return Err(Problem::error(name, "is not a safetensors file")
            .hint("name the folder it is in")
            .into());
    }
    Ok(Found { folder: Folder::Local(folder.to_owned()), files: vec![file.into()], weight_map: None })
}

fn sharded(name: &str, folder: Folder) -> Result<Found, Problems> {
    let at = format!("{name}/{INDEX}");
    let bytes = folder.read(INDEX)?.unwrap_or_default();
    let index: Value =
        serde_json::from_slice(&bytes).map_err(|e| Problem::error(&at, format!("is not JSON: {e}")))?;
    let Some(map) = index.get("weight_map").and_then(Value::as_object).filter(|m| !m.is_empty()) else {
        return Err(Problem::error(&at, "has no `weight_map`").into());
    };
    let mut problems = Problems::new();
    let mut weight_map = BTreeMap::new();
    for (tensor, file) in map {
        match file.as_str() {
            Some(file) => {
                weight_map.insert(tensor.clone(), file.to_owned());
            }
            None => problems.push(Problem::error(&at, format!("the file of tensor {tensor} is not text"))),
        }
    }
    let mut files: Vec<String> = weight_map.values().cloned().collect();
    files.sort();
    files.dedup();
    for file in &files {
        // Symbolic links are fine, the Hub's cache is made of them; names that leave the folder are not.
        let mut parts = Path::new(file).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        if !plain || file.contains('\\') {
            problems.push(Problem::error(
                &at,
                format!("names the file {file:?}, which is not a plain name in this folder"),
            ));
        } else if !folder.holds(file) {
            let count = weight_map.values().filter(|f| *f == file).count();
            let plural = if count == 1 { "tensor" } else { "tensors" };
            problems.push(
                Problem::error(&at, format!("names {file}, which is not there ({count} {plural})"))
                    .hint("the download may be incomplete"),
            );
        }
    }
    if problems.has_errors() {
        return Err(problems);
    }
    Ok(Found { folder, files, weight_map: Some(weight_map) })
}
