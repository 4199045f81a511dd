//! Families: what a YAML file adds to the generic reading of names.

use serde::Deserialize;

use super::{Located, Position, Role, split_layer};

/// One file for each family, by `model_type`.
static FILES: &[(&str, &str)] = &[
    ("llama", include_str!("llama.yaml")),
    ("hyperllama", include_str!("hyperllama.yaml")),
    ("mistral", include_str!("mistral.yaml")),
    ("qwen2", include_str!("qwen2.yaml")),
    ("qwen3", include_str!("qwen3.yaml")),
];

/// Parts of names that tell a role in most architectures; the first that matches decides.
static GENERIC: &[(&str, Role)] = &[
    ("embed_tokens", Role::Embed),
    ("word_embeddings", Role::Embed),
    ("wte.", Role::Embed),
    ("tok_embeddings", Role::Embed),
    ("embed_in", Role::Embed),
    ("shared.weight", Role::Embed),
    ("lm_head", Role::Head),
    ("embed_out", Role::Head),
    ("norm", Role::Norm),
    ("ln_", Role::Norm),
    ("q_proj", Role::Query),
    ("k_proj", Role::Key),
    ("v_proj", Role::Value),
    ("o_proj", Role::AttnOut),
    ("out_proj", Role::AttnOut),
    ("gate_proj", Role::Gate),
    ("up_proj", Role::Up),
    ("down_proj", Role::Down),
    ("fc1", Role::Up),
    ("fc2", Role::Down),
    ("mlp.gate.", Role::Router),
    ("block_sparse_moe.gate.", Role::Router),
];

/// Loose tensors with one of these in their names stand before the layers, all others after.
static BEFORE: &[&str] = &["embed", "wte", "wpe", "shared.weight"];
/// … but these do not.
static NOT_BEFORE: &[&str] = &["embed_out"];

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Another family whose lists are taken first.
    extends: Option<String>,
    #[serde(default)]
    roles: Vec<Named>,
    /// Parts of names of tensors that a model may lack.
    #[serde(default)]
    optional: Vec<String>,
    #[serde(default)]
    ties: Vec<Pair>,
    #[serde(default)]
    aliases: Vec<Pair>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    part: String,
    role: Role,
}

/// Two names of the same numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    name: String,
    other: String,
}

/// How to read the names of one architecture.
#[derive(Clone, Debug)]
pub struct Family(File);

impl Family {
    /// The family of a `model_type`; the generic one if it is not known.
    pub fn of(model_type: Option<&str>) -> Self {
        Self(model_type.and_then(|t| load(t, 0)).unwrap_or_default())
    }

    /// The `model_type`s that have a file.
    pub fn known() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name)
    }

    /// Role and place of a tensor.
    pub fn locate(&self, tensor: &str) -> Located {
        let role = self
            .0
            .roles
            .iter()
            .find(|r| tensor.contains(&r.part))
            .map(|r| r.role)
            .or_else(|| GENERIC.iter().find(|(part, _)| tensor.contains(part)).map(|(_, role)| *role))
            .unwrap_or(Role::Other);
        let layer_name = split_layer(tensor);
        let contains = |list: &[&str]| list.iter().any(|part| tensor.contains(part));
        let position = match &layer_name {
            Some((_, layer, _)) => Position::Layer(*layer),
            None if contains(BEFORE) && !contains(NOT_BEFORE) => Position::Before,
            None => Position::After,
        };
        Located { role, position, layer_name }
    }

    /// Whether a model may lack the tensor.
    pub fn is_optional(&self, tensor: &str) -> bool {
        self.0.optional.iter().any(|part| tensor.contains(part)) || tensor.ends_with("rotary_emb.inv_freq")
    }

    /// The tensor that has the same numbers in a model that does not store this one.
    pub fn tied(&self, tensor: &str) -> Option<&str> {
        self.0.ties.iter().find(|p| p.name == tensor).map(|p| p.other.as_str())
    }

    /// Other names of the same tensor.
    pub fn aliases(&self, tensor: &str) -> Vec<&str> {
        self.0.aliases.iter().filter(|p| p.name == tensor).map(|p| p.other.as_str()).collect()
    }
}

fn load(model_type: &str, depth: usize) -> Option<File> {
    let text = FILES.iter().find(|(name, _)| *name == model_type)?.1;
    let mut file: File = serde_yaml::from_str(text).ok()?;
    // Families extend one another once or twice; anything deeper is a cycle.
    if let Some(base) = file.extends.take().filter(|_| depth < 4).and_then(|name| load(&name, depth + 1)) {
        file.roles.extend(base.roles);
        file.optional.extend(base.optional);
        file.ties.extend(base.ties);
        file.aliases.extend(base.aliases);
    }
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_file_parses_and_knows_its_tie() {
        for name in Family::known() {
            let file = load(name, 0).unwrap_or_else(|| panic!("{name}.yaml does not parse"));
            assert!(!file.roles.is_empty(), "{name}");
            assert_eq!(Family(file).tied("lm_head.weight"), Some("model.embed_tokens.weight"), "{name}");
        }
    }

    #[test]
    fn roles_and_places_of_llama_and_of_a_stranger() {
        let llama = Family::of(Some("llama"));
        let at = |f: &Family, n: &str| (f.locate(n).role, f.locate(n).position);
        assert_eq!(at(&llama, "model.embed_tokens.weight"), (Role::Embed, Position::Before));
        assert_eq!(at(&llama, "lm_head.weight"), (Role::Head, Position::After));
        assert_eq!(at(&llama, "model.norm.weight"), (Role::Norm, Position::After));
        assert_eq!(at(&llama, "model.layers.2.self_attn.k_proj.weight"), (Role::Key, Position::Layer(2)));
        let stranger = Family::of(Some("nobody-knows"));
        assert_eq!(at(&stranger, "transformer.wte.weight"), (Role::Embed, Position::Before));
        assert_eq!(at(&stranger, "gpt_neox.embed_out.weight"), (Role::Head, Position::After));
        assert_eq!(at(&stranger, "transformer.h.0.mlp.thing.weight"), (Role::Other, Position::Layer(0)));
    }
}
