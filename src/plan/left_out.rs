//! Nothing is dropped in silence: every tensor that no job reads, and why.

use super::builder::Builder;
use super::segment::{Numbering, Part};
use super::{LeftOut, Source};
use crate::checkpoint::DType;

impl Builder<'_> {
    /// Every tensor that no job reads. Of `models:` there is none but duplicates of a tie or an alias.
    pub(super) fn left_out(&self, parts: &[Part<'_>]) -> Vec<LeftOut> {
        let mut list = Vec::new();
        for (i, input) in self.inputs.iter().enumerate().filter(|(_, input)| input.is_model()) {
            let mut add = |tensor: &str, why: String| {
                list.push(LeftOut { model: input.name().into(), tensor: tensor.into(), why });
            };
            for (tensor, info) in input.tensors().iter().enumerate() {
                if !self.used.contains(&Source { input: i, tensor }) {
                    add(&info.name, self.why_left_out(parts, i, &info.name, info.dtype));
                }
            }
            for dropped in input.dropped() {
                add(&dropped.tensor, dropped.why.clone());
            }
        }
        list
    }

    fn why_left_out(&self, parts: &[Part<'_>], input: usize, name: &str, dtype: DType) -> String {
        let name = self.canonical(name);
        let part = parts.iter().find(|part| self.in_part(part, &name));
        let sources =
            |part: &Part<'_>| part.segments.iter().flat_map(|s| &s.sources).any(|s| s.input == input);
        let in_layer = self.anatomy.family.locate(&name).layer_name.is_some();
        match part {
            None => "in no module of the model that gives the config".into(),
            Some(part) if !sources(part) => {
                format!("module `{}` is taken from another model", part.module.name)
            }
            Some(part) if in_layer && part.numbering == Numbering::Anew => "its layer is in no slice".into(),
            Some(_) if dtype.is_mergeable() => "taken from another model".into(),
            Some(_) => "integers are copied from one model".into(),
        }
    }
}
