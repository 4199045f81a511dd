//! What a branch has of an earlier model: loaders would read its weights in place of the new ones.

use super::Target;
use super::files::LocalFile;
use crate::hub::api::TreeFile;
use crate::hub::retry;
use crate::hub::trouble::{Kind, Trouble};
use crate::problem::{Error, Problem};
use crate::write::{MANIFEST, Manifest};

/// A longer manifest is not read.
const LONGEST: u64 = 256 << 20;

/// The files of the branch that its own manifest lists and the new model has not; they go with the commit.
///
/// # Errors
/// If there are weights that no manifest lists: whose they are cannot be known.
pub(super) fn outdated(
    target: &Target<'_>,
    parent: &str,
    files: &[LocalFile],
    tree: &[TreeFile],
) -> Result<Vec<String>, Error> {
    let is_new = |path: &str| files.iter().any(|file| file.path == path);
    let others = || tree.iter().map(|file| file.path.as_str()).filter(|path| !is_new(path));
    if others().next().is_none() {
        return Ok(Vec::new());
    }
    let manifest = tree.iter().find(|file| file.path == MANIFEST && file.size <= LONGEST);
    let listed = match manifest {
        Some(_) => listed(target, parent)?,
        None => Vec::new(),
    };
    let (outdated, foreign): (Vec<&str>, Vec<&str>) =
        others().partition(|path| listed.iter().any(|l| l == path));
    if let Some(weights) = foreign.into_iter().find(|path| is_loaded_first(path)) {
        let what = format!("has `{weights}` already, which is not of this model; loaders would take it");
        let hint = "delete it at the Hub, or push to another branch or repository";
        return Err(Problem::error(target.about().to_string(), what).hint(hint).into());
    }
    Ok(outdated.into_iter().map(str::to_owned).collect())
}

/// Names that `transformers` looks for, and shards.
fn is_loaded_first(path: &str) -> bool {
    let weights = path.starts_with("model") && path.ends_with(".safetensors");
    weights || path == "model.safetensors.index.json"
}

/// What the branch's manifest lists; nothing if it cannot be understood.
fn listed(target: &Target<'_>, parent: &str) -> Result<Vec<String>, Trouble> {
    let read = |_: &mut retry::Tries| {
        let mut body = target.web.get(target.repo, parent, MANIFEST, None)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.chunk()? {
            bytes.extend(chunk);
            if bytes.len() as u64 > LONGEST {
                return Err(target.about().file(MANIFEST).trouble(Kind::Odd("it does not end".into())));
            }
        }
        Ok(bytes)
    };
    let bytes = retry::run(target.web.policy(), read)?;
    let manifest: Option<Manifest> = serde_json::from_slice(&bytes).ok();
    Ok(manifest.into_iter().flat_map(|m| m.files).map(|f| f.name).collect())
}
