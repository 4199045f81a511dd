//! `config.json` → what the decoder has to compute.

use serde_json::Value;

use super::family::{Caps, FAMILIES, Family, QkvBias, Windows};
use super::fields::Fields;
use super::rope::{Around, Rope};
use super::{NormPlace, NormWeight, Projections, QueryKeyNorm};
use crate::problem::{Problem, Problems};

/// What the gate of an MLP goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)`, by the error function.
    Gelu,
    /// GELU's approximation by tanh.
    GeluTanh,
}

/// What differs between the layers of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKind {
    /// Position in [`Config::ropes`]; `None` for a layer without positions.
    pub rope: Option<usize>,
    /// How many tokens a token sees, itself included; `None` for all before it.
    pub window: Option<usize>,
}

/// Which projections have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// Attention output.
    pub output: bool,
    /// All of the MLP.
    pub mlp: bool,
}

/// A decoder of the Llama kind, described by switches.
#[derive(Clone, Debug)]
pub struct Config {
    /// The family's name.
    pub model_type: &'static str,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the MLP.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Under the root of a norm.
    pub norm_eps: f32,
    /// How norm weights enter.
    pub norm: NormWeight,
    /// Where the norms stand.
    pub place: NormPlace,
    /// Norms of queries and keys.
    pub query_key_norm: QueryKeyNorm,
    /// How projections are stored.
    pub projections: Projections,
    /// Which projections have biases.
    pub biases: Biases,
    /// Of the MLP's gate.
    pub activation: Activation,
    /// Factor on query · key.
    pub attention_scale: f32,
    /// Attention scores go through `cap · tanh(x / cap)`.
    pub attention_cap: Option<f32>,
    /// Logits go through `cap · tanh(x / cap)`.
    pub logit_cap: Option<f32>,
    /// Factor on logits: 1 / `lm_head_normalization_factor` of the HyperLlama models.
    pub logit_scale: f32,
    /// Factor on embeddings.
    pub embedding_scale: f32,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// One for each layer.
    pub layers: Vec<LayerKind>,
    /// Rotary positions that layers refer to.
    pub ropes: Vec<Rope>,
    /// The longest text that the model was made for, in tokens.
    pub max_positions: usize,
}

impl Config {
    /// Reads a `config.json`; `at` is its path, for messages.
    ///
    /// # Errors
    /// An unknown `model_type`, and everything that is missing or wrong.
    pub fn read(config: &Value, at: &str) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let Some(map) = config.as_object() else {
            return Err(Problem::error(at, "is not a JSON object").into());
        };
        let fields = Fields::new(map, at);
        let Some(model_type) = fields.text("model_type", &mut problems) else {
            problems.push(fields.error("there is no model_type to choose a decoder by").hint(supported()));
            return Err(problems);
        };
        let Some(family) = Family::named(model_type) else {
            let what = format!("there is no decoder for model_type `{model_type}`");
            let hint = match map.get("text_config") {
                Some(_) => format!("it has more than a text model; {}", supported()),
                None => supported(),
            };
            return Err(fields.error(what).hint(hint).into());
        };
        let config = read(family, &fields, &mut problems);
        if problems.has_errors() { Err(problems) } else { Ok(config) }
    }

    /// Names of the families that have a decoder.
    pub fn families() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().map(|f| f.name)
    }
}

fn supported() -> String {
    format!("supported are: {}", Config::families().collect::<Vec<_>>().join(", "))
}

