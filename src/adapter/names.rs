//! What a tensor of an adapter is, by its name.

/// Part of a module's update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// `A`, `[rank, in]`.
    A,
    /// `B`, `[out, rank]`.
    B,
    /// `A` of an embedding, `[rank, rows]`.
    EmbeddingA,
    /// `B` of an embedding, `[width, rank]`.
    EmbeddingB,
    /// DoRA's `m`, one number for each output.
    Magnitude,
}

/// A tensor's name, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// Part of the update of a module.
    Part(String, Part),
    /// A tensor that takes the place of the base's.
    Whole(String),
    /// The base's own tensor, as it was before the tuning.
    Original,
    /// A bias of an update (`lora_bias`).
    UpdateBias(String),
    /// None of these.
    Unknown,
}

const PARTS: [(&str, Part); 5] = [
    ("lora_A", Part::A),
    ("lora_B", Part::B),
    ("lora_embedding_A", Part::EmbeddingA),
    ("lora_embedding_B", Part::EmbeddingB),
    ("lora_magnitude_vector", Part::Magnitude),
];

/// PEFT's names: a prefix, the module's path, the part. Between part and `weight` older versions write the
/// adapter's name, mostly `default`.
pub(super) fn parse(name: &str) -> Name {
    let path = name.strip_prefix("base_model.model.").unwrap_or(name);
    let words: Vec<&str> = path.split('.').collect();
    let found = words
        .iter()
        .enumerate()
        .find_map(|(at, word)| PARTS.iter().find(|(name, _)| name == word).map(|(_, part)| (at, *part)));
    let Some((at, part)) = found else { return whole(&words) };
    let module = words[..at].join(".");
    match (part, &words[at + 1..]) {
        (Part::A | Part::B | Part::Magnitude, ["weight"] | [_, "weight"]) => Name::Part(module, part),
        (Part::B, ["bias"] | [_, "bias"]) => Name::UpdateBias(module),
        (Part::EmbeddingA | Part::EmbeddingB | Part::Magnitude, [] | [_]) => Name::Part(module, part),
        _ => Name::Unknown,
    }
}

/// A tensor of the model itself, without the names of PEFT's wrappers.
fn whole(words: &[&str]) -> Name {
    let mut kept = Vec::new();
    let mut rest = words.iter().copied().peekable();
    while let Some(word) = rest.next() {
        match word {
            "original_module" => return Name::Original,
            "base_layer" => {}
            "modules_to_save" => drop(rest.next_if_eq(&"default")),
            word => kept.push(word),
        }
    }
    Name::Whole(kept.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_old_and_new_versions() {
        let q = || "model.layers.0.self_attn.q_proj".to_owned();
        for (name, want) in [
            ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", Name::Part(q(), Part::A)),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight",
                Name::Part(q(), Part::B),
            ),
            ("model.layers.0.self_attn.q_proj.lora_B.weight", Name::Part(q(), Part::B)),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
                Name::Part(q(), Part::Magnitude),
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.default.weight",
                Name::Part(q(), Part::Magnitude),
            ),
            ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", Name::UpdateBias(q())),
            (
                "base_model.model.model.embed.lora_embedding_A",
                Name::Part("model.embed".into(), Part::EmbeddingA),
            ),
            (
                "base_model.model.model.embed.lora_embedding_B.default",
                Name::Part("model.embed".into(), Part::EmbeddingB),
            ),
            ("base_model.model.lm_head.weight", Name::Whole("lm_head.weight".into())),
            ("base_model.model.lm_head.modules_to_save.weight", Name::Whole("lm_head.weight".into())),
            ("base_model.model.lm_head.modules_to_save.default.weight", Name::Whole("lm_head.weight".into())),
            ("base_model.model.lm_head.original_module.weight", Name::Original),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias",
                Name::Whole("model.layers.0.self_attn.q_proj.bias".into()),
            ),
            ("base_model.model.model.q_proj.lora_A.weight.more.still", Name::Unknown),
            ("base_model.model.model.q_proj.lora_embedding_A.default.weight", Name::Unknown),
        ] {
            assert_eq!(parse(name), want, "{name}");
        }
    }
}
