//! What is done with one tensor: copied or merged, from which inputs, with which parameters.

use super::builder::Builder;
use super::params::{self, Position, Resolved};
use super::segment::Segment;
use super::tensors::Draft;
use super::weights::Target;
use super::{Beside, Job, Lookup, Source, Work};
use crate::checkpoint::DType;
use crate::method::{self, Args, Base, Method, Param, Setup, Vectors};
use crate::problem::Problem;
use crate::recipe::Weighting;

/// The inputs of a tensor in the roles that the method gives them.
struct Inputs {
    /// Position in the segment, and the tensor.
    models: Vec<(usize, Source)>,
    base: Option<Source>,
}

/// Parameters of a tensor as the recipe has them.
struct Parameters {
    global: Args,
    per_model: Vec<Args>,
    lookup: Lookup,
    /// Of each model a weight that is still to be found where the recipe says.
    weightings: Vec<Option<(&'static Param, Weighting)>>,
}

impl<'a> Builder<'a> {
    /// Makes the job of a tensor, or notes why there can be none.
    pub(super) fn job(&mut self, draft: Draft<'a>) {
        let Draft { name, t, segment, tensors } = draft;
        let sources = segment.sources.iter().zip(&tensors).enumerate();
        let present: Vec<(usize, Source)> = sources
            .filter_map(|(i, (s, tensor))| Some((i, Source { input: s.input, tensor: (*tensor)? })))
            .collect();
        if !self.comparable(&name, &present) {
            return;
        }
        let buffer = self.anatomy.family.is_optional(&name);
        let Some(Inputs { models, base }) = self.roles(&name, segment, present, buffer) else { return };
        let Some(reference) = base.or_else(|| models.first().map(|(_, s)| *s)) else { return };
        let Parameters { global, mut per_model, lookup, weightings } =
            self.parameters(&name, t, segment, &models);
        let info = reference.info(self.inputs);
        let stored = models.iter().map(|(_, s)| *s).chain(base).map(|s| s.info(self.inputs).dtype);
        let dtype = match info.dtype.is_mergeable() {
            true => self.dtype.unwrap_or_else(|| stored.fold(info.dtype, promote)),
            false => info.dtype,
        };
        let alone = models.len() + usize::from(base.is_some()) == 1;
        let unscaled = per_model.iter().all(|a| a.iter().next().is_none());
        let as_it_is =
            alone && self.method.base != Base::Joins || self.method.name == "passthrough" && unscaled;
        let stored = self.inputs[reference.input].keeps_type(reference.tensor);
        let copy = !info.dtype.is_mergeable() || as_it_is && stored && dtype == info.dtype;
        // A copy reads one source only; the others are the same by definition or not looked at.
        let job = |work, models, base, beside, per_model: Vec<Args>| {
            let shape = info.shape.clone();
            let mut lookup = lookup.clone();
            lookup.models.truncate(per_model.len());
            let (name, global) = (name.clone(), global.clone());
            Job { name, dtype, shape, models, base, beside, work, global, per_model, lookup }
        };
        let job = if copy {
            job(Work::Copy(reference), vec![reference], None, Beside::Nothing, Vec::new())
        } else if as_it_is {
            let Some(work) = self.conversion() else { return };
            job(work, vec![reference], None, Beside::Nothing, Vec::new())
        } else {
            if !self.weigh(&name, &info.shape, &models, weightings, &mut per_model) {
                return;
            }
            let positions = positions(&models, segment);
            let at = Position { t, tensor: &name };
            let Some((beside, known)) = self.beside(segment, &at, &models) else { return };
            let setup = Setup {
                tensor: &name,
                shape: &info.shape,
                of: if base.is_some() { Vectors::Deltas } else { Vectors::Models },
                seed: self.seed,
                global: &global,
                models: &per_model,
                beside: &known,
                positions: &positions,
            };
            let Some(work) = self.merge(&setup) else { return };
            job(work, models.into_iter().map(|(_, s)| s).collect(), base, beside, per_model)
        };
        self.used.extend(job.sources());
        self.jobs.push(job);
    }

