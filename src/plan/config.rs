//! `config.json` of the output, and what the inputs' configs disagree about.

use serde_json::{Value, json};

use super::segment::{Numbering, Part};
use super::{Input, Job, depth};
use crate::checkpoint::DType;
use crate::problem::{Problem, Problems};
use crate::vocabulary::Vocabulary;

/// Keys that change what the weights mean; shapes alone do not show a difference in them.
const MEANING: &[&str] = &[
    "model_type",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "rope_theta",
    "rope_parameters",
    "rope_scaling",
    "tie_word_embeddings",
    "lm_head_normalization_factor",
    "bos_token_id",
    "eos_token_id",
];

/// Whether the head is the embedding; an output has a head of its own as soon as one input has.
const TIE: &str = "tie_word_embeddings";
/// The head's name.
const HEAD: &str = "lm_head.weight";

/// The donor's config with the dtype and, for slices, the layers of the output.
pub(super) fn config(
    donor: Option<&Value>,
    inputs: &[Input],
    jobs: &[Job],
    parts: &[Part<'_>],
    problems: &mut Problems,
) -> Option<Value> {
    let mut config = donor?.clone();
    let mut elements: Vec<(DType, u64)> = Vec::new();
    for job in jobs.iter().filter(|j| j.dtype.is_mergeable()) {
        match elements.iter_mut().find(|(dtype, _)| *dtype == job.dtype) {
            Some((_, count)) => *count += job.elements() as u64,
            None => elements.push((job.dtype, job.elements() as u64)),
        }
    }
    // The type of most elements is what loaders ask for.
    let dtype = elements.into_iter().max_by_key(|(_, count)| *count).map(|(dtype, _)| dtype);
    if let (Some(dtype), Some(map)) = (dtype, config.as_object_mut()) {
        let old_name = map.contains_key("torch_dtype");
        if old_name {
            map.insert("torch_dtype".into(), json!(dtype.torch_name()));
        }
        if !old_name || map.contains_key("dtype") {
            map.insert("dtype".into(), json!(dtype.torch_name()));
        }
    }
    if parts.iter().any(|p| p.numbering == Numbering::Anew) {
        parts.iter().for_each(|part| depth::keep(&mut config, &part.module));
    }
    for part in parts.iter().filter(|p| p.numbering == Numbering::Anew) {
        let first_sources = part.segments.iter().filter_map(|s| s.sources.first());
        let layers = first_sources.flat_map(|s| s.layers.clone().map(|layer| (s.input, layer)));
        let layers: Vec<_> =
            layers.map(|(input, layer)| depth::From { config: inputs[input].config(), layer }).collect();
        depth::set(&mut config, &part.module, &layers, problems);
    }
    Some(config)
}

/// Whether a model says that its head is its embedding.
fn tie(input: &Input) -> Option<bool> {
    input.config()?.get(TIE)?.as_bool()
}

/// A head that the output stores because some input has one of its own must not be passed over for the
/// embedding, as it would be if the donor's head is tied.
pub(super) fn untie(config: &mut Option<Value>, inputs: &[Input], jobs: &[Job]) {
    let own = inputs.iter().any(|input| tie(input) == Some(false));
    if own
        && jobs.iter().any(|job| job.name == HEAD)
        && let Some(map) = config.as_mut().and_then(Value::as_object_mut)
    {
        map.insert(TIE.into(), json!(false));
    }
}

/// Warns where an input's config gives its weights another meaning than the donor's does.
/// Ids of tokens are no difference where the models are brought to one vocabulary.
pub(super) fn compare(
    inputs: &[Input],
    donor: usize,
    vocabulary: Option<&Vocabulary>,
    problems: &mut Problems,
) {
    let Some(reference) = inputs[donor].config() else {
        if inputs.iter().any(|i| i.config().is_some()) {
            problems.push(
                Problem::warning(inputs[donor].name(), "has no config.json, so the merged model gets none")
                    .hint("name a model that has one as `base_model`, or first"),
            );
        }
        return;
    };
    for (i, input) in inputs.iter().enumerate() {
        let Some(config) = input.config().filter(|_| i != donor) else { continue };
        let (reference, config) = (text_config(reference, config), text_config(config, reference));
        for key in MEANING.iter().filter(|key| vocabulary.is_none() || !key.ends_with("_token_id")) {
            // Without a factor, logits are not divided.
            let none = (*key == "lm_head_normalization_factor").then(|| json!(1.0));
            let (ours, theirs) = (reference.get(key).or(none.as_ref()), config.get(key).or(none.as_ref()));
            if ours != theirs && (ours.is_some() && theirs.is_some()) {
                let show = |v: Option<&Value>| v.map(Value::to_string).unwrap_or_default();
                let gets = match *key == TIE {
                    true => "the output gets a head of its own; the models may not be comparable",
                    false => "the output gets the latter; the models may not be comparable",
                };
                problems.push(
                    Problem::warning(
                        input.name(),
                        format!(
                            "config.json has {key} = {}, but {} has {}",
                            show(theirs),
                            inputs[donor].name(),
                            show(ours)
                        ),
                    )
                    .hint(gets),
                );
            }
        }
    }
}

/// What a config says of its language model, where the other is that of a language model alone.
fn text_config<'v>(config: &'v Value, other: &Value) -> &'v Value {
    let text = config.get("text_config").filter(|text| text.is_object());
    text.filter(|_| other.get("text_config").is_none()).unwrap_or(config)
}
