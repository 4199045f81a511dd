//! Which model a recipe means when it names one for its tokenizer or for a row.

use std::path::{Path, PathBuf};

use super::tokenizer::{self, Tokenizer};
use super::{Model, Owner, is_tokenizer_file};
use crate::problem::{Problem, Problems};
use crate::recipe::{AdapterRef, ModelRef, Named, Place, refuse_revision};

/// A model that is not merged, as far as its tokenizer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Where its files are.
    pub(super) folder: PathBuf,
    /// An adapter that was saved with a tokenizer: what it was trained with.
    adapter: Option<PathBuf>,
}

impl Outside {
    /// A file of it, if it is there.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let adapter = self.adapter.as_ref().filter(|_| is_tokenizer_file(name));
        Some(adapter.unwrap_or(&self.folder).join(name)).filter(|path| path.is_file())
    }

    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.path(name)?).ok()
    }

    /// Its tokenizer.
    pub(super) fn tokenizer(&self, place: &Place, problems: &mut Problems) -> Option<Tokenizer> {
        let read = match self.read("tokenizer.json") {
            Some(bytes) => {
                let folder = self.adapter.as_ref().unwrap_or(&self.folder);
                Tokenizer::parse(&folder.join("tokenizer.json").display().to_string(), &bytes)
            }
            None => Err(tokenizer::missing(&self.folder).into()),
        };
        let found = match read {
            Ok(tokenizer) => return Some(tokenizer),
            Err(found) => found,
        };
        found.iter().for_each(|problem| problems.push(problem.clone().spot(place.spot.clone())));
        None
    }
}

/// The model whose tokenizer a recipe asks for: one that is merged and has it, else a folder.
pub(super) fn owner(
    wanted: &ModelRef,
    models: &[Model<'_>],
    place: &Place,
    problems: &mut Problems,
) -> Option<Owner> {
    if let Some(owner) = models.iter().position(|m| m.reference == wanted) {
        return Some(Owner::Model(owner));
    }
    let merged = models.iter().position(|m| giver(m.reference) == giver(wanted));
    if merged.is_none() {
        let found = match wanted.named {
            Named::Stage => Err(stage(wanted, place).into()),
            Named::Path => folders(wanted, models),
        };
        if let Err(found) = found {
            found.iter().for_each(|problem| problems.push(problem.clone().spot(place.spot.clone())));
            return None;
        }
    }
    if let Some(adapter) = wanted.adapter.as_ref().filter(|adapter| !has_tokenizer(adapter)) {
        let what =
            format!("adapter {adapter} has no tokenizer.json; the tokenizer is that of {}", wanted.path);
        problems.push(place.warning(what).hint(format!("`{}` alone says the same", wanted.path)));
    }
    if wanted.grow.is_some() {
        problems.push(place.warning("`grow` has no effect here: a tokenizer stays as it is"));
    }
    let outside = || {
        let path = Path::new(&wanted.path);
        let folder = if path.is_file() { path.parent().unwrap_or(path) } else { path };
        let adapter = wanted.adapter.as_ref().filter(|adapter| has_tokenizer(adapter));
        Outside { folder: folder.to_owned(), adapter: adapter.map(|adapter| adapter.path.clone().into()) }
    };
    Some(merged.map_or_else(|| Owner::Outside(outside()), Owner::Model))
}

/// The model that is merged whose rows a recipe asks for: as it is named, or the only one that is made of it.
pub(super) fn row_giver(wanted: &ModelRef, models: &[&ModelRef], place: &Place) -> Result<usize, Problems> {
    if let Some(equal) = models.iter().position(|model| *model == wanted) {
        return Ok(equal);
    }
    let made_of: Vec<usize> = (0..models.len()).filter(|m| models[*m].path == wanted.path).collect();
    match made_of.as_slice() {
        [only] if wanted.adapter.is_none() && wanted.grow.is_none() => return Ok(*only),
        _ => {}
    }
    let problem = place.problem(format!("{wanted} is not among the models that are merged"));
    let forms: Vec<String> = made_of.iter().map(|m| format!("`{}`", models[*m])).collect();
    let hint = match forms.is_empty() {
        true => "rows can be taken from models of the recipe only; give it the weight 0 there".to_owned(),
        false => format!("of it there is {}: name the one that is meant", forms.join(" and ")),
    };
    Err(problem.hint(hint).into())
}

/// What a model has its tokenizer from; models that have it from the same have the same.
fn giver(model: &ModelRef) -> (Named, &str, Option<&str>, Option<&AdapterRef>) {
    let adapter = model.adapter.as_ref().filter(|adapter| has_tokenizer(adapter));
    (model.named, &model.path, model.revision.as_deref(), adapter)
}

fn has_tokenizer(adapter: &AdapterRef) -> bool {
    Path::new(&adapter.path).join("tokenizer.json").is_file()
}

/// Whether the folders of a model that is not merged are there.
fn folders(wanted: &ModelRef, models: &[Model<'_>]) -> Result<(), Problems> {
    refuse_revision(&wanted.path, wanted.revision.as_deref())?;
    if !Path::new(&wanted.path).exists() {
        let known = models.iter().map(|m| m.reference.path.as_str()).chain(["union", "base"]);
        let problem = Problem::error(&wanted.path, "no such folder").did_you_mean(&wanted.path, known);
        let hint = "a tokenizer's source is union, base or a local folder with a tokenizer.json; names of Hugging \
                    Face repositories are not looked up yet";
        return Err(if problem.hint.is_none() { problem.hint(hint) } else { problem }.into());
    }
    let Some(adapter) = &wanted.adapter else { return Ok(()) };
    refuse_revision(&adapter.path, adapter.revision.as_deref())?;
    match Path::new(&adapter.path).is_dir() {
        true => Ok(()),
        false => {
            let hint = "an adapter is a folder; its tokenizer is taken, if it was saved with one";
            Err(Problem::error(&adapter.path, "no such folder").hint(hint).into())
        }
    }
}

fn stage(wanted: &ModelRef, place: &Place) -> Problem {
    let name = &wanted.path;
    let what = format!(
        "stage `{name}` is not among the models that are merged here, so its tokenizer is not at hand"
    );
    place.problem(what).hint(format!(
        "name it under `models` with the weight 0, or write it with `--keep {name}` and name its folder"
    ))
}
