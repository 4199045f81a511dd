//! Families: what names of tensors mean, from the generic lists and those of one architecture.

use serde::Deserialize;

use super::{Located, ModuleWords, Position, Role, split_layer};

/// What holds for every architecture.
const GENERIC: &str = include_str!("generic.yaml");

/// Architectures that need lists of their own, by `model_type`.
static FILES: &[(&[&str], &str)] = &[
    (&["bart", "mbart", "m2m_100", "pegasus", "marian"], include_str!("bart.yaml")),
    (&["bert"], include_str!("bert.yaml")),
    (&["distilbert"], include_str!("distilbert.yaml")),
    (&["gpt2"], include_str!("gpt2.yaml")),
    (&["gpt_neox"], include_str!("gpt_neox.yaml")),
    (&["lfm2"], include_str!("lfm2.yaml")),
    (&["llama4"], include_str!("llama4.yaml")),
    (&["llava", "llava_next", "gemma3", "mistral3", "paligemma"], include_str!("llava.yaml")),
    (&["mamba", "mamba2", "falcon_mamba"], include_str!("mamba.yaml")),
    (&["modernbert"], include_str!("modernbert.yaml")),
    (&["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"], include_str!("qwen2_vl.yaml")),
    (&["roberta", "xlm-roberta", "camembert"], include_str!("roberta.yaml")),
    (&["t5", "mt5", "umt5", "longt5"], include_str!("t5.yaml")),
    (&["whisper"], include_str!("whisper.yaml")),
];

/// Architectures whose names the generic lists read rightly; `tests/architectures` holds them to it.
static PLAIN: &[&str] = &[
    "cohere2",
    "deepseek_v3",
    "falcon",
    "gemma",
    "gemma2",
    "gemma3_text",
    "glm4",
    "granite",
    "hyperllama",
    "llama",
    "mistral",
    "mixtral",
    "olmo2",
    "opt",
    "phi",
    "phi3",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "smollm3",
    "stablelm",
    "starcoder2",
];

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Lists {
    roles: Vec<Named>,
    /// Parts of names of tensors that stand before the layers.
    before: Vec<String>,
    /// Parts of names that stand after them, though `before` says otherwise.
    after: Vec<String>,
    /// Parts of names that stand in a layer, but belong to all of them.
    loose: Vec<String>,
    /// Parts of names of tensors that a model may lack.
    optional: Vec<String>,
    ties: Vec<Pair>,
    /// Beginnings of names that stand for one another.
    prefixes: Vec<Pair>,
    /// Ends of names that stand for one another.
    suffixes: Vec<Pair>,
    modules: Vec<ModuleWords>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    part: String,
    role: Role,
}

/// Two names, or parts of names, of the same numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    name: String,
    other: String,
}

impl Pair {
    fn both_ways(&self) -> [(&str, &str); 2] {
        [(&self.name, &self.other), (&self.other, &self.name)]
    }
}

/// How to read the names of one architecture.
#[derive(Clone, Debug)]
pub struct Family(Lists);

impl Family {
    /// The family of a `model_type`; the generic one if it is not known.
    pub fn of(model_type: Option<&str>) -> Self {
        let text = FILES.iter().find(|(types, _)| model_type.is_some_and(|t| types.contains(&t)));
        let mut own = text.map(|(_, text)| parse(text)).unwrap_or_default();
        let generic = parse(GENERIC);
        own.roles.extend(generic.roles);
        own.before.extend(generic.before);
        own.after.extend(generic.after);
        own.loose.extend(generic.loose);
        own.optional.extend(generic.optional);
        own.ties.extend(generic.ties);
        own.prefixes.extend(generic.prefixes);
        own.suffixes.extend(generic.suffixes);
        Self(own)
    }

