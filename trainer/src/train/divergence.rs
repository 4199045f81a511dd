//! When to give up.

use super::trainer::Step;

/// How far a smoothed loss may rise above both the first one and a blind guess, in nats.
const MARGIN: f64 = 2.0;

/// Notices a loss that runs away.
#[derive(Debug)]
pub(super) struct Divergence {
    blind: f64,
    first: Option<f64>,
    smoothed: f64,
}

impl Divergence {
    /// Of a model with so many tokens to guess from.
    pub(super) fn new(vocab: usize) -> Self {
        Self { blind: (vocab as f64).ln(), first: None, smoothed: 0.0 }
    }

    /// What is wrong with a step, if anything.
    pub(super) fn notice(&mut self, step: Step) -> Option<String> {
        if !step.loss.is_finite() {
            return Some("the loss is not a number".into());
        }
        if !step.gradient_norm.is_finite() {
            return Some("the gradient is not a number".into());
        }
        // A model may begin far above a blind guess: one that reads a new language does.
        let first = *self.first.get_or_insert(step.loss);
        self.smoothed = if self.smoothed == 0.0 { step.loss } else { 0.9 * self.smoothed + 0.1 * step.loss };
        let bound = first.max(self.blind) + MARGIN;
        (self.smoothed > bound)
            .then(|| format!("the loss rose to {:.2} nats, from {first:.2} at the start", self.smoothed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_may_begin_high_but_not_run_away() {
        let step = |loss: f64| Step { loss, gradient_norm: 1.0 };
        let mut divergence = Divergence::new(2048);
        assert!((0..100).all(|i| divergence.notice(step(22.0 - f64::from(i) * 0.1)).is_none()));
        let steps = (0..100).find_map(|i| divergence.notice(step(30.0)).map(|why| (i, why)));
        let (after, why) = steps.unwrap();
        assert!(after > 3 && why.contains("from 22.00"), "one bad batch is none: {after}, {why}");
        assert!(Divergence::new(8).notice(step(f64::NAN)).is_some());
        let infinite = Step { loss: 1.0, gradient_norm: f64::INFINITY };
        assert!(Divergence::new(8).notice(infinite).is_some());
    }
}
