//! The recipe's assembly with its models looked up: which layers of which models stand over each other.

use std::ops::Range;

use super::Input;
use crate::arch::{Family, layer_count};
use crate::method::{Base, Method};
use crate::problem::{Problem, Problems};
use crate::recipe::{Assembly, Located, ModelRef, Place, Recipe, Settings};

/// One run of output layers.
#[derive(Debug)]
pub(super) struct Segment<'r> {
    /// The models whose layers are merged, in order.
    pub(super) sources: Vec<SegmentSource<'r>>,
    /// The base that holds in this segment.
    pub(super) base: Option<usize>,
    /// Parameters of the slice.
    pub(super) parameters: Option<&'r Settings>,
    /// Position among `slices`, if the recipe has them.
    pub(super) slice: Option<usize>,
}

/// One model's part in a segment.
#[derive(Debug)]
pub(super) struct SegmentSource<'r> {
    /// Position in the plan's inputs.
    pub(super) input: usize,
    /// Layers of that model.
    pub(super) layers: Range<usize>,
    /// The model's own parameters; a base that the recipe does not list has none.
    pub(super) parameters: Option<&'r Settings>,
}

/// Whether output layers are numbered anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    /// `models:`: every tensor keeps its name.
    Kept,
    /// `slices:`: layers are counted through the slices.
    Anew,
}

/// Position of a model among the recipe's distinct models.
fn position(models: &[&Located<ModelRef>], model: &ModelRef) -> usize {
    models.iter().position(|m| m.value == *model).unwrap_or(0)
}

/// Looks up models and layers. `None` for an input that could not be opened; its layers are then
/// taken on trust, since it has a problem of its own already.
pub(super) fn segments<'r>(
    recipe: &'r Recipe,
    method: &Method,
    inputs: &[Option<Input>],
    problems: &mut Problems,
) -> (Vec<Segment<'r>>, Numbering) {
    let models = recipe.models();
    let layers_of = |input: usize| inputs[input].as_ref().map(count_layers);
    let global_base = recipe.base_model.as_ref().map(|m| position(&models, &m.value));
    match &recipe.assembly {
        Assembly::Models(entries) => {
            let mut sources: Vec<SegmentSource<'r>> = entries
                .iter()
                .map(|e| (position(&models, &e.model.value), Some(&e.parameters)))
                .map(|(input, parameters)| SegmentSource {
                    input,
                    layers: 0..layers_of(input).unwrap_or(0),
                    parameters,
                })
                .collect();
            if let Some(base) = global_base
                && sources.iter().all(|s| s.input != base)
            {
                let layers = 0..layers_of(base).unwrap_or(0);
                sources.push(SegmentSource { input: base, layers, parameters: None });
            }
            same_layer_count(&sources, inputs, problems);
            let segment = Segment { sources, base: global_base, parameters: None, slice: None };
            check(&segment, method, recipe, &recipe.method.place, problems);
            (vec![segment], Numbering::Kept)
        }
        Assembly::Slices(slices) => {
            let mut segments = Vec::new();
            for slice in slices {
                let mut sources = Vec::new();
                for source in &slice.sources {
                    let input = position(&models, &source.model.value);
                    if let Some(count) = layers_of(input)
                        && source.layers.end > count
                    {
                        problems.push(source.place.problem(format!(
                            "layer_range [{}, {}] goes beyond the {count} layers of {}",
                            source.layers.start, source.layers.end, source.model.value
                        )));
                    }
                    sources.push(SegmentSource {
                        input,
                        layers: source.layers.clone(),
                        parameters: Some(&source.parameters),
                    });
                }
                let base = slice.base_model.as_ref().map(|m| position(&models, &m.value)).or(global_base);
                let parameters = Some(&slice.parameters);
                let segment = Segment { sources, base, parameters, slice: Some(segments.len()) };
                if let Some(base) = base
                    && method.base != Base::Joins
                    && segment.sources.iter().all(|s| s.input != base)
                {
                    problems.push(
                        slice
                            .place
                            .problem(format!(
                                "the base model {} is not among the sources",
                                models[base].value
                            ))
                            .hint("with `slices`, list the base as a source with its own layer_range"),
                    );
                }
                check(&segment, method, recipe, &slice.place, problems);
                segments.push(segment);
            }
            (segments, Numbering::Anew)
        }
    }
}

/// Layers of a checkpoint, judged by its tensors.
pub(super) fn count_layers(input: &Input) -> usize {
    layer_count(input.tensors().iter().map(|t| t.name.as_str()))
}

/// The architecture family that a checkpoint's config names.
pub(super) fn family(input: &Input) -> Family {
    Family::of(input.config().and_then(|c| c.get("model_type")).and_then(|t| t.as_str()))
}

/// Base and number of inputs against what the method takes.
fn check(segment: &Segment<'_>, method: &Method, recipe: &Recipe, place: &Place, problems: &mut Problems) {
    if matches!(method.base, Base::First | Base::Reference) && segment.base.is_none() {
        problems.push(
            recipe
                .method
                .place
                .problem(format!("method `{}` needs a base model", method.name))
                .hint("add `base_model:` at the top of the recipe"),
        );
    }
    let mut count = segment.sources.len();
    if matches!(method.base, Base::Optional | Base::Reference)
        && segment.sources.iter().any(|s| Some(s.input) == segment.base)
    {
        count -= 1;
    }
    if !method.inputs.contains(&count) {
        let (low, high) = (*method.inputs.start(), *method.inputs.end());
        let wanted = match (low, high) {
            (low, high) if low == high => low.to_string(),
            (low, usize::MAX) => format!("at least {low}"),
            (low, high) => format!("{low} to {high}"),
        };
        let joined = match method.base {
            Base::Joins if segment.base.is_some() => {
                "; the base model counts as one of them (leave `base_model` out if it should not)"
            }
            Base::First => ", the base being one of them",
            Base::Reference => " beside the base",
            Base::Optional if segment.base.is_some() => " beside the base",
            Base::Joins | Base::Optional => "",
        };
        problems.push(place.problem(format!(
            "method `{}` takes {wanted} model{}{joined}; here are {count}",
            method.name,
            if wanted == "1" { "" } else { "s" }
        )));
    }
}

fn same_layer_count(sources: &[SegmentSource<'_>], inputs: &[Option<Input>], problems: &mut Problems) {
    let counts: Vec<(&str, usize)> =
        sources.iter().filter_map(|s| inputs[s.input].as_ref().map(|c| (c.name(), s.layers.len()))).collect();
    if counts.iter().any(|c| c.1 != counts[0].1) {
        let list: Vec<String> = counts.iter().map(|(name, n)| format!("{name} has {n}")).collect();
        problems.push(
            Problem::error(
                "models",
                format!("the models differ in their number of layers: {}", list.join(", ")),
            )
            .hint("to merge parts of them, say which layers with `slices` and `layer_range`"),
        );
    }
}
