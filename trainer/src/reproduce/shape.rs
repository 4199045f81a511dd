//! The shape of a study's models, and what a step of training one costs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A small model of the paper's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Width between layers.
    pub hidden: u64,
    /// Width within the gated MLP.
    pub intermediate: u64,
    /// Blocks.
    pub layers: u64,
    /// Query heads.
    pub heads: u64,
    /// Key-value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Tokens of the tokenizer that is trained for the study.
    pub vocab: u64,
}

impl ModelShape {
    /// The shape of this model grown by a factor.
    #[must_use]
    pub fn grown(self, factor: u32) -> Self {
        let by = u64::from(factor);
        Self {
            hidden: self.hidden * by,
            intermediate: self.intermediate * by,
            heads: self.heads * by,
            kv_heads: self.kv_heads * by,
            ..self
        }
    }

    /// `config.json` of a model with random weights: the paper's kind, down to `gelu` and tied embeddings.
    pub fn config(self) -> Map<String, Value> {
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "gelu",
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": true,
            "attention_bias": false,
            "mlp_bias": false,
            "initializer_range": 1.0 / (self.hidden as f64).sqrt(),
            "bos_token_id": 0,
            "eos_token_id": 0,
        });
        match config {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// Parameters in matrix products, the head included; norms and the look-up of embeddings cost nothing.
    pub fn multiplied(self) -> u64 {
        let attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads);
        self.vocab * self.hidden + self.layers * (attention + 3 * self.hidden * self.intermediate)
    }

    /// Floating-point operations of training on one token: six for each parameter that is multiplied (Kaplan et al.
    /// 2020, section 2.1). Products of queries and keys are left out, as they are there: [`Self::attention_flops`].
    pub fn flops_per_token(self) -> f64 {
        6.0 * self.multiplied() as f64
    }

    /// Floating-point operations of training that attention to `seen` tokens adds for one token: a product with the
    /// keys and one with the values, each once forward and twice backward.
    pub fn attention_flops(self, seen: f64) -> f64 {
        12.0 * (self.layers * self.heads * self.head_dim) as f64 * seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::Scale;

    /// The paper's own sizes: 572 to 180 million parameters, 3.18 times the operations.
    #[test]
    fn the_papers_models_have_the_papers_sizes() {
        let small = ModelShape {
            hidden: 576,
            intermediate: 1536,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            vocab: 128_256,
        };
        let norms = |s: ModelShape| (2 * s.layers + 1) * s.hidden;
        assert_eq!(small.multiplied() + norms(small), 180_078_912);
        let large = small.grown(2);
        assert_eq!(large.multiplied() + norms(large), 572_494_464);
        let ratio = large.flops_per_token() / small.flops_per_token();
        assert!((ratio - 3.18).abs() < 0.005, "{ratio}");
    }

    /// Worked out by hand: 315,392 and 999,424 parameters that are multiplied, 12 · 4 · 64 · 128 = 393,216 operations of
    /// attention to a whole sequence in the small model, twice that in the large one.
    #[test]
    fn attention_costs_a_small_model_more() {
        let mini = Scale::Mini.study(None);
        assert_eq!((mini.model.multiplied(), mini.model.grown(2).multiplied()), (315_392, 999_424));
        assert_eq!(mini.model.attention_flops(128.0), 393_216.0);
        let all = (6.0 * 999_424.0 + 786_432.0) / (6.0 * 315_392.0 + 393_216.0);
        assert!((mini.flop_ratio_with_attention(1.0) - all).abs() < 1e-12 && (all - 2.97).abs() < 0.005);
        let causal = mini.flop_ratio_with_attention(0.5);
        assert!(all < causal && causal < mini.flop_ratio(), "{causal}");
    }
}
