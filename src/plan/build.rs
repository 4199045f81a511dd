//! Recipe and inputs → plan.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Listed};
use super::companions::Tokenizing;
use super::layers::Anatomy;
use super::params::{self, Missing};
use super::segment::Assembler;
use super::weights::{Weigher, compare_tokenizers};
use super::{
    Change, Companion, Input, Job, Layout, Library, Plan, PlanOptions, Work, beside, companions, config,
    digest, vocabulary,
};
use sha2::{Digest, Sha256};

use crate::checkpoint::{DType, Identity};
use crate::method::{METHODS, Method};
use crate::problem::{Problem, Problems};
use crate::recipe::{DTypeName, Located, ModelRef, Named, Reading, Recipe};
use crate::vocabulary::{chat_template, check_markers};

/// What can be said of a recipe that makes no sense as a whole: its methods, and its models.
pub(super) fn check_names(reading: &Reading, library: &mut Library, problems: &mut Problems) {
    for method in &reading.methods {
        find_method(method, problems);
    }
    open(reading.models.iter().filter(|m| m.value.named == Named::Path), library, problems);
}

pub(super) fn build(recipe: &Recipe, options: &PlanOptions, library: &mut Library) -> Result<Plan, Problems> {
    let mut problems = recipe.warnings.clone();
    let method = find_method(&recipe.method, &mut problems);
    if let Some(method) = method {
        params::check(recipe, method, &mut problems);
    }
    let dtype = output_dtype(recipe, options, &mut problems);
    let inputs = open(recipe.models().into_iter(), library, &mut problems);
    let Some(method) = method else { return Err(problems) };
    let donor = donor(recipe);
    let anatomy = inputs.get(donor).and_then(Option::as_ref).map(Anatomy::of);
    let assembler = Assembler { recipe, method, inputs: &inputs, anatomy: anatomy.as_ref() };
    let parts = assembler.parts(&mut problems);
    // Shapes and names can only be compared between inputs that are there.
    let all_open = inputs.iter().all(Option::is_some);
    let inputs: Vec<Input> = inputs.into_iter().flatten().collect();
    let Some(anatomy) = anatomy.filter(|_| all_open && !problems.has_errors()) else {
        return Err(problems);
    };
    let base =
        recipe.base_model.as_ref().and_then(|b| recipe.models().iter().position(|m| m.value == b.value));
    let (models, vocabulary) = vocabulary::align(recipe, inputs, donor, library, &mut problems);
    let (besides, files) = beside::open(recipe, method, library, models.len(), &mut problems);
    if problems.has_errors() && method.file().is_some() {
        return Err(problems); // A file that is not there has no tensors to look up.
    }
    let inputs: Vec<Input> = models.iter().cloned().chain(besides).collect();
    let mut builder = Builder {
        recipe,
        method,
        inputs: &inputs,
        files,
        library,
        donor,
        anatomy: &anatomy,
        dtype,
        seed: options.seed,
        jobs: Vec::new(),
        used: BTreeSet::new(),
        missing: Missing::default(),
        invalid: BTreeMap::new(),
        listed: Listed::default(),
        weigher: Weigher::default(),
    };
    parts.iter().for_each(|part| builder.jobs(part));
    let left_out = builder.left_out(&parts);
    let (jobs, weighed) = builder.finish(&mut problems);
    if !problems.has_errors() {
        beside::review(recipe, method, &jobs, &inputs, &mut problems);
    }
    config::compare(&models, donor, vocabulary.as_ref(), &mut problems);
    if models.iter().all(Input::is_raw) {
        params::warn_of_ramps(recipe, &mut problems);
    }
    let unreadable = RefCell::new(Problems::new());
    let read = |i: usize, name: &str| companions::bytes(&models[i], name, &unreadable);
    let template = recipe.chat_template.as_ref();
    let template = template.and_then(|words| chat_template(words, models.len(), &read, &mut problems));
    problems.extend(unreadable.take());
    let tokenizing = Tokenizing { vocabulary: vocabulary.as_ref(), chat_template: template.as_deref() };
    let (companions, unfit) = companions::companions(&models, donor, tokenizing, &mut problems);
    if let (Some(words), Some(template)) = (&recipe.chat_template, &template)
        && let Some(tokenizer) = companions.iter().find(|c| c.name == "tokenizer.json")
        && let Ok(bytes) = tokenizer.contents.read()
    {
        let theirs = (0..models.len()).filter_map(|i| read(i, "tokenizer.json"));
        check_markers(words, template, &bytes, theirs, &mut problems);
    }
    if !weighed.counts.is_empty() {
        compare_tokenizers(&weighed, tokenizer_sha256(&companions, &mut problems).as_deref(), &mut problems);
    }
    if problems.has_errors() {
        return Err(problems);
    }
    warn_of_f64(&jobs, &inputs, &mut problems);
    let layout = Layout::new(&jobs, options.shard_size);
    let donor_config = match &vocabulary {
        Some(vocabulary) => vocabulary.config.as_ref(),
        None => models[donor].config(),
    };
    let mut config = config::config(donor_config, &inputs, &jobs, &parts, &mut problems);
    config::untie(&mut config, &inputs, &jobs);
    let stamp = digest::stamp(&inputs);
    tracing::info!(method = method.name, tensors = jobs.len(), shards = layout.shards.len(), "planned");
    let digest = digest::digest(method, &inputs, &jobs, &layout, options.seed, recipe.non_finite);
    Ok(Plan {
        method,
        inputs,
        base,
        donor,
        jobs,
        layout,
        left_out,
        coefficient_files: weighed.files,
        config,
        companions,
        vocabulary: vocabulary.map(|v| v.summary),
        unfit,
        warnings: problems,
        non_finite: recipe.non_finite,
        seed: options.seed,
        name: recipe.name.as_ref().map(|n| n.value.clone()),
        recipe: (recipe.file.clone(), recipe.text.clone()),
        digest,
        stamp,
    })
}