fn read(family: &'static Family, fields: &Fields<'_>, problems: &mut Problems) -> Config {
    let hidden = fields.required("hidden_size", problems);
    let heads = fields.required("num_attention_heads", problems);
    let kv_heads = fields.size("num_key_value_heads", problems).unwrap_or(heads);
    let head_dim = fields.size("head_dim", problems).unwrap_or(hidden / heads);
    // Of numbers that are wrong in themselves there is nothing more to say.
    if !problems.has_errors() && !heads.is_multiple_of(kv_heads) {
        let what = format!("{heads} attention heads cannot share {kv_heads} key and value heads evenly");
        problems.push(fields.error(what));
    }
    if !problems.has_errors() && head_dim == 0 {
        problems.push(fields.error(format!("hidden_size {hidden} is too small for {heads} heads")));
    }
    let norm_eps = fields.required_positive("rms_norm_eps", problems) as f32;
    let mut cap = |key: &str| fields.positive(key, problems).map(|c| c as f32);
    let (attention_cap, logit_cap) = match family.caps {
        Caps::Neither => (None, None),
        Caps::Logits => (None, cap("final_logit_softcapping")),
        Caps::Both => (cap("attn_logit_softcapping"), cap("final_logit_softcapping")),
    };
    let factor = fields.positive("lm_head_normalization_factor", problems).unwrap_or(1.0);
    // Gemma's; others have no such key, and would not heed it.
    let scalar = match family.norm {
        NormWeight::OnePlus => fields.positive("query_pre_attn_scalar", problems),
        NormWeight::Plain => None,
    };
    let scalar = scalar.unwrap_or(head_dim as f64);
    let attention_bias = fields.flag("attention_bias", problems).unwrap_or(false);
    let biases = Biases {
        qkv: match family.qkv_bias {
            QkvBias::Configured => attention_bias,
            QkvBias::Always => true,
            QkvBias::Never => false,
        },
        output: family.qkv_bias == QkvBias::Configured && attention_bias,
        mlp: family.mlp_bias && fields.flag("mlp_bias", problems).unwrap_or(false),
    };
    if fields.flag("use_bidirectional_attention", problems) == Some(true) {
        problems.push(fields.error("attention goes both ways; only left-to-right models predict text"));
    }
    let max_positions = fields.size("max_position_embeddings", problems).unwrap_or(2048);
    let ropes = ropes(family, fields, head_dim, max_positions, problems);
    let layers = layers(family, fields, ropes.len(), problems);
    Config {
        model_type: family.name,
        vocab: fields.required("vocab_size", problems),
        hidden,
        intermediate: fields.required("intermediate_size", problems),
        heads,
        kv_heads,
        head_dim,
        norm_eps,
        norm: family.norm,
        place: family.place,
        query_key_norm: family.query_key_norm,
        projections: family.projections,
        biases,
        activation: activation(fields, problems),
        attention_scale: (1.0 / scalar.sqrt()) as f32,
        attention_cap,
        logit_cap,
        logit_scale: (1.0 / factor) as f32,
        embedding_scale: if family.scaled_embedding { (hidden as f32).sqrt() } else { 1.0 },
        tied: fields.flag("tie_word_embeddings", problems).unwrap_or(family.tied),
        layers,
        ropes,
        max_positions,
    }
}

fn activation(fields: &Fields<'_>, problems: &mut Problems) -> Activation {
    // Gemma's name goes before the common one.
    let named = ["hidden_activation", "hidden_act"].iter().find_map(|key| fields.text(key, problems));
    let Some(named) = named else {
        problems.push(fields.error("hidden_act is missing"));
        return Activation::Silu;
    };
    match named {
        "silu" | "swish" => Activation::Silu,
        "gelu" => Activation::Gelu,
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Activation::GeluTanh,
        other => {
            let what = format!("hidden_act `{other}` is not supported");
            problems.push(fields.error(what).hint("supported are: silu, gelu, gelu_pytorch_tanh"));
            Activation::Silu
        }
    }
}

/// Rotary positions: one for all layers, or the first for layers that see everything and the second for
/// those with a window.
fn ropes(
    family: &Family,
    fields: &Fields<'_>,
    head_dim: usize,
    max_positions: usize,
    problems: &mut Problems,
) -> Vec<Rope> {
    let around = Around {
        head_dim,
        theta: fields.positive("rope_theta", problems).unwrap_or(family.theta),
        partial: fields.positive("partial_rotary_factor", problems).unwrap_or(1.0),
        max_positions,
        original: fields.size("original_max_position_embeddings", problems),
        rotation: family.rotation,
        at: fields.at().to_owned(),
    };
    // `rope_parameters` is the newer name, and may hold an object for each kind of layer; where both are
    // there, transformers takes the older one.
    let older = fields.object("rope_scaling", problems);
    let parameters = older.or_else(|| fields.object("rope_parameters", problems));
    let mut of_kind = |kind: &str| parameters.as_ref().and_then(|p| p.object(kind, problems));
    match (of_kind("full_attention"), of_kind("sliding_attention")) {
        (None, None) => {
            let mut ropes = vec![Rope::read(&around, parameters.as_ref(), problems)];
            // Gemma 3, as older configurations say it: windows have a base of their own and no scaling.
            if family.name == "gemma3_text" {
                let theta = fields.positive("rope_local_base_freq", problems).unwrap_or(1e4);
                ropes.push(Rope::read(&Around { theta, ..around }, None, problems));
            }
            ropes
        }
        (full, sliding) => {
            [full, sliding].iter().map(|f| Rope::read(&around, f.as_ref(), problems)).collect()
        }
    }
}

