//! The recipe's assembly with its models looked up: which layers of which models stand over each other.

use std::ops::Range;

use super::Input;
use super::layers::{Anatomy, layers_of, same_layer_count};
use crate::arch::{Family, Module};
use crate::method::{Base, Method};
use crate::problem::Problems;
use crate::recipe::{Assembly, Located, ModelRef, OutputSlice, Place, Recipe, Settings};

/// A module of the output, or all of it.
#[derive(Debug)]
pub(super) struct Part<'r> {
    /// Which tensors it has.
    pub(super) scope: Scope,
    /// Its name and its layers.
    pub(super) module: Module,
    /// How its layers are numbered.
    pub(super) numbering: Numbering,
    /// What it is put together from, in the order of its layers.
    pub(super) segments: Vec<Segment<'r>>,
}

/// Which tensors a part has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All.
    Whole,
    /// Those of its module.
    Module,
}

/// One run of output layers.
#[derive(Debug)]
pub(super) struct Segment<'r> {
    /// The models whose layers are merged, in order.
    pub(super) sources: Vec<SegmentSource<'r>>,
    /// The base that holds in this segment.
    pub(super) base: Option<usize>,
    /// Parameters of the slice.
    pub(super) parameters: Option<&'r Settings>,
    /// Parameters of the module.
    pub(super) module_parameters: Option<&'r Settings>,
    /// Position among `slices`, if the recipe or the module has them.
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

/// The architecture family that a checkpoint's config names.
pub(super) fn family(input: &Input) -> Family {
    Family::of(input.config().and_then(|c| c.get("model_type")).and_then(|t| t.as_str()))
}

/// What parts are made with.
pub(super) struct Assembler<'a, 'r> {
    pub(super) recipe: &'r Recipe,
    pub(super) method: &'a Method,
    /// `None` for one that could not be opened; its layers are then taken on trust, since it has a problem of
    /// its own already.
    pub(super) inputs: &'a [Option<Input>],
    /// Of the model that gives the config; `None` if it could not be opened.
    pub(super) anatomy: Option<&'a Anatomy>,
}

