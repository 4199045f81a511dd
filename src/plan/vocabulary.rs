//! The output's vocabulary, and the inputs with their embeddings and heads brought to it.

use std::cell::RefCell;
use std::sync::Arc;

use super::input::{Change, Sight};
use super::names::{look_up, says_untied};
use super::{Input, Library, Origin, companions, segment};
use crate::arch::{Family, Role};
use crate::checkpoint::TensorInfo;
use crate::problem::{Problem, Problems};
use crate::recipe::{AdapterRef, Located, Place, Recipe, VocabularySource, VocabularyWords};
use crate::view::{Rows, View};
use crate::vocabulary::{self, Comparison, Finder, Model, RowMap, Vocabulary};

/// Decides the vocabulary that a recipe asks for, and shows every input as if it had it. Without a rule nothing
/// changes, unless the models differ in nothing but the rows behind their last token.
pub(super) fn align(
    recipe: &Recipe,
    inputs: Vec<Input>,
    donor: usize,
    library: &Library,
    problems: &mut Problems,
) -> (Vec<Input>, Option<Vocabulary>) {
    let Some(decided) = decide(recipe, &inputs, donor, library, problems) else { return (inputs, None) };
    let family = segment::family(&inputs[donor]);
    let seen: Vec<Option<Input>> =
        (0..inputs.len()).map(|i| aligned(&inputs, i, &decided.rows[i], &family, problems)).collect();
    match seen.into_iter().collect() {
        Some(seen) => (seen, Some(decided)),
        None => (inputs, None),
    }
}

fn decide(
    recipe: &Recipe,
    inputs: &[Input],
    donor: usize,
    library: &Library,
    problems: &mut Problems,
) -> Option<Vocabulary> {
    let unreadable = RefCell::new(Problems::new());
    let folder = |model: &AdapterRef| library.folder(model);
    let finder = Finder { folder: &folder, unreadable: &unreadable };
    let decided = decide_of(recipe, inputs, donor, &finder, problems);
    problems.extend(unreadable.take());
    decided
}

/// As [`decide`]; what keeps a file from being read goes to the finder.
fn decide_of(
    recipe: &Recipe,
    inputs: &[Input],
    donor: usize,
    finder: &Finder<'_>,
    problems: &mut Problems,
) -> Option<Vocabulary> {
    let references = recipe.models();
    let models: Vec<Model<'_>> = references
        .iter()
        .zip(inputs)
        .map(|(reference, input)| Model {
            reference: &reference.value,
            folder: input.folder().path(),
            read: Box::new(|name| companions::bytes(input, name, finder.unreadable)),
            identity: companions::file(input, "tokenizer.json").and_then(|file| file.identity()),
            config: input.config(),
            rows: rows(input),
        })
        .collect();
    if let Some(words) = &recipe.vocabulary {
        return vocabulary::decide(words, &models, donor, finder, problems);
    }
    if vocabulary::compare(&models, donor, problems) == Comparison::Same || problems.has_errors() {
        return None;
    }
    let place = Place { path: "tokenizer_source".into(), spot: None };
    let what = format!(
        "the models have one vocabulary, but matrices of unequal size behind it; all get the {} rows of {}",
        models[donor].rows.unwrap_or(0),
        inputs[donor].name()
    );
    problems.push(place.warning(what).hint("`tokenizer_source: base` says so, and is silent"));
    let source = Located { value: VocabularySource::Base, place };
    let words = VocabularyWords { source, tokens: Vec::new(), pad_to_multiple_of: None };
    vocabulary::decide(&words, &models, donor, finder, problems)
}

/// Rows of a model's embedding.
fn rows(input: &Input) -> Option<usize> {
    let family = segment::family(input);
    let mut embeddings = input.tensors().iter().filter(|t| family.locate(&t.name).role == Role::Embed);
    embeddings.find_map(|t| if t.shape.len() == 2 { t.shape.first().copied() } else { None })
}

/// An input with the output's rows in every tensor that has one for each token.
fn aligned(
    inputs: &[Input],
    input: usize,
    map: &RowMap,
    family: &Family,
    problems: &mut Problems,
) -> Option<Input> {
    let own = &inputs[input];
    let count = rows(own)?;
    if map.is_identity(count) {
        return Some(own.clone());
    }
    let map = Arc::new(map.clone());
    let mut complete = true;
    let mut tensors = Vec::new();
    for (at, tensor) in own.tensors().iter().enumerate() {
        let origin = match has_rows(family, tensor, count) {
            false => Some((tensor.clone(), Origin { view: View::Plain, of: vec![(own.clone(), at)] })),
            true => view(inputs, input, &map, &tensor.name, at, family, problems),
        };
        complete &= origin.is_some();
        tensors.extend(origin);
    }
    // A tied head is the embedding, but rows that the model lacks are those of the others' heads.
    let others = map.others();
    let heads = others.iter().flat_map(|other| inputs[*other].tensors());
    let heads = heads.filter(|t| family.locate(&t.name).role == Role::Head && t.shape.len() == 2);
    let mut names: Vec<&str> = heads.map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        if let Some(at) = look_up(own, family, name)
            && own.tensors()[at].name != name
        {
            let head = view(inputs, input, &map, name, at, family, problems);
            complete &= head.is_some();
            tensors.extend(head);
        }
    }
    let sight = Sight {
        under: own.clone(),
        also: Vec::new(),
        name: own.name().to_owned(),
        change: Change::Rows,
        tensors,
        config: own.config().cloned(),
        dropped: Vec::new(),
    };
    complete.then(|| sight.into())
}

fn has_rows(family: &Family, tensor: &TensorInfo, rows: usize) -> bool {
    matches!(family.locate(&tensor.name).role, Role::Embed | Role::Head)
        && tensor.shape.first() == Some(&rows)
}

/// A tensor with the output's rows, under a name; `at` is what it is made of in its own model.
fn view(
    inputs: &[Input],
    input: usize,
    map: &Arc<RowMap>,
    name: &str,
    at: usize,
    family: &Family,
    problems: &mut Problems,
) -> Option<(TensorInfo, Origin)> {
    let own = &inputs[input];
    let tensor = &own.tensors()[at];
    let mut of = vec![(own.clone(), at)];
    let mut places = vec![None; inputs.len()];
    places[input] = Some(0);
    let mut exact = map.only_copies();
    for other in map.others() {
        let Some(theirs) = look_up(&inputs[other], family, name) else {
            let what = format!("rows of it are needed, but {} has no such tensor", inputs[other].name());
            let problem = Problem::error(name, what);
            let hint = "by its config.json the head is not tied to the embedding, so it must be stored";
            problems.push(if says_untied(&inputs[other]) { problem.hint(hint) } else { problem });
            return None;
        };
        let there = &inputs[other].tensors()[theirs];
        if there.shape.get(1..) != tensor.shape.get(1..) {
            let what = format!(
                "rows cannot be taken over, their widths differ: {:?} in {}, {:?} in {}",
                tensor.shape,
                own.name(),
                there.shape,
                inputs[other].name()
            );
            problems.push(Problem::error(name, what).hint("only models of one width share a vocabulary"));
            return None;
        }
        places[other] = Some(of.len());
        exact &= there.dtype == tensor.dtype;
        of.push((inputs[other].clone(), theirs));
    }
    let mut shape = tensor.shape.clone();
    shape[0] = map.rows.len();
    let width = shape[1..].iter().product::<usize>().max(1);
    let rows = Rows { map: map.clone(), tensors: places, width, exact };
    let info = TensorInfo { name: name.to_owned(), shape, ..tensor.clone() };
    Some((info, Origin { view: View::Rows(rows), of }))
}
