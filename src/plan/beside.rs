//! Files that stand beside the models: which there are, and which of their tensors belong to a tensor of the output.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::Builder;
use super::params::{self, Position};
use super::segment::Segment;
use super::weights::label;
use super::{Beside, Holds, Input, Job, Library, Source};
use crate::method::{self, FileKind, Method, Param};
use crate::problem::{Problem, Problems};
use crate::recipe::{Place, Recipe, Settings, Value};

/// Opens every file that a recipe names beside its models, each once; positions are counted on from `first`.
pub(super) fn open(
    recipe: &Recipe,
    method: &Method,
    library: &mut Library,
    first: usize,
    problems: &mut Problems,
) -> (Vec<Input>, BTreeMap<String, usize>) {
    let (mut inputs, mut positions) = (Vec::new(), BTreeMap::new());
    let Some((param, kind)) = method.file() else { return (inputs, positions) };
    for (path, place) in files(recipe, param) {
        if positions.contains_key(&path) {
            continue;
        }
        match library.beside(&path, kind) {
            Ok(input) => {
                positions.insert(path, first + inputs.len());
                inputs.push(input);
            }
            Err(found) => {
                for problem in found.iter() {
                    problems.push(problem.clone().spot(place.spot.clone()));
                }
            }
        }
    }
    (inputs, positions)
}

/// Every file that a recipe names for a parameter, and where.
fn files(recipe: &Recipe, param: &Param) -> Vec<(String, Place)> {
    let mut files = Vec::new();
    let mut level = |settings: &Settings, _: bool| {
        let Some(setting) = settings.get(param.name) else { return };
        for value in params::written(&setting.value) {
            if let Value::Word(path) = value {
                files.push((path.clone(), setting.place.clone()));
            }
        }
    };
    level(&recipe.parameters, false);
    params::assembly(&recipe.assembly, &mut level);
    files
}

/// The file that a recipe names for a model's tensor.
fn file(
    recipe: &Recipe,
    param: &Param,
    segment: &Segment<'_>,
    source: usize,
    at: &Position<'_>,
    input_tensor: &str,
) -> Option<String> {
    let own = segment.sources.get(source).and_then(|s| s.parameters);
    let levels = [own, segment.parameters, segment.module_parameters, Some(&recipe.parameters)];
    levels.into_iter().flatten().find_map(|settings| {
        match settings.get(param.name)?.value.at(at.t, input_tensor)? {
            Value::Word(path) => Some(path),
            Value::Number(_) | Value::Weighting(_) => None,
        }
    })
}

/// What is odd about files whose tensors are all there: one of which nothing is used, and one that was measured on the
/// language of another model.
pub(super) fn review(
    recipe: &Recipe,
    method: &Method,
    jobs: &[Job],
    inputs: &[Input],
    problems: &mut Problems,
) {
    let Some((param, kind)) = method.file() else { return };
    let used: BTreeSet<(usize, usize)> = jobs
        .iter()
        .flat_map(|job| job.models.iter().zip(job.beside.sources()))
        .map(|(model, file)| (model.input, file.input))
        .collect();
    let places: BTreeMap<String, Place> = files(recipe, param).into_iter().rev().collect();
    let merges = jobs.iter().any(|job| !job.is_as_it_is()); // a single model is copied, whatever its files say
    let models = recipe.models();
    let labels: Vec<&str> = models.iter().map(|model| label(&model.value)).collect();
    for (position, input) in inputs.iter().enumerate() {
        let (Some(file), Some(place)) = (input.beside(), places.get(input.name())) else { continue };
        let of: Vec<usize> =
            used.iter().filter(|(_, file)| *file == position).map(|(model, _)| *model).collect();
        if merges && of.is_empty() && kind == FileKind::Grams {
            let what = format!("none of the matrices in {} is of a tensor that is merged", input.name());
            problems.push(
                place.problem(what).hint("the file is of another model, or of another form of this one"),
            );
        }
        let Some(language) = file.language.as_deref() else { continue };
        for model in of {
            let Some(label) = labels.get(model).filter(|label| **label != language) else { continue };
            if labels.contains(&language) {
                let what = format!(
                    "{} says that it was measured on `{language}`, and is given to `{label}`",
                    input.name()
                );
                problems.push(place.warning(what));
            }
        }
    }
}

impl Builder<'_> {
    /// What is read beside the models for a tensor, and what is known of it; nothing if something is wrong, which is
    /// noted.
    pub(super) fn beside(
        &mut self,
        segment: &Segment<'_>,
        at: &Position<'_>,
        models: &[(usize, Source)],
    ) -> Option<(Beside, method::Beside)> {
        let Some((param, kind)) = self.method.file() else {
            return Some((Beside::Nothing, method::Beside::Nothing));
        };
        let mut found: Vec<Option<Source>> = Vec::new();
        let mut absent: Vec<&str> = Vec::new();
        let mut means = Vec::new();
        for (i, source) in models {
            let tensor = source.info(self.inputs).name.as_str();
            let path = file(self.recipe, param, segment, *i, at, tensor);
            let input = path.and_then(|path| self.files.get(&path).copied());
            let Some(input) = input else {
                self.missing.add(param, self.inputs[source.input].name(), at.tensor);
                return None;
            };
            let file = &self.inputs[input];
            let position = file.beside().and_then(|beside| {
                if let Holds::Importance { mean } = beside.holds {
                    means.push(mean);
                }
                let names = [tensor, source.origin_name(self.inputs)];
                names.into_iter().find_map(|name| self.look_up(file, beside.name_of(name)))
            });
            if position.is_none() {
                absent.push(file.name());
            }
            found.push(position.map(|tensor| Source { input, tensor }));
        }
        let sources: Vec<Source> = found.iter().copied().flatten().collect();
        if kind == FileKind::Grams && sources.is_empty() {
            return Some((Beside::Nothing, method::Beside::Nothing));
        }
        if !absent.is_empty() {
            absent.dedup();
            let what = format!("there is no {} of it in {}", kind.words(), absent.join(", "));
            let hint = "the file is of another model, or of another form of this one";
            self.listed.absent.push(Problem::error(at.tensor, what).hint(hint));
            return None;
        }
        let shape = models.first().map(|(_, s)| s.info(self.inputs).shape.clone()).unwrap_or_default();
        let wanted = match (kind, shape.as_slice()) {
            (FileKind::Importance, _) => shape.clone(),
            (FileKind::Grams, [_, width]) => vec![*width; 2],
            (FileKind::Grams, _) => {
                let what = format!("has shape {shape:?}, but a Gram matrix belongs to a matrix");
                self.listed.shapes.push(Problem::error(at.tensor, what));
                return None;
            }
        };
        if let Some(odd) = sources.iter().find(|s| s.info(self.inputs).shape != wanted) {
            let (file, found) = (self.inputs[odd.input].name(), &odd.info(self.inputs).shape);
            let what =
                format!("its {} in {file} has shape {found:?}, but {wanted:?} belongs to it", kind.words());
            let hint = "the file is of another model, or of this one with another vocabulary or size";
            self.listed.shapes.push(Problem::error(at.tensor, what).hint(hint));
            return None;
        }
        Some(match kind {
            FileKind::Importance => (Beside::Along(sources), method::Beside::Importance(means)),
            FileKind::Grams => (Beside::Whole(sources), method::Beside::Grams),
        })
    }
}