    /// The `model_type`s whose names are known and tested.
    pub fn known() -> impl Iterator<Item = &'static str> {
        FILES.iter().flat_map(|(types, _)| types.iter()).chain(PLAIN).copied()
    }

    /// Role and place of a tensor.
    pub fn locate(&self, tensor: &str) -> Located {
        let contains = |list: &[String]| list.iter().any(|part| tensor.contains(part.as_str()));
        let role = self.0.roles.iter().find(|r| tensor.contains(&r.part)).map_or(Role::Other, |r| r.role);
        let loose = contains(&self.0.loose);
        let layer_name = split_layer(tensor).filter(|_| !loose);
        let position = match &layer_name {
            Some((_, layer, _)) => Position::Layer(*layer),
            None if loose || contains(&self.0.before) && !contains(&self.0.after) => Position::Before,
            None => Position::After,
        };
        Located { role, position, layer_name }
    }

    /// Whether a model may lack the tensor: what it holds is computed anyway.
    pub fn is_optional(&self, tensor: &str) -> bool {
        self.0.optional.iter().any(|part| tensor.contains(part))
    }

    /// The tensors that have the same numbers in a model that does not store this one.
    pub fn tied<'a>(&'a self, tensor: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.ties.iter().filter(move |p| p.name == tensor).map(|p| p.other.as_str())
    }

    /// Whether a head that is not stored is this tensor.
    pub fn ties_head_to(&self, tensor: &str) -> bool {
        let heads = self.0.ties.iter().filter(|p| self.locate(&p.name).role == Role::Head);
        heads.map(|p| p.other.as_str()).any(|other| other == tensor)
    }

    /// Other names of the same tensor.
    pub fn aliases(&self, tensor: &str) -> Vec<String> {
        let mut names = vec![tensor.to_owned()];
        for (from, to) in self.0.prefixes.iter().flat_map(Pair::both_ways) {
            names.extend(tensor.strip_prefix(from).map(|rest| format!("{to}{rest}")));
        }
        for i in 0..names.len() {
            for (from, to) in self.0.suffixes.iter().flat_map(Pair::both_ways) {
                let other = names[i].strip_suffix(from).map(|rest| format!("{rest}{to}"));
                names.extend(other);
            }
        }
        names.split_off(1)
    }

    /// The parts of a model as the architecture has them; none for models of one tower.
    pub(super) fn module_words(&self) -> &[ModuleWords] {
        &self.0.modules
    }
}

/// Reads one of the files above; a test reads them all.
fn parse(text: &str) -> Lists {
    serde_yaml::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_parses() {
        for text in FILES.iter().map(|(_, text)| *text).chain([GENERIC]) {
            let lists: Result<Lists, _> = serde_yaml::from_str(text);
            assert!(lists.is_ok(), "{text}\n{lists:?}");
        }
    }

    #[test]
    fn roles_and_places_of_a_stranger() {
        let stranger = Family::of(Some("nobody-knows"));
        let at = |n: &str| (stranger.locate(n).role, stranger.locate(n).position);
        assert_eq!(at("model.embed_tokens.weight"), (Role::Embed, Position::Before));
        assert_eq!(at("lm_head.weight"), (Role::Head, Position::After));
        assert_eq!(at("model.norm.weight"), (Role::Norm, Position::After));
        assert_eq!(at("model.layers.2.self_attn.k_proj.weight"), (Role::Key, Position::Layer(2)));
        assert_eq!(at("transformer.wte.weight"), (Role::Embed, Position::Before));
        assert_eq!(at("gpt_neox.embed_out.weight"), (Role::Head, Position::After));
        assert_eq!(at("transformer.h.0.mlp.thing.weight"), (Role::Other, Position::Layer(0)));
        assert_eq!(stranger.tied("lm_head.weight").next(), Some("model.embed_tokens.weight"));
    }

    #[test]
    fn aliases_go_both_ways_and_together() {
        let bert = Family::of(Some("bert"));
        let (new, old) = ("bert.embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma");
        assert!(bert.aliases(new).iter().any(|n| n == old));
        assert!(bert.aliases(old).iter().any(|n| n == new));
        assert!(!bert.aliases(new).iter().any(|n| n == new), "a name is no alias of itself");
    }
}
