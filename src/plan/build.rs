//! Recipe and inputs → plan.

use std::collections::{BTreeMap, BTreeSet};

use super::params::{self, Missing, Position};
use super::segment::{self, Numbering, Segment};
use super::{Job, Layout, LeftOut, Plan, PlanOptions, Source, Work, companions, config, digest};
use crate::arch::{Family, Position as Depth, Role};
use crate::checkpoint::{Checkpoint, DType};
use crate::method::{Base, Invalid, LATER, METHODS, Method, Setup};
use crate::problem::{Problem, Problems, Severity};
use crate::recipe::{DTypeName, Located, Recipe};

/// Problems of one kind that are listed one by one; what is beyond is counted.
const LISTED: usize = 20;

pub(super) fn build(recipe: &Recipe, options: &PlanOptions) -> Result<Plan, Problems> {
    let mut problems = recipe.warnings.clone();
    let method = find_method(recipe, &mut problems);
    if let Some(method) = method {
        params::check(recipe, method, &mut problems);
    }
    let dtype = output_dtype(recipe, options, &mut problems);
    let inputs = open(recipe, &mut problems);
    let Some(method) = method else { return Err(problems) };
    let (segments, numbering) = segment::segments(recipe, method, &inputs, &mut problems);
    // Shapes and names can only be compared between inputs that are there.
    let all_open = inputs.iter().all(Option::is_some);
    let inputs: Vec<Checkpoint> = inputs.into_iter().flatten().collect();
    if !all_open || problems.has_errors() {
        return Err(problems);
    }
    let base =
        recipe.base_model.as_ref().and_then(|b| recipe.models().iter().position(|m| m.value == b.value));
    let donor = base.or_else(|| segments.first()?.sources.first().map(|s| s.input)).unwrap_or(0);
    let mut builder = Builder {
        recipe,
        method,
        inputs: &inputs,
        family: segment::family(&inputs[donor]),
        dtype,
        seed: options.seed,
        numbering,
        jobs: Vec::new(),
        used: BTreeSet::new(),
        missing: Missing::default(),
        invalid: BTreeMap::new(),
        listed: Listed::default(),
    };
    builder.jobs(&segments);
    let Builder { mut jobs, used, missing, invalid, listed, .. } = builder;
    listed.report(&mut problems);
    missing.report(recipe, &mut problems);
    for (Invalid { what, hint }, (tensor, count)) in invalid {
        let more = if count > 1 { format!(" (and {} more tensors)", count - 1) } else { String::new() };
        let mut problem = recipe.method.place.problem(format!("{what}: {tensor}{more}"));
        problem.hint = hint;
        problems.push(problem);
    }
    if jobs.is_empty() && !problems.has_errors() {
        problems.push(Problem::error("models", "the inputs hold no tensors"));
    }
    let donor_checkpoint = &inputs[donor];
    config::compare(&inputs, donor, &mut problems);
    let companions = companions::companions(donor_checkpoint, &mut problems);
    if problems.has_errors() {
        return Err(problems);
    }
    jobs.sort_by(|a, b| a.name.cmp(&b.name));
    warn_of_f64(&jobs, &inputs, &mut problems);
    let layout = Layout::new(&jobs, options.shard_size);
    let config = config::config(
        donor_checkpoint,
        &jobs,
        (numbering == Numbering::Anew).then_some(segments.as_slice()),
    );
    let left_out = left_out(&inputs, &used);
    let stamp = digest::stamp(&inputs);
    let digest = digest::digest(method, &inputs, &jobs, &layout, options.seed, recipe.non_finite);
    Ok(Plan {
        method,
        inputs,
        base,
        donor,
        jobs,
        layout,
        left_out,
        config,
        companions,
        warnings: problems,
        non_finite: recipe.non_finite,
        seed: options.seed,
        recipe: (recipe.file.clone(), recipe.text.clone()),
        digest,
        stamp,
    })
}

