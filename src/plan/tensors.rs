//! Which tensors the output has, and where each input keeps them.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::Builder;
use super::names::says_untied;
use super::segment::{Numbering, Part, Segment};
use super::{Input, Source};
use crate::arch::{Position as Depth, Role};
use crate::problem::Problem;
use crate::vocabulary;

/// One tensor before its job exists: its name in the output and in each model of the segment.
pub(super) struct Draft<'a> {
    pub(super) name: String,
    pub(super) t: f64,
    pub(super) segment: &'a Segment<'a>,
    /// For each source of the segment its tensor, where it has one.
    pub(super) tensors: Vec<Option<usize>>,
}

impl<'a> Builder<'a> {
    /// Makes the jobs of a part.
    pub(super) fn jobs(&mut self, part: &'a Part<'a>) {
        let (Some(first), Some(last)) = (part.segments.first(), part.segments.last()) else { return };
        let names = self.names(part);
        for (name, depth) in &names {
            let segment = match depth {
                Depth::Before => first,
                Depth::After => last,
                Depth::Layer(_) => continue,
            };
            // What another slice's model has beside its layers is left out, and listed as such.
            if segment.sources.iter().any(|s| self.look_up(&self.inputs[s.input], name).is_some()) {
                self.tensor(segment, name, &|_| name.clone(), 0.0);
            }
        }
        if part.numbering == Numbering::Kept {
            return self.layers_as_named(first, &names);
        }
        let mut out_layer = 0;
        for segment in &part.segments {
            let count = segment.sources.first().map_or(0, |s| s.layers.len());
            let layers = self.layer_tensors(part, segment);
            for i in 0..count {
                let t = if count > 1 { i as f64 / (count - 1) as f64 } else { 1.0 };
                for (prefix, suffix) in layers.get(&i).into_iter().flatten() {
                    let name = format!("{prefix}{}{suffix}", out_layer + i);
                    let of = |source: usize| {
                        let layer = segment.sources.get(source).map_or(0, |s| s.layers.start + i);
                        format!("{prefix}{layer}{suffix}")
                    };
                    self.tensor(segment, &name, &of, t);
                }
            }
            out_layer += count;
        }
    }

