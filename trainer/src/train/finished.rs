//! `training.json`: says that a run is complete, and what came of it.

use serde::{Deserialize, Serialize};

use super::config::Run;
use super::metrics::Line;
use super::model::Model;
use super::validation::Scores;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Of description, first weights, tokenizer and texts.
    pub identity: String,
    /// Steps in all.
    pub steps: u64,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// Elements of all tensors.
    pub parameters: usize,
    /// Mean loss over the last tenth of the steps.
    pub loss: f64,
    /// Time of the steps since the last continuation.
    pub seconds: f64,
    /// At the end.
    pub validation: Scores,
    /// At the end; see [`asymmetry`](super::asymmetry).
    pub asymmetry: Option<f64>,
}

impl Finished {
    /// Of a run whose metrics are complete: all but the time, so that it does not matter how often it was stopped.
    pub(super) fn new(identity: String, run: &Run, model: &Model, metrics: &[Line], seconds: f64) -> Self {
        let losses: Vec<f64> = metrics
            .iter()
            .filter_map(|line| match line {
                Line::Step { loss, .. } => Some(*loss),
                Line::Measured { .. } => None,
            })
            .collect();
        let tail = &losses[losses.len() - losses.len().div_ceil(10)..];
        let measured = metrics.iter().rev().find_map(|line| match line {
            Line::Measured { validation, asymmetry, .. } => Some((validation.clone(), *asymmetry)),
            Line::Step { .. } => None,
        });
        let (validation, asymmetry) = measured.unwrap_or_default();
        Self {
            identity,
            steps: run.steps,
            tokens: run.tokens(run.steps),
            parameters: model.values().len(),
            loss: tail.iter().sum::<f64>() / tail.len().max(1) as f64,
            seconds,
            validation,
            asymmetry,
        }
    }
}
