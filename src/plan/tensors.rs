//! Which tensors the output has, and where each input keeps them.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::Builder;
use super::segment::{Numbering, Segment};
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
    /// Makes the jobs of all segments.
    pub(super) fn jobs(&mut self, segments: &'a [Segment<'a>]) {
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return };
        for (name, depth) in self.names(first) {
            if depth == Depth::Before {
                self.tensor(first, &name, &|_| name.clone(), 0.0);
            }
        }
        for (name, depth) in self.names(last) {
            if depth == Depth::After {
                self.tensor(last, &name, &|_| name.clone(), 0.0);
            }
        }
        if self.numbering == Numbering::Kept {
            return self.layers_as_named(first);
        }
        let mut out_layer = 0;
        for segment in segments {
            let count = segment.sources.first().map_or(0, |s| s.layers.len());
            for i in 0..count {
                let t = if count > 1 { i as f64 / (count - 1) as f64 } else { 1.0 };
                for (prefix, suffix) in self.layer_tensors(segment, i) {
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
    fn layers_as_named(&mut self, segment: &'a Segment<'a>) {
        let raw = self.inputs.iter().all(Input::is_raw);
        let names: Vec<(String, String, usize)> = self
            .names(segment)
            .into_keys()
            .filter_map(|name| {
                let (prefix, layer, _) = self.family.locate(&name).layer_name?;
                Some((name, prefix, layer))
            })
            .collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, prefix, layer) in &names {
            let count = counts.entry(prefix).or_default();
            *count = (*count).max(layer + 1);
        }
        for (name, prefix, layer) in &names {
            let count = counts.get(prefix.as_str()).copied().unwrap_or(1);
            let t = match count {
                _ if raw => 0.0,
                0 | 1 => 1.0,
                count => *layer as f64 / (count - 1) as f64,
            };
            self.tensor(segment, name, &|_| name.clone(), t);
        }
    }

    /// Every tensor name of a segment's models, with its place in the model.
    fn names(&self, segment: &Segment<'_>) -> BTreeMap<String, Depth> {
        let tensors = segment.sources.iter().flat_map(|s| self.inputs[s.input].tensors());
        tensors.map(|t| (t.name.clone(), self.family.locate(&t.name).position)).collect()
    }

    /// Prefix and suffix around the layer number, of every tensor in the `i`-th layers of a segment.
    fn layer_tensors(&self, segment: &Segment<'_>, i: usize) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for source in &segment.sources {
            for tensor in self.inputs[source.input].tensors() {
                if let Some((prefix, layer, suffix)) = self.family.locate(&tensor.name).layer_name
                    && layer == source.layers.start + i
                {
                    found.insert((prefix, suffix));
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
                absent.push(input.name());
            }
            tensors.push(found);
        }
        if !absent.is_empty() && !self.family.is_optional(name) {
            let who = absent.join(", ");
            self.listed.absent.push(
                Problem::error(name, format!("missing in {who}, present in other models")).hint(
                    "every model needs every tensor; is a checkpoint incomplete, or of another architecture?",
                ),
            );
            return;
        }
        self.job(Draft { name: name.to_owned(), t, segment, tensors });
    }

    /// A tensor by its name, by an alias, or by the tensor it is tied to.
    fn look_up(&self, input: &Input, name: &str) -> Option<usize> {
        let position = |name: &str| input.tensors().binary_search_by(|t| t.name.as_str().cmp(name)).ok();
        position(name)
            .or_else(|| self.family.aliases(name).iter().find_map(|alias| position(alias)))
            .or_else(|| self.family.tied(name).and_then(position))
    }

    /// Whether the inputs of a tensor agree in shape and can be merged.
    pub(super) fn comparable(&mut self, name: &str, present: &[(usize, Source)]) -> bool {
        let inputs = self.inputs;
        let infos: Vec<_> = present.iter().map(|(_, s)| (inputs[s.input].name(), s.info(inputs))).collect();
        let Some((_, first)) = infos.first() else { return false };
        if infos.iter().any(|(_, t)| t.shape != first.shape) {
            let list: Vec<String> =
                infos.iter().map(|(model, t)| format!("{:?} in {model}", t.shape)).collect();
            let role = self.family.locate(name).role;
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