    /// Layers of `models:`; a checkpoint with several towers has several counts. In raw files a number in a
    /// name need not be a layer, and there is no depth.
    fn layers_as_named(&mut self, segment: &'a Segment<'a>, names: &BTreeMap<String, Depth>) {
        let raw = self.inputs.iter().all(Input::is_raw);
        let layers: Vec<(&String, String, usize)> = names
            .keys()
            .filter_map(|name| {
                let (prefix, layer, _) = self.anatomy.family.locate(name).layer_name?;
                Some((name, prefix, layer))
            })
            .collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, prefix, layer) in &layers {
            let count = counts.entry(prefix).or_default();
            *count = (*count).max(layer + 1);
        }
        for (name, prefix, layer) in &layers {
            let count = counts.get(prefix.as_str()).copied().unwrap_or(1);
            let t = match count {
                _ if raw => 0.0,
                0 | 1 => 1.0,
                count => *layer as f64 / (count - 1) as f64,
            };
            self.tensor(segment, name, &|_| (*name).clone(), t);
        }
    }

    /// Every tensor name of a part's models, with its place in the part. Layers that are not those of its tower are
    /// not numbered anew, so they come after it.
    fn names(&self, part: &Part<'_>) -> BTreeMap<String, Depth> {
        let inputs: BTreeSet<usize> =
            part.segments.iter().flat_map(|s| &s.sources).map(|source| source.input).collect();
        let tower = part.module.tower.as_ref().map_or("", |t| t.prefix.as_str());
        let mut names = BTreeMap::new();
        for tensor in inputs.into_iter().flat_map(|i| self.inputs[i].tensors()) {
            let name = self.canonical(&tensor.name);
            if !self.in_part(part, &name) {
                continue;
            }
            let located = self.anatomy.family.locate(&name);
            let depth = match located.layer_name {
                Some((prefix, ..)) if part.numbering == Numbering::Anew && prefix != tower => Depth::After,
                _ => located.position,
            };
            names.insert(name, depth);
        }
        names
    }

    /// Prefix and suffix around the layer number, of every tensor in the layers of a segment.
    fn layer_tensors(
        &self,
        part: &Part<'_>,
        segment: &Segment<'_>,
    ) -> BTreeMap<usize, BTreeSet<(String, String)>> {
        let tower = part.module.tower.as_ref().map_or("", |t| t.prefix.as_str());
        let mut found: BTreeMap<usize, BTreeSet<_>> = BTreeMap::new();
        for source in &segment.sources {
            for tensor in self.inputs[source.input].tensors() {
                // Of a longer model not every layer has a namesake in the one that names them.
                let family = &self.anatomy.family;
                let in_tower = |name: &str| family.locate(name).layer_name.filter(|l| l.0 == tower);
                let located = in_tower(&tensor.name)
                    .or_else(|| family.aliases(&tensor.name).iter().find_map(|alias| in_tower(alias)));
                if let Some((prefix, layer, suffix)) = located
                    && source.layers.contains(&layer)
                {
                    found.entry(layer - source.layers.start).or_default().insert((prefix, suffix));
                }
            }
        }
        found
    }

    /// Looks a tensor up in every model of the segment and makes its job.
    fn tensor(&mut self, segment: &'a Segment<'a>, name: &str, of: &dyn Fn(usize) -> String, t: f64) {
        let mut tensors = Vec::new();
        let mut absent = Vec::new();
        for (i, source) in segment.sources.iter().enumerate() {
            let input = &self.inputs[source.input];
            let found = self.look_up(input, &of(i));
            if found.is_none() {
                absent.push(input);
            }
            tensors.push(found);
        }
        if !absent.is_empty() && !self.anatomy.family.is_optional(name) {
            let who = absent.iter().map(|input| input.name()).collect::<Vec<_>>().join(", ");
            let untied = self.is_head(name) && absent.iter().any(|input| says_untied(input));
            let hint = match untied {
                true => {
                    "by its config.json the head is not tied to the embedding, so it must be stored; is the \
                     checkpoint incomplete, or without a language model's head?"
                }
                false => {
                    "every model needs every tensor; is a checkpoint incomplete, or of another architecture?"
                }
            };
            let what = format!("missing in {who}, present in other models");
            self.listed.absent.push(Problem::error(name, what).hint(hint));
            return;
        }
        self.job(Draft { name: name.to_owned(), t, segment, tensors });
    }

    /// Whether the inputs of a tensor agree in shape and can be merged.
    pub(super) fn comparable(&mut self, name: &str, present: &[(usize, Source)]) -> bool {
        let inputs = self.inputs;
        let infos: Vec<_> = present.iter().map(|(_, s)| (inputs[s.input].name(), s.info(inputs))).collect();
        let Some((_, first)) = infos.first() else { return false };
        if infos.iter().any(|(_, t)| t.shape != first.shape) {
            let list: Vec<String> =
                infos.iter().map(|(model, t)| format!("{:?} in {model}", t.shape)).collect();
            let role = self.anatomy.family.locate(name).role;
            let of_tokens = matches!(role, Role::Embed | Role::Head);
            if of_tokens && self.recipe.vocabulary.is_some() {
                return false; // What kept the rows from being brought to one vocabulary was said.
            }
            let hint =
                if of_tokens { vocabulary::HINT } else { "only tensors of the same shape can be merged" };
            self.listed
                .shapes
                .push(Problem::error(name, format!("shapes differ: {}", list.join(", "))).hint(hint));
            return false;
        }
        if infos.iter().any(|(_, t)| t.dtype.is_mergeable() != first.dtype.is_mergeable()) {
            let list: Vec<String> = infos.iter().map(|(m, t)| format!("{} in {m}", t.dtype.name())).collect();
            self.listed
                .types
                .push(Problem::error(name, format!("integers in some models only: {}", list.join(", "))));
            return false;
        }
        true
    }
}
