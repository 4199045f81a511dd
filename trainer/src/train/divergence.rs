//! When to give up.

use super::trainer::Step;

/// How far the loss may rise above the best one so far, in nats. Smoothed losses of runs that went well, small
/// models' and large steps' among them, rose by 0.3 at most.
const MARGIN: f64 = 2.0;
/// The share of a step in the smoothed loss.
const SHARE: f64 = 0.1;
/// A mean over fewer sequences may be of one text, easier than the rest of a mixture.
const SEQUENCES: usize = 8;
/// A smaller loss leaves nothing to learn, so that its gradient may be nothing.
const LEARNED: f64 = 1e-6;

/// Notices a loss that runs away.
#[derive(Debug)]
pub(super) struct Divergence {
    /// Steps until the smoothed loss is one of the whole mixture.
    settled: u64,
    seen: u64,
    smoothed: f64,
    /// The lowest smoothed loss.
    best: f64,
}

/// What a step says of the weights that it saw.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// They are good.
    Good,
    /// The batch is hard, or they are no longer good, or too little was seen: steps to come will tell.
    Doubtful,
    /// They are not, for this reason.
    Diverged(String),
}

impl Divergence {
    /// Of steps with so many sequences.
    pub(super) fn new(batch: usize) -> Self {
        let settled = SEQUENCES.div_ceil(batch.max(1)) as u64;
        Self { settled, seen: 0, smoothed: 0.0, best: f64::INFINITY }
    }

    /// Judges a step by those before it.
    pub(super) fn notice(&mut self, step: Step) -> Verdict {
        if !step.loss.is_finite() {
            return Verdict::Diverged("the loss is not a number".into());
        }
        if !step.gradient_norm.is_finite() {
            return Verdict::Diverged("the gradient is not a number".into());
        }
        if step.gradient_norm == 0.0 && step.loss > LEARNED {
            let what = "the gradient is zero, so the model learns nothing more";
            return Verdict::Diverged(format!("{what}, at a loss of {:.2} nats", step.loss));
        }
        self.seen += 1;
        let share = if self.seen <= self.settled { 1.0 / self.seen as f64 } else { SHARE };
        self.smoothed += share * (step.loss - self.smoothed);
        if self.seen >= self.settled {
            self.best = self.best.min(self.smoothed);
        }
        let bound = self.best + MARGIN;
        if self.smoothed > bound {
            let (now, best) = (self.smoothed, self.best);
            Verdict::Diverged(format!("the loss rose to {now:.2} nats, from {best:.2} at best"))
        } else if step.loss > bound || self.seen < self.settled {
            Verdict::Doubtful
        } else {
            Verdict::Good
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(loss: f64) -> Step {
        Step { loss, gradient_norm: 1.0 }
    }

    fn diverges(divergence: &mut Divergence, loss: f64) -> Option<(i32, String)> {
        (0..100).find_map(|i| match divergence.notice(step(loss)) {
            Verdict::Diverged(why) => Some((i, why)),
            _ => None,
        })
    }

    #[test]
    fn a_loss_may_begin_high_but_not_run_away() {
        let mut divergence = Divergence::new(32);
        assert!((0..100).all(|i| divergence.notice(step(22.0 - f64::from(i) * 0.1)) == Verdict::Good));
        assert_eq!(divergence.notice(step(17.0)), Verdict::Doubtful, "one bad batch");
        assert_eq!(divergence.notice(step(12.0)), Verdict::Good);
        let (after, why) = diverges(&mut divergence, 16.0).unwrap();
        assert!(after > 3 && why.contains("rose to 15.") && why.contains("from 13."), "{after}, {why}");
    }

    /// A model that has learned much may not fall back to guessing, which at the beginning of a run from nothing is
    /// a good loss.
    #[test]
    fn a_good_model_that_falls_back_to_guessing_has_diverged() {
        let blind = 2048f64.ln();
        let mut divergence = Divergence::new(8);
        assert_eq!(divergence.notice(step(3.0)), Verdict::Good);
        assert_eq!(divergence.notice(step(blind)), Verdict::Doubtful);
        assert!(diverges(&mut divergence, blind).is_some());
        assert!(diverges(&mut Divergence::new(8), blind).is_none());
    }

    #[test]
    fn a_first_sequence_of_the_easy_text_of_a_mixture_is_no_measure() {
        let mut divergence = Divergence::new(1);
        let mixture = (0..200).map(|i| if i % 4 == 0 { 1.5 } else { 6.0 });
        let verdicts: Vec<Verdict> = mixture.map(|loss| divergence.notice(step(loss))).collect();
        assert!(verdicts.iter().all(|v| !matches!(v, Verdict::Diverged(_))), "{verdicts:?}");
        assert_eq!(verdicts.iter().position(|v| *v == Verdict::Good), Some(7), "{verdicts:?}");
    }

    #[test]
    fn what_is_no_number_or_no_gradient_has_diverged() {
        let judged = |loss, gradient_norm| Divergence::new(8).notice(Step { loss, gradient_norm });
        for (loss, norm) in [(f64::NAN, 1.0), (1.0, f64::INFINITY), (7.6, 0.0)] {
            assert!(matches!(judged(loss, norm), Verdict::Diverged(_)), "{loss}, {norm}");
        }
        assert_eq!(judged(0.0, 0.0), Verdict::Good, "there is nothing left to learn");
    }
}