fn find_method(recipe: &Recipe, problems: &mut Problems) -> Option<&'static Method> {
    let Located { value: name, place } = &recipe.method;
    let found = Method::named(name);
    if found.is_none() {
        let known = METHODS.iter().map(|m| m.name);
        problems.push(if LATER.contains(&name.as_str()) {
            place
                .problem(format!("merge method `{name}` of mergekit is not supported yet"))
                .hint(format!("supported are: {}", known.collect::<Vec<_>>().join(", ")))
        } else {
            let all = format!("known are: {}", known.clone().collect::<Vec<_>>().join(", "));
            let problem = place.problem(format!("unknown merge method `{name}`")).did_you_mean(name, known);
            if problem.hint.is_none() { problem.hint(all) } else { problem }
        });
    }
    found
}

/// What the recipe or the command line asks for; `None` keeps what the inputs have.
fn output_dtype(recipe: &Recipe, options: &PlanOptions, problems: &mut Problems) -> Option<DType> {
    let asked = recipe.out_dtype.as_ref().or(recipe.dtype.as_ref());
    let from_recipe = asked.and_then(|d| match d.value {
        DTypeName::Bfloat16 => Some(DType::BF16),
        DTypeName::Float16 => Some(DType::F16),
        DTypeName::Float32 => Some(DType::F32),
        DTypeName::Int64 => {
            problems.push(
                d.place
                    .problem("weights cannot be merged as int64")
                    .hint("use bfloat16, float16 or float32; integer tensors keep their type in any case"),
            );
            None
        }
    });
    options.dtype.or(from_recipe)
}

/// Opens every model, and lists what is wrong with each.
fn open(recipe: &Recipe, problems: &mut Problems) -> Vec<Option<Checkpoint>> {
    let mut inputs = Vec::new();
    for model in recipe.models() {
        match Checkpoint::open(&model.value.path) {
            Ok(checkpoint) => inputs.push(Some(checkpoint)),
            Err(found) => {
                for problem in found.iter() {
                    let spot = problem.spot.clone().or_else(|| model.place.spot.clone());
                    problems.push(problem.clone().spot(spot));
                }
                inputs.push(found.iter().all(|p| p.severity == Severity::Warning).then_some(()).and(None));
            }
        }
    }
    inputs
}

/// Problems that may be many.
#[derive(Default)]
struct Listed {
    shapes: Vec<Problem>,
    absent: Vec<Problem>,
    types: Vec<Problem>,
}

impl Listed {
    fn report(self, problems: &mut Problems) {
        for (kind, list) in [
            ("shapes differ", self.shapes),
            ("tensors are missing", self.absent),
            ("types do not fit", self.types),
        ] {
            let beyond = list.len().saturating_sub(LISTED);
            list.into_iter().take(LISTED).for_each(|p| problems.push(p));
            if beyond > 0 {
                problems.push(Problem::error("models", format!("… and {beyond} more tensors whose {kind}")));
            }
        }
    }
}

/// One tensor before its job exists: its name in the output and in each model of the segment.
struct Draft<'a> {
    name: String,
    t: f64,
    segment: &'a Segment<'a>,
    /// For each source of the segment its tensor, where it has one.
    tensors: Vec<Option<usize>>,
}

struct Builder<'a> {
    recipe: &'a Recipe,
    method: &'static Method,
    inputs: &'a [Checkpoint],
    family: Family,
    dtype: Option<DType>,
    seed: u64,
    numbering: Numbering,
    jobs: Vec<Job>,
    used: BTreeSet<Source>,
    missing: Missing,
    /// By message: the first tensor, and how many.
    invalid: BTreeMap<Invalid, (String, usize)>,
    listed: Listed,
}

