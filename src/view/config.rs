//! `config.json`: the sizes that growth needs, and what they become.

use serde_json::{Map, Value, json};

use super::growth::{Growth, Head};
use crate::problem::{Problem, Problems};

/// Larger than any model; products of two stay far from overflow.
const MAX_SIZE: u64 = 1 << 28;

/// A small model's sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizes {
    pub(super) vocab: usize,
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) tied: bool,
    /// `lm_head_normalization_factor`.
    pub(super) factor: f64,
}

impl Sizes {
    /// Reads them; `at` names the model.
    pub(super) fn read(config: &Value, at: &str) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let given = |key: &str| config.get(key).filter(|v| !v.is_null());
        let mut size = |key: &str, fallback: Option<usize>| -> usize {
            match (given(key).map(Value::as_u64), fallback) {
                (Some(Some(x)), _) if (1..=MAX_SIZE).contains(&x) => x as usize,
                (None, Some(fallback)) => fallback,
                (found, _) => {
                    let what = match found {
                        None => format!("config.json has no {key}, so the model cannot be grown"),
                        Some(_) => format!("{key} in config.json is no sensible size"),
                    };
                    problems.push(Problem::error(at, what));
                    1
                }
            }
        };
        let hidden = size("hidden_size", None);
        let heads = size("num_attention_heads", None);
        let sizes = Self {
            vocab: size("vocab_size", None),
            hidden,
            intermediate: size("intermediate_size", None),
            heads,
            kv_heads: size("num_key_value_heads", Some(heads)),
            head_dim: size("head_dim", Some((hidden / heads).max(1))),
            // SmolLM 3's heads are tied where nothing is said, those of the other families are not.
            tied: match given("tie_word_embeddings") {
                Some(tied) => tied.as_bool().unwrap_or(false),
                None => given("model_type").is_some_and(|t| t == "smollm3"),
            },
            factor: given("lm_head_normalization_factor").map_or(Some(1.0), Value::as_f64).unwrap_or(0.0),
        };
        if !(sizes.factor > 0.0 && sizes.factor.is_finite()) {
            problems.push(Problem::error(at, "lm_head_normalization_factor in config.json is no factor"));
        }
        if !problems.has_errors() && !heads.is_multiple_of(sizes.kv_heads) {
            let what = format!("{heads} attention heads cannot share {} key and value heads", sizes.kv_heads);
            problems.push(Problem::error(at, what));
        }
        if given("quantization_config").is_some() {
            let what = "the weights are quantised, so they cannot be grown";
            problems.push(Problem::error(at, what).hint("grow the model they were made from"));
        }
        if problems.has_errors() { Err(problems) } else { Ok(sizes) }
    }
}

impl Growth {
    /// The grown model's `config.json`. Everything that depends on the size of a head, rotary positions
    /// among it, stays: the number of heads grows, not their size. The norms' epsilon stays too, since the
    /// mean of squares over copies is that over one.
    pub fn config(&self, original: &Value) -> Value {
        let mut config = original.clone();
        let Some(map) = config.as_object_mut() else { return config };
        let (n, m, sizes) = (self.words().width, self.words().intermediate, &self.sizes);
        map.insert("hidden_size".into(), json!(sizes.hidden * n));
        map.insert("num_attention_heads".into(), json!(sizes.heads * n));
        map.insert("num_key_value_heads".into(), json!(sizes.kv_heads * n));
        map.insert("intermediate_size".into(), json!(sizes.intermediate * m));
        map.insert("head_dim".into(), json!(sizes.head_dim));
        match self.head {
            Head::Own => {}
            Head::Norm(_) => {
                map.insert("tie_word_embeddings".into(), json!(true));
                plain_llama(map);
            }
            Head::Untied(_) => {
                map.insert("tie_word_embeddings".into(), json!(false));
                plain_llama(map);
            }
            Head::Factor(_, factor) => {
                map.insert("tie_word_embeddings".into(), json!(true));
                map.insert("model_type".into(), json!("hyperllama"));
                map.insert("architectures".into(), json!(["HyperLlamaForCausalLM"]));
                map.insert("lm_head_normalization_factor".into(), json!(factor));
            }
        }
        config
    }
}

/// Without a factor a hyperllama is a llama, and needs no code of its own.
fn plain_llama(map: &mut Map<String, Value>) {
    map.shift_remove("lm_head_normalization_factor");
    if map.get("model_type").is_some_and(|t| t == "hyperllama") {
        map.insert("model_type".into(), json!("llama"));
        map.insert("architectures".into(), json!(["LlamaForCausalLM"]));
        map.shift_remove("auto_map");
    }
}
