//! How large a study is: every number that decides one, as data that is printed at the start and kept with the results.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A study of a known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// A few minutes on two cores: shows that everything runs; its numbers mean nothing.
    Smoke,
    /// Below an hour on two cores.
    Mini,
    /// About ten hours on two cores, by the speed of `mini`: it was not run.
    Small,
}

/// Everything that decides a study, except for the texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// What it is called.
    pub scale: Scale,
    /// The whole study is done once with each.
    pub seeds: Vec<u64>,
    /// The small model; the large one is grown from it.
    pub model: Shape,
    /// Factor of hidden and intermediate width, of heads and of key-value heads.
    pub growth: u32,
    /// Signal-to-noise ratio in decibels of the noise that breaks the symmetry of a grown model.
    pub noise_snr: f64,
    /// Tokens of a sequence that are predicted.
    pub sequence: usize,
    /// Sequences of a step.
    pub batch: usize,
    /// Lengths of runs.
    pub steps: Steps,
    /// The highest learning rate of every run, of both sizes.
    pub learning_rate: f64,
    /// Share of English in each run on other languages.
    pub replay: f64,
    /// How often a text may be read in a run.
    pub max_epochs: f64,
    /// The merges.
    pub grid: Grid,
    /// What is measured.
    pub texts: Amounts,
}

/// A small model of the paper's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
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

/// Lengths of runs, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// Of the English model that all others come from.
    pub seed: u64,
    /// Of the rest of English pretraining, once at each size.
    pub english: u64,
    /// Of a language; fewer where `max_epochs` does not allow as many. The joint model has their sum.
    pub language: u64,
}

/// The merges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Subsets of the five languages with so many members.
    pub sizes: Vec<usize>,
    /// Values tried for methods that scale the merged difference, in ascending order; 1, the paper's setting, is among
    /// them and neither the first nor the last.
    pub lambdas: Vec<f64>,
}

/// How much of each language's text is measured: sentences of together so many tokens, spread over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amounts {
    /// Of `test`, which every number of the report is measured on.
    pub test_tokens: usize,
    /// Of `valid`, which only chooses lambda.
    pub valid_tokens: usize,
}

impl Scale {
    /// The study of this size, with so many seeds if the number is given.
    pub fn study(self, seeds: Option<u64>) -> Study {
        let mini = Shape {
            hidden: 64,
            intermediate: 176,
            layers: 4,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            vocab: 2048,
        };
        // Closer together below 1, where sign election and random drops have their best.
        let lambdas = vec![0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0];
        let whole = Study {
            scale: self,
            seeds: (1..=seeds.unwrap_or(2)).collect(),
            model: mini,
            growth: 2,
            noise_snr: 10.0,
            sequence: 128,
            batch: 16,
            steps: Steps { seed: 1200, english: 300, language: 240 },
            learning_rate: 3e-3,
            replay: 0.02,
            max_epochs: 6.0,
            grid: Grid { sizes: vec![2, 3, 4, 5], lambdas },
            texts: Amounts { test_tokens: 3000, valid_tokens: 1200 },
        };
        match self {
            Self::Mini => whole,
            Self::Smoke => Study {
                model: Shape {
                    hidden: 32,
                    intermediate: 88,
                    layers: 2,
                    heads: 2,
                    kv_heads: 1,
                    vocab: 512,
                    ..mini
                },
                sequence: 64,
                steps: Steps { seed: 80, english: 20, language: 20 },
                grid: Grid { sizes: vec![2, 5], lambdas: vec![0.35, 1.0, 2.0] },
                texts: Amounts { test_tokens: 400, valid_tokens: 200 },
                ..whole
            },
            Self::Small => Study {
                model: Shape { hidden: 128, intermediate: 352, layers: 6, head_dim: 32, vocab: 4096, ..mini },
                sequence: 256,
                batch: 32,
                steps: Steps { seed: 440, english: 110, language: 240 },
                texts: Amounts { test_tokens: 8000, valid_tokens: 2000 },
                ..whole
            },
        }
    }
}

impl Shape {
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

impl Study {
    /// Tokens of one step.
    pub fn tokens_per_step(&self) -> u64 {
        (self.sequence * self.batch) as u64
    }

    /// How many times the small model's operations a step of the grown one costs.
    pub fn flop_ratio(&self) -> f64 {
        self.model.grown(self.growth).flops_per_token() / self.model.flops_per_token()
    }

    /// The same with attention: a token attends to `share` of its sequence, half of it on average if no product with a
    /// later token is computed.
    pub fn flop_ratio_with_attention(&self, share: f64) -> f64 {
        let seen = share * self.sequence as f64;
        let of = |model: Shape| model.flops_per_token() + model.attention_flops(seen);
        of(self.model.grown(self.growth)) / of(self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's own sizes: 572 to 180 million parameters, 3.18 times the operations.
    #[test]
    fn the_papers_models_have_the_papers_sizes() {
        let small = Shape {
            hidden: 576,
            intermediate: 1536,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            vocab: 128_256,
        };
        let norms = |s: Shape| (2 * s.layers + 1) * s.hidden;
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

    #[test]
    fn every_scale_prints_what_it_is_and_tries_the_papers_lambda() {
        for scale in [Scale::Smoke, Scale::Mini, Scale::Small] {
            let study = scale.study(None);
            let printed = serde_yaml::to_string(&study).unwrap();
            assert_eq!(serde_yaml::from_str::<Study>(&printed).unwrap(), study);
            let inner = &study.grid.lambdas[1..study.grid.lambdas.len() - 1];
            assert!(inner.contains(&1.0) && study.grid.lambdas.is_sorted() && study.seeds.len() >= 2);
            assert!(study.grid.sizes.contains(&5), "joint training is compared with the merge of all five");
        }
        assert_eq!(Scale::Mini.study(Some(4)).seeds, [1, 2, 3, 4]);
    }
}