/// Of the output's `tokenizer.json`, if it gets one.
fn tokenizer_sha256(companions: &[Companion], problems: &mut Problems) -> Option<String> {
    let tokenizer = companions.iter().find(|c| c.name == "tokenizer.json")?;
    if let Some(Identity::Sha256(known)) = tokenizer.contents.identity() {
        return Some(known);
    }
    let read = tokenizer.contents.read().map(|bytes| digest::hex(&Sha256::digest(&bytes)));
    read.map_err(|error| problems.extend(error.into())).ok()
}

/// The model that gives config, tokenizer and the names of tensors: the base, else the first that has a part in
/// every module.
fn donor(recipe: &Recipe) -> usize {
    let models = recipe.models();
    let is_base = |m: &&Located<ModelRef>| recipe.base_model.as_ref().is_some_and(|b| b.value == m.value);
    let everywhere = |m: &&Located<ModelRef>| recipe.assembly.every_part_has(&m.value);
    models.iter().position(is_base).or_else(|| models.iter().position(everywhere)).unwrap_or(0)
}

fn find_method(method: &Located<String>, problems: &mut Problems) -> Option<&'static Method> {
    let Located { value: name, place } = method;
    let found = Method::named(name);
    if found.is_none() {
        let known = METHODS.iter().map(|m| m.name);
        let all = format!("known are: {}", known.clone().collect::<Vec<_>>().join(", "));
        let problem = place.problem(format!("unknown merge method `{name}`")).did_you_mean(name, known);
        problems.push(if problem.hint.is_none() { problem.hint(all) } else { problem });
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
fn open<'r>(
    models: impl Iterator<Item = &'r Located<ModelRef>>,
    library: &mut Library,
    problems: &mut Problems,
) -> Vec<Option<Input>> {
    let mut inputs = Vec::new();
    for model in models {
        match library.input(&model.value) {
            Ok(input) => {
                warn_of_8_bits(&input, model, problems);
                warn_of_adapters(&input, model, problems);
                inputs.push(Some(input));
            }
            Err(found) => {
                for problem in found.iter() {
                    let spot = problem.spot.clone().or_else(|| model.place.spot.clone());
                    problems.push(problem.clone().spot(spot));
                }
                inputs.push(None);
            }
        }
    }
    inputs
}

/// Numbers that were rounded to 8 bits are not what the model was trained to.
fn warn_of_8_bits(input: &Input, model: &Located<ModelRef>, problems: &mut Problems) {
    for change in input.changes() {
        if let Change::Dequantised(count) = change {
            let what = format!(
                "{count} tensors of {} are 8-bit floats, with about one decimal digit; they are read as numbers, \
                 but what rounding took away stays lost",
                model.value
            );
            problems.push(model.place.warning(what).hint("merge the original in 16 bits if there is one"));
        }
    }
}

/// What an adapter's opening told.
fn warn_of_adapters(input: &Input, model: &Located<ModelRef>, problems: &mut Problems) {
    for change in input.changes() {
        if let Change::Adapted(adapted) = change {
            for warning in adapted.warnings.iter() {
                problems.push(warning.clone().spot(model.place.spot.clone()));
            }
        }
    }
}

fn warn_of_f64(jobs: &[Job], inputs: &[Input], problems: &mut Problems) {
    let merged = jobs.iter().filter(|j| matches!(j.work, Work::Merge(_)));
    let count = merged.filter(|j| j.sources().any(|s| s.info(inputs).dtype == DType::F64)).count();
    if count > 0 {
        problems.push(Problem::warning(
            "models",
            format!("{count} tensors are stored as float64 but merged in float32"),
        ));
    }
}