/// More than any model has; a wrong number must not fill the memory.
const MAX_LAYERS: usize = 10_000;

fn layers(family: &Family, fields: &Fields<'_>, ropes: usize, problems: &mut Problems) -> Vec<LayerKind> {
    let count = fields.required("num_hidden_layers", problems);
    if count > MAX_LAYERS {
        problems.push(fields.error(format!("num_hidden_layers is {count}; {MAX_LAYERS} are allowed")));
        return Vec::new();
    }
    let window = fields.size("sliding_window", problems);
    let used = fields.flag("use_sliding_window", problems).unwrap_or(false);
    let first = fields.count("max_window_layers", problems).unwrap_or(usize::MAX);
    let pattern = fields.size("sliding_window_pattern", problems);
    if window.is_none() && matches!(family.windows, Windows::AllButEach(_)) {
        problems.push(fields.error("sliding_window is missing"));
    }
    let rotates = rotates(family, fields, count, problems);
    let by_rule = |layer: usize| match family.windows {
        Windows::Nowhere => false,
        Windows::Everywhere => true,
        Windows::FromLayer => used && layer >= first,
        Windows::AllButEach(n) => !(layer + 1).is_multiple_of(pattern.unwrap_or(n)),
        Windows::WithoutRope => used && !rotates[layer],
    };
    // Mistral and Phi 3 do not list layers; Qwen's and SmolLM 3's lists count only where windows are used.
    let counts = match family.windows {
        Windows::Everywhere => false,
        Windows::FromLayer | Windows::WithoutRope => used,
        Windows::Nowhere | Windows::AllButEach(_) => true,
    };
    let listed = fields.words("layer_types", problems).filter(|_| counts);
    if let Some(list) = &listed {
        if list.len() != count {
            let what = format!("layer_types lists {} layers, but num_hidden_layers is {count}", list.len());
            problems.push(fields.error(what));
        }
        for other in list.iter().filter(|k| !["full_attention", "sliding_attention"].contains(k)) {
            problems.push(fields.error(format!("layer_types has `{other}`, which is not supported")));
        }
    }
    let slides = |layer: usize| match listed.as_ref().and_then(|l| l.get(layer)) {
        Some(kind) => *kind == "sliding_attention",
        None => by_rule(layer),
    };
    let kind = |layer: usize| {
        let slides = slides(layer);
        let rope = if slides { ropes - 1 } else { 0 };
        LayerKind { rope: rotates[layer].then_some(rope), window: window.filter(|_| slides) }
    };
    (0..count).map(kind).collect()
}

/// Which layers have rotary positions: in SmolLM 3 not all.
fn rotates(family: &Family, fields: &Fields<'_>, count: usize, problems: &mut Problems) -> Vec<bool> {
    if family.windows != Windows::WithoutRope {
        return vec![true; count];
    }
    let interval = fields.size("no_rope_layer_interval", problems).unwrap_or(4);
    match fields.numbers("no_rope_layers", problems) {
        // The name says the opposite: 1 stands for a layer with rotary positions.
        Some(list) if list.len() == count => list.iter().map(|x| *x != 0.0).collect(),
        Some(list) => {
            let what =
                format!("no_rope_layers lists {} layers, but num_hidden_layers is {count}", list.len());
            problems.push(fields.error(what));
            vec![true; count]
        }
        None => (0..count).map(|layer| !(layer + 1).is_multiple_of(interval)).collect(),
    }
}
