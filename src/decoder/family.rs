//! The families of decoders: by which switches they differ from Llama.
//!
//! Sources are the families' papers and their published configurations; `tests/families` holds each
//! of them against `transformers`.

/// How a norm's stored weight enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormWeight {
    /// `x̂ · w`.
    Plain,
    /// `x̂ · (1 + w)` (Gemma).
    OnePlus,
}

/// Where a layer's norms stand around its attention and its MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlace {
    /// Before each: `x + f(norm(x))`.
    Before,
    /// After each, inside of the residual: `x + norm(f(x))` (OLMo 2).
    After,
    /// Both (Gemma 2 and 3).
    Both,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKeyNorm {
    /// None.
    Absent,
    /// Of each head by itself; the weight has as many elements as a head (Qwen 3, Gemma 3).
    EachHead,
    /// Of all heads together; the weight has as many elements as the projection (OLMo 2).
    AllHeads,
}

/// How the projections are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projections {
    /// A tensor for each.
    Apart,
    /// Queries, keys and values in one, gate and up in one (Phi 3).
    Fused,
}

/// Biases of query, key and value projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QkvBias {
    /// As `attention_bias` says, and the output projection with them.
    Configured,
    /// Always, but none on the output projection (Qwen 2).
    Always,
    /// Never.
    Never,
}

/// Which layers attend to a window only, where the configuration does not list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windows {
    /// No layer.
    Nowhere,
    /// All, if `sliding_window` is set (Mistral, Phi 3).
    Everywhere,
    /// From `max_window_layers` on, if `use_sliding_window` (Qwen).
    FromLayer,
    /// All but each n-th, by `sliding_window_pattern` or this default (Gemma 2: 2, Gemma 3: 6).
    AllButEach(usize),
    /// Layers without rotary positions, if `use_sliding_window` (SmolLM 3).
    WithoutRope,
}

/// Which soft caps of the configuration count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caps {
    /// None, whatever the configuration says.
    Neither,
    /// That of logits only (Gemma 3).
    Logits,
    /// Those of attention scores and logits (Gemma 2).
    Both,
}

/// Whether a part of a head may be without positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    /// Heads turn as a whole.
    Whole,
    /// As `partial_rotary_factor` says.
    Partial,
}

/// One family.
#[derive(Debug)]
pub(super) struct Family {
    /// `model_type` in `config.json`.
    pub(super) name: &'static str,
    pub(super) norm: NormWeight,
    pub(super) place: NormPlace,
    pub(super) query_key_norm: QueryKeyNorm,
    pub(super) projections: Projections,
    pub(super) qkv_bias: QkvBias,
    /// Whether `mlp_bias` counts.
    pub(super) mlp_bias: bool,
    pub(super) windows: Windows,
    pub(super) caps: Caps,
    pub(super) rotation: Rotation,
    /// Multiplies embeddings by the square root of the hidden size.
    pub(super) scaled_embedding: bool,
    /// Whether the head is the embedding where the configuration does not say.
    pub(super) tied: bool,
    /// `rope_theta` where the configuration has none.
    pub(super) theta: f64,
}

const LLAMA: Family = Family {
    name: "llama",
    norm: NormWeight::Plain,
    place: NormPlace::Before,
    query_key_norm: QueryKeyNorm::Absent,
    projections: Projections::Apart,
    qkv_bias: QkvBias::Configured,
    mlp_bias: true,
    windows: Windows::Nowhere,
    caps: Caps::Neither,
    rotation: Rotation::Whole,
    scaled_embedding: false,
    tied: false,
    theta: 1e4,
};

const GEMMA2: Family = Family {
    name: "gemma2",
    norm: NormWeight::OnePlus,
    place: NormPlace::Both,
    mlp_bias: false,
    windows: Windows::AllButEach(2),
    caps: Caps::Both,
    scaled_embedding: true,
    tied: true,
    ..LLAMA
};

const QWEN2: Family = Family {
    name: "qwen2",
    qkv_bias: QkvBias::Always,
    mlp_bias: false,
    windows: Windows::FromLayer,
    ..LLAMA
};

/// All of them.
pub(super) static FAMILIES: &[Family] = &[
    LLAMA,
    Family { name: "hyperllama", ..LLAMA },
    Family {
        name: "mistral",
        qkv_bias: QkvBias::Never,
        mlp_bias: false,
        windows: Windows::Everywhere,
        ..LLAMA
    },
    QWEN2,
    Family { name: "qwen3", qkv_bias: QkvBias::Configured, query_key_norm: QueryKeyNorm::EachHead, ..QWEN2 },
    GEMMA2,
    Family {
        name: "gemma3_text",
        query_key_norm: QueryKeyNorm::EachHead,
        windows: Windows::AllButEach(6),
        caps: Caps::Logits,
        theta: 1e6,
        ..GEMMA2
    },
    Family { name: "smollm3", windows: Windows::WithoutRope, tied: true, theta: 2e6, ..LLAMA },
    Family {
        name: "olmo2",
        mlp_bias: false,
        place: NormPlace::After,
        query_key_norm: QueryKeyNorm::AllHeads,
        ..LLAMA
    },
    Family {
        name: "phi3",
        projections: Projections::Fused,
        qkv_bias: QkvBias::Never,
        mlp_bias: false,
        windows: Windows::Everywhere,
        rotation: Rotation::Partial,
        ..LLAMA
    },
];

impl Family {
    /// By `model_type`.
    pub(super) fn named(model_type: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|f| f.name == model_type)
    }
}
