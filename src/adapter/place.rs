//! An adapter held against a base: a place for each of its tensors, or what keeps it from having one.

use std::collections::BTreeMap;

use super::fit::{Target, Update};
use super::names::Part;
use super::{Adapter, HEAD, Kind, LowRank, Orientation};
use crate::checkpoint::TensorInfo;
use crate::problem::{Problem, Problems, nearest};

/// Problems that are listed one by one.
const LISTED: usize = 10;
/// A hint.
const TWO_ADAPTERS: &str = "weights and adapter_config.json are of two adapters";

/// The tensors of one update, by position in the adapter.
#[derive(Default)]
pub(super) struct Parts(pub(super) BTreeMap<Part, usize>);

/// An adapter being held against a base; problems pile up.
pub(super) struct Fitting<'a> {
    pub(super) adapter: &'a Adapter,
    pub(super) base: &'a [TensorInfo],
    /// The embedding that the head is tied to.
    pub(super) tied: Option<usize>,
    pub(super) found: Vec<Problem>,
}

impl Fitting<'_> {
    pub(super) fn wrong(&mut self, tensor: &TensorInfo, what: &str) {
        self.found.push(Problem::error(self.adapter.name(), format!("{} {what}", tensor.name)));
    }

    fn error(&mut self, what: String, hint: &str) {
        self.found.push(Problem::error(self.adapter.name(), what).hint(hint));
    }

    pub(super) fn report(self) -> Result<(), Problems> {
        let beyond = self.found.len().saturating_sub(LISTED);
        let mut problems = Problems::new();
        self.found.into_iter().take(LISTED).for_each(|p| problems.push(p));
        if beyond > 0 {
            problems
                .push(Problem::error(self.adapter.name(), format!("… and {beyond} more tensors do not fit")));
        }
        if problems.has_errors() { Err(problems) } else { Ok(()) }
    }

    /// A tensor of the base; adapters of a model without its head leave out `model.`, and the other way round.
    fn look_up(&self, name: &str) -> Option<Target> {
        let position = |name: &str| self.base.binary_search_by(|t| t.name.as_str().cmp(name)).ok();
        let found = position(name).or_else(|| position(&format!("model.{name}")));
        let found = found.or_else(|| name.strip_prefix("model.").and_then(position));
        match found {
            Some(at) => Some(Target::Stored(at)),
            None => (name == HEAD && self.tied.is_some()).then_some(Target::TiedHead),
        }
    }

    fn like(&self, target: Target) -> Option<&TensorInfo> {
        match target {
            Target::Stored(at) => self.base.get(at),
            Target::TiedHead => self.base.get(self.tied?),
        }
    }

    fn absent(&mut self, what: String, name: &str) {
        let near = nearest(name, self.base.iter().map(|t| t.name.as_str()));
        let hint = match near {
            Some(near) => format!("did you mean another base? this one has {near}"),
            None => "is this the base that the adapter was trained on?".to_owned(),
        };
        self.error(what, &hint);
    }

    /// A tensor that takes the place of the base's.
    pub(super) fn whole(&mut self, name: &str, at: usize) -> Option<Target> {
        let tensor = &self.adapter.tensors()[at];
        let Some(target) = self.look_up(name) else {
            self.absent(
                format!("holds {}, and the base has no {name} in whose place it could be", tensor.name),
                name,
            );
            return None;
        };
        let like = self.like(target)?;
        if like.shape != tensor.shape {
            let what = format!(
                "{} has shape {:?}, the base's {} has {:?}",
                tensor.name, tensor.shape, like.name, like.shape
            );
            let hint = "if the vocabulary was enlarged for the training, give the base the same one first";
            self.error(what, hint);
            return None;
        }
        if like.dtype != tensor.dtype && !(like.dtype.is_mergeable() && tensor.dtype.is_mergeable()) {
            let what =
                format!("{} is {}, the base's is {}", tensor.name, tensor.dtype.name(), like.dtype.name());
            self.error(what, "only floating-point types can stand for each other");
            return None;
        }
        Some(target)
    }

    /// The update of a module.
    pub(super) fn update(&mut self, module: &str, parts: &Parts) -> Option<(Target, Update)> {
        let weight = format!("{module}.weight");
        let Some(target) = self.look_up(&weight) else {
            self.absent(format!("changes module {module}, which the base does not have"), &weight);
            return None;
        };
        let like = self.like(target)?.clone();
        let (a, b, embedding) = self.pair(module, parts)?;
        let (rank, inputs, outputs) = self.sizes(module, [a, b], &like)?;
        let orientation = self.orientation(module, embedding, [outputs, inputs], &like)?;
        let magnitude = parts.0.get(&Part::Magnitude).copied();
        self.lengths(module, magnitude, outputs)?;
        let adapter = self.adapter;
        let tensors = [Some(a), Some(b), magnitude].into_iter().flatten().map(|at| &adapter.tensors()[at]);
        if let Some(odd) = tensors.chain([&like]).find(|t| !t.dtype.is_mergeable()) {
            let what = format!("module {module}: {} is stored as {}", odd.name, odd.dtype.name());
            self.error(what, "only floating-point matrices can be changed; name the base in full precision");
            return None;
        }
        let kind = if magnitude.is_some() { Kind::Dora } else { Kind::Lora };
        let (rows, columns, scale) = (like.shape[0], like.shape[1], adapter.settings.scale_of(module));
        let low_rank = LowRank { kind, rows, columns, rank, scale, orientation };
        Some((target, Update { low_rank, a, b, magnitude }))
    }

    /// `A` and `B`, and whether they are an embedding's.
    fn pair(&mut self, module: &str, parts: &Parts) -> Option<(usize, usize, bool)> {
        let part = |part: Part| parts.0.get(&part).copied();
        match (part(Part::A), part(Part::B), part(Part::EmbeddingA), part(Part::EmbeddingB)) {
            (Some(a), Some(b), None, None) => Some((a, b, false)),
            (None, None, Some(a), Some(b)) => Some((a, b, true)),
            _ => {
                let what = format!("does not hold both A and B of module {module}");
                self.error(what, "is its download complete?");
                None
            }
        }
    }

    /// Rank, inputs and outputs, where the shapes of both factors agree with each other and with the settings.
    fn sizes(&mut self, module: &str, pair: [usize; 2], like: &TensorInfo) -> Option<(usize, usize, usize)> {
        let adapter = self.adapter;
        let [a, b] = pair.map(|at| &adapter.tensors()[at].shape[..]);
        let (rank, inputs, outputs) = match (a, b, &like.shape[..]) {
            ([rank, inputs], [outputs, same], [_, _]) if rank == same && *rank > 0 => {
                (*rank, *inputs, *outputs)
            }
            _ => {
                let what = format!(
                    "module {module}: A has shape {a:?}, B has {b:?}, the base's {} has {:?}",
                    like.name, like.shape
                );
                self.error(what, "A must be [rank, in], B [out, rank], and what they change a matrix");
                return None;
            }
        };
        let wanted = adapter.settings.rank_of(module);
        if wanted != rank as f64 {
            let what = format!("module {module} has rank {rank}, but by adapter_config.json it has {wanted}");
            self.error(what, TWO_ADAPTERS);
            return None;
        }
        Some((rank, inputs, outputs))
    }

    /// How the product lies in the base's matrix.
    fn orientation(
        &mut self,
        module: &str,
        embedding: bool,
        [outputs, inputs]: [usize; 2],
        like: &TensorInfo,
    ) -> Option<Orientation> {
        let (upright, flipped) = (like.shape == [outputs, inputs], like.shape == [inputs, outputs]);
        match (embedding, self.adapter.settings.fan_in_fan_out) {
            (true, _) | (_, true) if flipped => return Some(Orientation::InOut),
            // In a model that has both kinds of layers, the flag is about the others.
            (false, _) if upright => return Some(Orientation::OutIn),
            _ => {}
        }
        let what = format!(
            "module {module}: A and B make [{outputs}, {inputs}], but the base's {} has {:?}",
            like.name, like.shape
        );
        self.error(what, "is this the base that the adapter was trained on?");
        None
    }

    /// Whether there is a length for each output if there should be one.
    fn lengths(&mut self, module: &str, magnitude: Option<usize>, outputs: usize) -> Option<()> {
        let found = magnitude.map(|at| self.adapter.tensors()[at].elements());
        let lacks = match (self.adapter.settings.dora, found) {
            (true, None) => "by adapter_config.json it is a DoRA, but it has no magnitudes".to_owned(),
            (false, Some(_)) => "it has magnitudes, but by adapter_config.json it is no DoRA".to_owned(),
            (_, Some(n)) if n != outputs => format!("{n} magnitudes for {outputs} outputs"),
            _ => return Some(()),
        };
        self.error(format!("module {module}: {lacks}"), TWO_ADAPTERS);
        None
    }
}
