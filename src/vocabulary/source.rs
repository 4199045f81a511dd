//! Which model a recipe means when it names one for its tokenizer or for a row.

use std::cell::RefCell;
use std::path::Path;

use super::tokenizer::{self, Tokenizer};
use super::{Model, Owner, is_tokenizer_file};
use crate::checkpoint::{self, Folder};
use crate::problem::{Problem, Problems};
use crate::recipe::{AdapterRef, ModelRef, Named, Place};

/// Finds what is not merged.
pub struct Finder<'a> {
    /// The folder of a model or an adapter, by its name.
    pub folder: &'a dyn Fn(&AdapterRef) -> Result<Folder, Problems>,
    /// What keeps files from being read.
    pub unreadable: &'a RefCell<Problems>,
}

/// A model that is not merged, as far as its tokenizer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Where its files are.
    pub(super) folder: Folder,
    /// An adapter that was saved with a tokenizer: what it was trained with.
    adapter: Option<Folder>,
}

impl Outside {
    /// A file of it, if it is there.
    pub fn place(&self, name: &str) -> Option<checkpoint::Place> {
        let adapter = self.adapter.as_ref().filter(|_| is_tokenizer_file(name));
        let folder = adapter.unwrap_or(&self.folder);
        folder.holds(name).then(|| checkpoint::Place { folder: folder.clone(), name: name.to_owned() })
    }

    pub(super) fn read(&self, name: &str, unreadable: &RefCell<Problems>) -> Option<Vec<u8>> {
        self.place(name)?.read().map_err(|error| unreadable.borrow_mut().extend(error.into())).ok()
    }

    /// Its tokenizer.
    pub(super) fn tokenizer(
        &self,
        finder: &Finder<'_>,
        place: &Place,
        problems: &mut Problems,
    ) -> Option<Tokenizer> {
        let read = match self.read("tokenizer.json", finder.unreadable) {
            Some(bytes) => {
                let folder = self.adapter.as_ref().unwrap_or(&self.folder);
                Tokenizer::parse(&folder.at("tokenizer.json"), &bytes)
            }
            None => Err(tokenizer::missing(self.folder.path()).into()),
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
    finder: &Finder<'_>,
    place: &Place,
    problems: &mut Problems,
) -> Option<Owner> {
    if let Some(owner) = models.iter().position(|m| m.reference == wanted) {
        return Some(Owner::Model(owner));
    }
    let merged = models.iter().position(|m| giver(m.reference, finder) == giver(wanted, finder));
    let outside = match (merged, wanted.named) {
        (Some(merged), _) => Ok(Owner::Model(merged)),
        (None, Named::Stage) => Err(stage(wanted, place).into()),
        (None, Named::Path) => outside(wanted, models, finder).map(Owner::Outside),
    };
    let owner = match outside {
        Ok(owner) => owner,
        Err(found) => {
            found.iter().for_each(|problem| problems.push(problem.clone().spot(place.spot.clone())));
            return None;
        }
    };
    if let Some(adapter) = wanted.adapter.as_ref().filter(|adapter| !has_tokenizer(adapter, finder)) {
        let what =
            format!("adapter {adapter} has no tokenizer.json; the tokenizer is that of {}", wanted.path);
        problems.push(place.warning(what).hint(format!("`{}` alone says the same", wanted.path)));
    }
    if wanted.grow.is_some() {
        problems.push(place.warning("`grow` has no effect here: a tokenizer stays as it is"));
    }
    Some(owner)
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
fn giver<'m>(
    model: &'m ModelRef,
    finder: &Finder<'_>,
) -> (Named, &'m str, Option<&'m str>, Option<&'m AdapterRef>) {
    let adapter = model.adapter.as_ref().filter(|adapter| has_tokenizer(adapter, finder));
    (model.named, &model.path, model.revision.as_deref(), adapter)
}

fn has_tokenizer(adapter: &AdapterRef, finder: &Finder<'_>) -> bool {
    (finder.folder)(adapter).is_ok_and(|folder| folder.holds("tokenizer.json"))
}

/// The folders of a model that is not merged.
fn outside(wanted: &ModelRef, models: &[Model<'_>], finder: &Finder<'_>) -> Result<Outside, Problems> {
    let mut folder = (finder.folder)(&wanted.stored())?;
    if let Folder::Local(path) = &mut folder {
        if !path.exists() {
            let known = models.iter().map(|m| m.reference.path.as_str()).chain(["union", "base"]);
            let problem = Problem::error(&wanted.path, "no such folder").did_you_mean(&wanted.path, known);
            let hint = "a tokenizer's source is union, base, or a model with a tokenizer.json";
            return Err(if problem.hint.is_none() { problem.hint(hint) } else { problem }.into());
        }
        if path.is_file() {
            *path = path.parent().unwrap_or(Path::new(".")).to_owned();
        }
    }
    let adapter = wanted.adapter.as_ref().map(finder.folder).transpose()?;
    if let Some(Folder::Local(path)) = &adapter
        && !path.is_dir()
    {
        let hint = "an adapter is a folder; its tokenizer is taken, if it was saved with one";
        return Err(Problem::error(path.display().to_string(), "no such folder").hint(hint).into());
    }
    Ok(Outside { folder, adapter: adapter.filter(|folder| folder.holds("tokenizer.json")) })
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
