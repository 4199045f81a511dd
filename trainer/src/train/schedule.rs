//! The learning rate over time.

use super::config::{Schedule, Shape};

impl Schedule {
    /// Steps of warm-up, and of decay, in a run of `steps`.
    pub fn resolve(&self, steps: u64) -> (u64, u64) {
        let warmup = self.warmup.unwrap_or((steps / 50).max(1)).min(steps);
        let decay = match (self.shape, self.decay) {
            (Shape::Constant, _) => 0,
            (_, Some(decay)) => decay,
            (Shape::Linear, None) => steps / 5,
            (Shape::Cosine, None) => steps - warmup,
        };
        (warmup, decay.min(steps))
    }

    /// The share of the highest learning rate at `step`, counted from 0, of `steps`. The first step of a warm-up
    /// of `w` steps has 1/w, and the last step of a decay over `d` has 1/d, so that no step is wasted on 0.
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        let (warmup, decay) = self.resolve(steps);
        let up = if step < warmup { (step + 1) as f64 / warmup as f64 } else { 1.0 };
        let left = steps.saturating_sub(step);
        let down = if left < decay { left as f64 / decay as f64 } else { 1.0 };
        let down = match self.shape {
            Shape::Constant => 1.0,
            Shape::Linear => down,
            Shape::Cosine => 0.5 - 0.5 * (std::f64::consts::PI * down).cos(),
        };
        up.min(self.floor + (1.0 - self.floor) * down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_stays_and_falls() {
        let schedule = Schedule { warmup: Some(4), decay: Some(5), ..Schedule::default() };
        let factors: Vec<f64> = (0..20).map(|s| schedule.factor(s, 20)).collect();
        assert_eq!(factors[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(factors[13..], [1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]);
    }

    #[test]
    fn half_a_wave_ends_at_its_floor() {
        let schedule = Schedule { warmup: Some(0), shape: Shape::Cosine, floor: 0.1, ..Schedule::default() };
        assert_eq!(schedule.factor(0, 1000), 1.0);
        assert!((schedule.factor(500, 1000) - 0.55).abs() < 1e-12);
        assert!((schedule.factor(999, 1000) - 0.1).abs() < 1e-4);
        let constant = Schedule { warmup: Some(0), shape: Shape::Constant, ..Schedule::default() };
        assert!((0..10).all(|s| constant.factor(s, 10) == 1.0));
    }
}
