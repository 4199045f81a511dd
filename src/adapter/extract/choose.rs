//! What becomes of each tensor that differs.

use super::{Embeddings, Extracted, Extraction, Missed};
use crate::arch::{Family, Role};
use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::problem::{Problem, Problems, nearest};

/// How a tensor is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By an update of a linear layer …
    Linear,
    /// … of one that is stored input by output, as GPT-2's are …
    Conv1d,
    /// … of an embedding.
    Embedding,
    /// As it is in the model.
    Whole,
}

/// A tensor that is captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen<'a> {
    /// The model's.
    pub(super) ours: &'a TensorInfo,
    /// The base's.
    pub(super) theirs: &'a TensorInfo,
    pub(super) kind: Kind,
}

impl Chosen<'_> {
    /// The module that the tensor is the weight of.
    pub(super) fn module(&self) -> &str {
        module(&self.ours.name)
    }
}

/// A tensor's name without its last word.
pub(super) fn module(tensor: &str) -> &str {
    tensor.rsplit_once('.').map_or(tensor, |(module, _)| module)
}

/// Sorts the model's tensors into those that are captured, and the rest, which the report gets.
pub(super) fn choose<'a>(
    model: &'a Checkpoint,
    base: &'a Checkpoint,
    how: &Extraction,
) -> Result<(Vec<Chosen<'a>>, Extracted), Problems> {
    let model_type = base.config().and_then(|c| c.get("model_type")).and_then(|t| t.as_str());
    let family = Family::of(model_type);
    let conv1d = matches!(model_type, Some("gpt2" | "openai-gpt"));
    let (mut chosen, mut report, mut problems) = (Vec::new(), Extracted::default(), Problems::new());
    let mut saves: Vec<&String> = how.save.iter().collect();
    for ours in model.tensors() {
        let mut miss = |why: &str| report.missed.push(Missed { tensor: ours.name.clone(), why: why.into() });
        let Some(theirs) = base.tensor(&ours.name) else {
            miss("the base has no such tensor");
            continue;
        };
        if how.exclude.iter().any(|pattern| pattern.is_match(&ours.name)) {
            if !same(model, ours, base, theirs) {
                miss("excluded");
            }
            continue;
        }
        if ours.shape != theirs.shape {
            let what = format!("{} has shape {:?}, in the base {:?}", ours.name, ours.shape, theirs.shape);
            let hint = "an adapter changes no shapes; leave the tensor out with --exclude";
            problems.push(Problem::error(model.name(), what).hint(hint));
            continue;
        }
        if how.save.iter().any(|name| is_within(&ours.name, name)) {
            saves.retain(|name| !is_within(&ours.name, name));
            chosen.push(Chosen { ours, theirs, kind: Kind::Whole });
            report.saved.push(ours.name.clone());
            continue;
        }
        if same(model, ours, base, theirs) {
            report.unchanged += 1;
            continue;
        }
        if !ours.dtype.is_mergeable() || !theirs.dtype.is_mergeable() {
            miss(&format!("no difference is taken of {} and {}", ours.dtype.name(), theirs.dtype.name()));
            continue;
        }
        let located = family.locate(&ours.name);
        let kind = match (located.role, how.embeddings, &ours.shape[..]) {
            (Role::Embed, Embeddings::Leave, _) => {
                miss("an embedding: --embed-lora gives it an update, --save-module stores it whole");
                continue;
            }
            (Role::Embed, Embeddings::Update, [_, _]) => Kind::Embedding,
            (_, _, [_, _]) if ours.name.ends_with(".weight") => {
                match conv1d && located.layer_name.is_some() {
                    true => Kind::Conv1d,
                    false => Kind::Linear,
                }
            }
            _ => {
                miss("no matrix of a module: --save-module stores it whole");
                continue;
            }
        };
        chosen.push(Chosen { ours, theirs, kind });
    }
    for tensor in base.tensors().iter().filter(|t| model.tensor(&t.name).is_none()) {
        report
            .missed
            .push(Missed { tensor: tensor.name.clone(), why: "the model has no such tensor".into() });
    }
    let all = || model.tensors().iter().chain(base.tensors());
    for pattern in how.exclude.iter().filter(|p| !all().any(|t| p.is_match(&t.name))) {
        let what = format!("--exclude {pattern}: matches no tensor of the model");
        problems.push(Problem::error(model.name(), what).hint(like(pattern.as_str(), model)));
    }
    for name in saves {
        let what = format!("--save-module {name}: the base has no such module");
        problems.push(
            Problem::error(base.name(), what).hint("as in `--save-module lm_head`, or a module's whole path"),
        );
    }
    if !problems.has_errors() && chosen.is_empty() {
        let what = format!("does not differ from {} in any tensor that an adapter could change", base.name());
        problems.push(Problem::error(model.name(), what));
    }
    if problems.has_errors() { Err(problems) } else { Ok((chosen, report)) }
}

/// What a pattern that matches nothing may have meant: a tensor, or a word of the names.
fn like(pattern: &str, model: &Checkpoint) -> String {
    let names = || model.tensors().iter().map(|t| t.name.as_str());
    match nearest(pattern, names().flat_map(|name| std::iter::once(name).chain(name.split('.')))) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("a regular expression for names such as {}", names().next().unwrap_or_default()),
    }
}

/// Whether a tensor is in a module that is meant by a name: its whole path, or what follows a dot of it.
fn is_within(tensor: &str, name: &str) -> bool {
    let is_meant =
        |module: &str| module == name || module.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    tensor.match_indices('.').any(|(at, _)| is_meant(&tensor[..at]))
}

/// Whether two tensors hold the same numbers, by their bytes.
fn same(model: &Checkpoint, ours: &TensorInfo, base: &Checkpoint, theirs: &TensorInfo) -> bool {
    ours.dtype == theirs.dtype && ours.shape == theirs.shape && model.bytes(ours) == base.bytes(theirs)
}
