//! How much is tried, read and measured: the same for every contender.

use serde::Serialize;

use crate::reproduce::Scale;

/// What each contender is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Effort {
    /// Settings that a contender may try for each goal, if it has as many.
    pub tries: usize,
    /// Bytes of text a language that merges may be fitted on.
    pub fit_bytes: usize,
    /// Tokens a language on which settings are chosen.
    pub choose_tokens: usize,
    /// Tokens a language that are reported on.
    pub test_tokens: usize,
    /// Steps in which coefficients are learned.
    pub learned_steps: u64,
    /// Steps of training that go into a round of training and merging again, for each language.
    pub round_steps: u64,
}

impl Effort {
    /// That of a scale.
    pub fn of(scale: Scale) -> Self {
        // With an eighth of the text for choosing, no more than 100 KB a language are read in all.
        let whole = Self {
            tries: 24,
            fit_bytes: 84_000,
            choose_tokens: 4000,
            test_tokens: usize::MAX,
            learned_steps: 400,
            round_steps: 150,
        };
        match scale {
            Scale::Smoke => Self {
                tries: 4,
                fit_bytes: 8000,
                choose_tokens: 200,
                test_tokens: 400,
                learned_steps: 8,
                round_steps: 5,
            },
            Scale::Mini | Scale::Small => whole,
        }
    }
}