impl<'r> Assembler<'_, 'r> {
    /// Looks up models, modules and layers.
    pub(super) fn parts(&self, problems: &mut Problems) -> Vec<Part<'r>> {
        let whole = self.anatomy.map_or_else(Module::everything, |a| a.whole.clone());
        match &self.recipe.assembly {
            Assembly::Modules(entries) => {
                if let Some(anatomy) = self.anatomy {
                    anatomy.compare(entries, problems);
                }
                let parts = entries.iter().filter_map(|entry| {
                    let module = match self.anatomy {
                        Some(anatomy) => anatomy.modules.named(&entry.name.value)?.clone(),
                        None => whole.clone(),
                    };
                    let (assembly, place) = (&entry.assembly, &entry.name.place);
                    Some(self.part(Scope::Module, module, assembly, Some(&entry.parameters), place, problems))
                });
                parts.collect()
            }
            assembly => {
                let place = match assembly {
                    Assembly::Slices(slices) => slices.first().map(|s| &s.place),
                    _ => None,
                };
                let place = place.unwrap_or(&self.recipe.method.place);
                if let (Assembly::Slices(_), Some(anatomy)) = (assembly, self.anatomy)
                    && let Some(problem) = anatomy.several_towers(place)
                {
                    problems.push(problem);
                    return Vec::new();
                }
                vec![self.part(Scope::Whole, whole, assembly, None, place, problems)]
            }
        }
    }

    fn part(
        &self,
        scope: Scope,
        module: Module,
        assembly: &'r Assembly,
        parameters: Option<&'r Settings>,
        place: &Place,
        problems: &mut Problems,
    ) -> Part<'r> {
        let models = self.recipe.models();
        let base = self.recipe.base_model.as_ref().map(|m| position(&models, &m.value));
        let Assembly::Slices(slices) = assembly else {
            let Assembly::Models(entries) = assembly else {
                // The reader lets no modules into a module.
                return Part { scope, module, numbering: Numbering::Kept, segments: Vec::new() };
            };
            let of = |input: usize| self.layers(input, &module).unwrap_or(0);
            let mut sources: Vec<SegmentSource<'r>> = entries
                .iter()
                .map(|e| (position(&models, &e.model.value), Some(&e.parameters)))
                .map(|(input, parameters)| SegmentSource { input, layers: 0..of(input), parameters })
                .collect();
            if let Some(base) = base
                && sources.iter().all(|s| s.input != base)
            {
                sources.push(SegmentSource { input: base, layers: 0..of(base), parameters: None });
            }
            if let Some(anatomy) = self.anatomy {
                let inputs = sources.iter().filter_map(|s| self.inputs[s.input].as_ref());
                same_layer_count(&inputs.collect::<Vec<_>>(), anatomy, scope, &module, problems);
            }
            let segment =
                Segment { sources, base, parameters: None, module_parameters: parameters, slice: None };
            let place = if scope == Scope::Whole { &self.recipe.method.place } else { place };
            self.check(&segment, scope, place, problems);
            return Part { scope, module, numbering: Numbering::Kept, segments: vec![segment] };
        };
        if module.tower.is_none() && self.anatomy.is_some() {
            let what = match scope {
                Scope::Whole => "the models have no layers that could be sliced".to_owned(),
                Scope::Module => format!("module `{}` has no layers that could be sliced", module.name),
            };
            problems.push(place.problem(what).hint("name whole models under `models:`"));
        }
        let mut segments = Vec::new();
        for (at, slice) in slices.iter().enumerate() {
            let segment = self.slice(slice, at, &module, parameters, problems);
            self.check(&segment, scope, &slice.place, problems);
            segments.push(segment);
        }
        Part { scope, module, numbering: Numbering::Anew, segments }
    }

    fn slice(
        &self,
        slice: &'r OutputSlice,
        at: usize,
        module: &Module,
        parameters: Option<&'r Settings>,
        problems: &mut Problems,
    ) -> Segment<'r> {
        let models = self.recipe.models();
        let mut sources = Vec::new();
        for source in &slice.sources {
            let input = position(&models, &source.model.value);
            if let Some(count) = self.layers(input, module)
                && source.layers.end > count
            {
                problems.push(source.place.problem(format!(
                    "layer_range [{}, {}] goes beyond the {count} layers of {}",
                    source.layers.start, source.layers.end, source.model.value
                )));
            }
            let layers = source.layers.clone();
            sources.push(SegmentSource { input, layers, parameters: Some(&source.parameters) });
        }
        let base = slice.base_model.as_ref().or(self.recipe.base_model.as_ref());
        let base = base.map(|m| position(&models, &m.value));
        if let Some(base) = base
            && self.method.base != Base::Joins
            && sources.iter().all(|s| s.input != base)
        {
            problems.push(
                slice
                    .place
                    .problem(format!("the base model {} is not among the sources", models[base].value))
                    .hint("with `slices`, list the base as a source with its own layer_range"),
            );
        }
        Segment {
            sources,
            base,
            parameters: Some(&slice.parameters),
            module_parameters: parameters,
            slice: Some(at),
        }
    }

    /// Layers of a model's module, judged by its tensors.
    fn layers(&self, input: usize, module: &Module) -> Option<usize> {
        let (input, anatomy) = (self.inputs[input].as_ref()?, self.anatomy?);
        Some(layers_of(input, &anatomy.family, &module.tower.as_ref()?.prefix))
    }

    /// Base and number of inputs against what the method takes.
    fn check(&self, segment: &Segment<'_>, scope: Scope, place: &Place, problems: &mut Problems) {
        let (method, recipe) = (self.method, self.recipe);
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
        // A module of one model is that model's, whatever the method.
        let alone = scope == Scope::Module && segment.sources.len() == 1;
        if !method.inputs.contains(&count) && !alone {
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
}
