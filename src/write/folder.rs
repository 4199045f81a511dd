//! What may be in an output folder before a merge, and what is removed.

use std::path::Path;

use super::MANIFEST;
use super::manifest::Manifest;
use crate::plan::Plan;
use crate::problem::{Error, ExecError, Problem};

/// An output folder must not be an input's.
pub(super) fn refuse_inputs(plan: &Plan, folder: &Path) -> Result<(), Error> {
    let Ok(out) = folder.canonicalize() else { return Ok(()) };
    if !out.is_dir() {
        return Err(Problem::error(folder.display().to_string(), "is a file, not a folder").into());
    }
    for input in &plan.inputs {
        // The folder itself, or one that its files are links into.
        let files = input.files().filter_map(|f| f.path.canonicalize().ok());
        let mut folders = files.filter_map(|f| f.parent().map(Path::to_owned));
        if input.folder().path().canonicalize().is_ok_and(|i| i == out) || folders.any(|f| f == out) {
            return Err(Problem::error(
                folder.display().to_string(),
                "the output folder is one of the inputs",
            )
            .hint("choose another folder")
            .into());
        }
    }
    Ok(())
}

/// The names in a folder, sorted.
pub(super) fn list(folder: &Path) -> Result<Vec<String>, ExecError> {
    let entries = std::fs::read_dir(folder).map_err(ExecError::io("list", folder))?;
    let mut names: Vec<String> =
        entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    Ok(names)
}

/// Whose a finished merge is; `None` if the folder has no manifest that can be read.
pub(super) fn finished(plan: &Plan, folder: &Path) -> Option<Of> {
    let manifest = serde_json::from_slice(&std::fs::read(folder.join(MANIFEST)).ok()?).ok()?;
    Some(if is_of(plan, &manifest) { Of::ThisPlan } else { Of::Another })
}

/// The plan that a finished merge is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    ThisPlan,
    Another,
}

/// Whether a manifest is of this plan, and of the models that it names: checkpoints of one architecture have
/// the same headers, so a digest does not tell them apart.
fn is_of(plan: &Plan, manifest: &Manifest) -> bool {
    let recorded = manifest.inputs.iter().filter(|i| i.read_by.is_none()).map(|i| i.model.as_str());
    manifest.plan == plan.digest && recorded.eq(plan.inputs.iter().map(|i| i.name()))
}

/// A digest knows headers but no weights, so inputs that were written after the model are suspect.
pub(super) fn refuse_stale(plan: &Plan, folder: &Path) -> Result<(), Error> {
    let Ok(merged) = folder.join(MANIFEST).metadata().and_then(|m| m.modified()) else { return Ok(()) };
    let mut files = plan.files();
    match files.find(|f| f.modified > merged) {
        Some(newer) => Err(Problem::error(
            folder.display().to_string(),
            format!("complete, but {} has changed since", newer.path.display()),
        )
        .hint("--overwrite merges anew")
        .into()),
        None => Ok(()),
    }
}

/// Removes what an earlier merge, or another tool, wrote as a model; other files stay. The manifest
/// goes first, so that a half-removed model does not look whole.
pub(super) fn remove_model(folder: &Path) -> Result<(), ExecError> {
    let mut names = list(folder)?;
    names.sort_by_key(|n| n != MANIFEST);
    for name in names {
        let weights = name.starts_with("model") && name.ends_with(".safetensors");
        if weights
            || name == MANIFEST
            || name == "model.safetensors.index.json"
            || name.ends_with(".safetensors.partial")
        {
            let path = folder.join(name);
            std::fs::remove_file(&path).map_err(ExecError::io("remove", &path))?;
        }
    }
    Ok(())
}