impl<'a> Builder<'a> {
    fn jobs(&mut self, segments: &'a [Segment<'a>]) {
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

    /// Layers of `models:`; a checkpoint with several towers has several counts.
    fn layers_as_named(&mut self, segment: &'a Segment<'a>) {
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
            let t = if count > 1 { *layer as f64 / (count - 1) as f64 } else { 1.0 };
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
            let checkpoint = &self.inputs[source.input];
            let found = self.look_up(checkpoint, &of(i));
            if found.is_none() {
                absent.push(checkpoint.name());
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
    fn look_up(&self, checkpoint: &Checkpoint, name: &str) -> Option<usize> {
        let position = |name: &str| checkpoint.tensors().binary_search_by(|t| t.name.as_str().cmp(name)).ok();
        position(name)
            .or_else(|| self.family.aliases(name).iter().find_map(|alias| position(alias)))
            .or_else(|| self.family.tied(name).and_then(position))
    }

    fn job(&mut self, draft: Draft<'a>) {
        let Draft { name, t, segment, tensors } = draft;
        let present: Vec<(usize, Source)> = segment
            .sources
            .iter()
            .enumerate()
            .filter_map(|(i, s)| Some((i, Source { input: s.input, tensor: tensors[i]? })))
            .collect();
        if !self.comparable(&name, &present) {
            return;
        }
        let is_base = |source: &Source| Some(source.input) == segment.base;
        let mut base = None;
        let mut models = present;
        match self.method.base {
            Base::Joins => {}
            Base::First => models.sort_by_key(|(_, s)| !is_base(s)),
            Base::Reference => {
                base = models.iter().find(|(_, s)| is_base(s)).map(|(_, s)| *s);
                models.retain(|(_, s)| !is_base(s));
                if base.is_none() {
                    self.listed.absent.push(Problem::error(&name, "missing in the base model"));
                    return;
                }
            }
        }
        let Some(reference) = base.or_else(|| models.first().map(|(_, s)| *s)) else { return };
        let info = reference.info(self.inputs);
        let at = Position { t, tensor: &name };
        let global = params::global(self.recipe, self.method, segment, &at, &mut self.missing);
        let per_model: Vec<_> = models
            .iter()
            .map(|(i, source)| {
                let input = &self.inputs[source.input];
                let tensor = source.info(self.inputs).name.as_str();
                let whom = (input.name(), tensor);
                params::per_model(self.recipe, self.method, segment, *i, &at, whom, &mut self.missing)
            })
            .collect();
        let stored = models.iter().map(|(_, s)| *s).chain(base).map(|s| s.info(self.inputs).dtype);
        let dtype = if info.dtype.is_mergeable() {
            self.dtype.unwrap_or_else(|| stored.fold(info.dtype, promote))
        } else {
            info.dtype
        };
        let positions: Vec<usize> = models.iter().map(|(i, _)| *i).collect();
        let positions = without_base(&positions, segment);
        let setup = Setup {
            tensor: &name,
            elements: info.shape.iter().product::<usize>() as u64,
            seed: self.seed,
            global: &global,
            models: &per_model,
            positions: &positions,
        };
        let alone = models.len() + usize::from(base.is_some()) == 1;
        let as_it_is = alone && self.method.base != Base::Joins
            || self.method.name == "passthrough" && per_model.iter().all(|a| a.iter().next().is_none());
        let work = if !info.dtype.is_mergeable() || as_it_is && dtype == info.dtype {
            Work::Copy(reference)
        } else if as_it_is {
            // One input, another element type: the method of one input does just that.
            return self.convert(name, dtype, reference);
        } else {
            match (self.method.prepare)(&setup) {
                Ok(op) => Work::Merge(op),
                Err(invalid) => {
                    let entry = self.invalid.entry(invalid).or_insert_with(|| (name.clone(), 0));
                    entry.1 += 1;
                    return;
                }
            }
        };
        let shape = info.shape.clone();
        // A copy reads one source only; the others are the same by definition or not looked at.
        let (models, base, per_model) = match work {
            Work::Copy(source) => (vec![source], None, Vec::new()),
            Work::Merge(_) => (models.into_iter().map(|(_, s)| s).collect(), base, per_model),
        };
        let job = Job { name, dtype, shape, models, base, work, global, per_model };
        self.used.extend(job.sources());
        self.jobs.push(job);
    }

    /// A copy with another element type.
    fn convert(&mut self, name: String, dtype: DType, source: Source) {
        let Some(passthrough) = Method::named("passthrough") else { return };
        let args = [crate::method::Args::default()];
        let setup =
            Setup { tensor: &name, elements: 0, seed: 0, global: &args[0], models: &args, positions: &[0] };
        if let Ok(op) = (passthrough.prepare)(&setup) {
            let shape = source.info(self.inputs).shape.clone();
            self.used.insert(source);
            self.jobs.push(Job {
                name,
                dtype,
                shape,
                models: vec![source],
                base: None,
                work: Work::Merge(op),
                global: crate::method::Args::default(),
                per_model: Vec::new(),
            });
        }
    }

    /// Whether the inputs of a tensor agree in shape and can be merged.
    fn comparable(&mut self, name: &str, present: &[(usize, Source)]) -> bool {
        let inputs = self.inputs;
        let infos: Vec<_> = present.iter().map(|(_, s)| (inputs[s.input].name(), s.info(inputs))).collect();
        let Some((_, first)) = infos.first() else { return false };
        if infos.iter().any(|(_, t)| t.shape != first.shape) {
            let list: Vec<String> =
                infos.iter().map(|(model, t)| format!("{:?} in {model}", t.shape)).collect();
            let role = self.family.locate(name).role;
            let hint = if matches!(role, Role::Embed | Role::Head) {
                "the models' vocabularies differ in size, and rows of different tokens must not be mixed; \
                 bring the models to one vocabulary first (merging vocabularies is not supported yet)"
            } else {
                "only tensors of the same shape can be merged"
            };
            self.listed
                .shapes
                .push(Problem::error(name, format!("shapes differ: {}", list.join(", "))).hint(hint));
            return false;
        }
        if let Some((model, t)) = infos.iter().find(|(_, t)| matches!(t.dtype, DType::F8E4M3 | DType::F8E5M2))
        {
            self.listed.types.push(
                Problem::error(
                    name,
                    format!("stored as {} in {model}; 8-bit floats are not supported yet", t.dtype.name()),
                )
                .hint("convert the checkpoint to bfloat16 first"),
            );
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

/// Positions of the models in the recipe, not counting the base.
fn without_base(positions: &[usize], segment: &Segment<'_>) -> Vec<usize> {
    let base = segment.sources.iter().position(|s| Some(s.input) == segment.base);
    positions.iter().map(|p| if base.is_some_and(|b| b < *p) { p - 1 } else { *p }).collect()
}

/// The smallest type that holds both, as torch promotes.
fn promote(a: DType, b: DType) -> DType {
    match (a, b) {
        (a, b) if a == b => a,
        (DType::F64, _) | (_, DType::F64) => DType::F64,
        _ => DType::F32,
    }
}

fn warn_of_f64(jobs: &[Job], inputs: &[Checkpoint], problems: &mut Problems) {
    let merged = jobs.iter().filter(|j| matches!(j.work, Work::Merge(_)));
    let count = merged.filter(|j| j.sources().any(|s| s.info(inputs).dtype == DType::F64)).count();
    if count > 0 {
        problems.push(Problem::warning(
            "models",
            format!("{count} tensors are stored as float64 but merged in float32"),
        ));
    }
}

/// Every tensor that no job reads. Of `models:` there is none but duplicates of a tie or an alias.
fn left_out(inputs: &[Checkpoint], used: &BTreeSet<Source>) -> Vec<LeftOut> {
    let mut list = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        for (tensor, info) in input.tensors().iter().enumerate() {
            if !used.contains(&Source { input: i, tensor }) {
                let why = if segment::family(input).locate(&info.name).layer_name.is_some() {
                    "its layer is in no slice"
                } else if info.dtype.is_mergeable() {
                    "taken from another model"
                } else {
                    "integers are copied from one model"
                };
                list.push(LeftOut { model: input.name().into(), tensor: info.name.clone(), why: why.into() });
            }
        }
    }
    list
}