    /// Sorts the inputs into models and base, in the order in which the method sees them.
    ///
    /// Of a buffer, which is computed anyway, the first model's will do where the base has none.
    fn roles(
        &mut self,
        name: &str,
        segment: &Segment<'_>,
        present: Vec<(usize, Source)>,
        buffer: bool,
    ) -> Option<Inputs> {
        let is_base = |source: &Source| Some(source.input) == segment.base;
        let mut models = present;
        let mut base = None;
        match self.method.base {
            Base::Joins => {}
            Base::Optional if segment.base.is_none() => {}
            Base::First => models.sort_by_key(|(_, s)| !is_base(s)),
            Base::Optional | Base::Reference => {
                base = models.iter().find(|(_, s)| is_base(s)).map(|(_, s)| *s);
                models.retain(|(_, s)| !is_base(s));
                if base.is_none() && buffer {
                    models.truncate(1);
                } else if base.is_none() {
                    self.listed.absent.push(Problem::error(name, "missing in the base model"));
                    return None;
                }
            }
        }
        Some(Inputs { models, base })
    }

    fn parameters(
        &mut self,
        name: &str,
        t: f64,
        segment: &Segment<'_>,
        models: &[(usize, Source)],
    ) -> Parameters {
        let at = Position { t, tensor: name };
        let (global, origins) = params::global(self.recipe, self.method, segment, &at, &mut self.missing);
        let of_model = |(i, source): &(usize, Source)| {
            let tensor = source.info(self.inputs).name.as_str();
            let whom = (self.inputs[source.input].name(), tensor);
            params::per_model(self.recipe, self.method, segment, *i, &at, whom, &mut self.missing)
        };
        let (mut per_model, mut of_models, mut weightings) = (Vec::new(), Vec::new(), Vec::new());
        for Resolved { args, origins, weighting } in models.iter().map(of_model) {
            per_model.push(args);
            of_models.push(origins);
            weightings.push(weighting);
        }
        let lookup = Lookup { t, slice: segment.slice, global: origins, models: of_models };
        Parameters { global, per_model, lookup, weightings }
    }

    /// Finds weights where the recipe says that they come from; false if that fails.
    fn weigh(
        &mut self,
        name: &str,
        shape: &[usize],
        models: &[(usize, Source)],
        weightings: Vec<Option<(&'static Param, Weighting)>>,
        args: &mut [Args],
    ) -> bool {
        let Some(param) = weightings.iter().flatten().map(|(param, _)| *param).next() else { return true };
        let known = self.recipe.models();
        let of = |(_, source): &(usize, Source)| &known[source.input].value;
        let words = weightings.into_iter().map(|w| w.map(|(_, words)| words));
        let words: Vec<_> = models.iter().map(of).zip(words).collect();
        let target = Target { name, shape, role: self.anatomy.family.locate(name).role };
        self.weigher.weigh(self.library, &target, &words, param, args)
    }

    /// The method with its parameters for this tensor.
    fn merge(&mut self, setup: &Setup<'_>) -> Option<Work> {
        if !self.missing.is_empty() {
            return None; // reported already, by parameter
        }
        match (self.method.prepare)(setup) {
            Ok(op) => Some(Work::Merge(op)),
            Err(invalid) => {
                self.invalid.entry(invalid).or_insert_with(|| (setup.tensor.to_owned(), 0)).1 += 1;
                None
            }
        }
    }

    /// A copy with another element type: the method of one input does just that.
    fn conversion(&self) -> Option<Work> {
        let none = [Args::default()];
        let setup = Setup {
            tensor: "",
            shape: &[],
            of: Vectors::Models,
            seed: 0,
            global: &none[0],
            models: &none,
            beside: &method::Beside::Nothing,
            positions: &[0],
        };
        (Method::named("passthrough")?.prepare)(&setup).ok().map(Work::Merge)
    }
}

/// Positions of the models in the recipe, not counting the base.
fn positions(models: &[(usize, Source)], segment: &Segment<'_>) -> Vec<usize> {
    let base = segment.sources.iter().position(|s| Some(s.input) == segment.base);
    let behind = |p: usize| base.is_some_and(|base| base < p);
    models.iter().map(|(p, _)| p - usize::from(behind(*p))).collect()
}

/// The smallest type that holds both, as torch promotes.
fn promote(a: DType, b: DType) -> DType {
    match (a, b) {
        (a, b) if a == b => a,
        (DType::F64, _) | (_, DType::F64) => DType::F64,
        _ => DType::F32,
    }
}
