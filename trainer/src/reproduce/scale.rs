//! How large a study is: every number that decides one, as data that is printed at the start and kept with the results.

use serde::{Deserialize, Serialize};

use super::shape::ModelShape;

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
    pub model: ModelShape,
    /// Factor of hidden and intermediate width, of heads and of key-value heads.
    pub growth: u32,
    /// Signal-to-noise ratio in decibels of the noise that breaks the symmetry of a grown model; without one, none does.
    pub noise_snr: Option<f64>,
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
    /// Which merges there are.
    pub merges: Merges,
    /// What is measured.
    pub texts: Amounts,
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

/// Which merges there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merges {
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
        let mini = ModelShape {
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
            noise_snr: Some(10.0),
            sequence: 128,
            batch: 16,
            steps: Steps { seed: 1200, english: 300, language: 240 },
            learning_rate: 3e-3,
            replay: 0.02,
            max_epochs: 6.0,
            merges: Merges { sizes: vec![2, 3, 4, 5], lambdas },
            texts: Amounts { test_tokens: 3000, valid_tokens: 1200 },
        };
        match self {
            Self::Mini => whole,
            Self::Smoke => Study {
                model: ModelShape {
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
                merges: Merges { sizes: vec![2, 5], lambdas: vec![0.35, 1.0, 2.0] },
                texts: Amounts { test_tokens: 400, valid_tokens: 200 },
                ..whole
            },
            Self::Small => Study {
                model: ModelShape {
                    hidden: 128,
                    intermediate: 352,
                    layers: 6,
                    head_dim: 32,
                    vocab: 4096,
                    ..mini
                },
                sequence: 256,
                batch: 32,
                steps: Steps { seed: 440, english: 110, language: 240 },
                texts: Amounts { test_tokens: 8000, valid_tokens: 2000 },
                ..whole
            },
        }
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
        let of = |model: ModelShape| model.flops_per_token() + model.attention_flops(seen);
        of(self.model.grown(self.growth)) / of(self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_prints_what_it_is_and_tries_the_papers_lambda() {
        for scale in [Scale::Smoke, Scale::Mini, Scale::Small] {
            let study = scale.study(None);
            let printed = serde_yaml::to_string(&study).unwrap();
            assert_eq!(serde_yaml::from_str::<Study>(&printed).unwrap(), study);
            let inner = &study.merges.lambdas[1..study.merges.lambdas.len() - 1];
            assert!(inner.contains(&1.0) && study.merges.lambdas.is_sorted() && study.seeds.len() >= 2);
            assert!(study.merges.sizes.contains(&5), "joint training is compared with the merge of all five");
        }
        assert_eq!(Scale::Mini.study(Some(4)).seeds, [1, 2, 3, 4]);
    }
}
