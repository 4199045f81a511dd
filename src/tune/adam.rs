//! Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1).

/// Decay of the running mean of gradients: short, as neighbouring steps read different texts and runs have few of them.
const BETA1: f64 = 0.7;
/// Decay of the running mean of their squares.
const BETA2: f64 = 0.99;
const EPSILON: f64 = 1e-8;

/// Moments of every coefficient.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Adam {
    /// Running mean of gradients.
    pub(super) first: Vec<f64>,
    /// Running mean of their squares.
    pub(super) second: Vec<f64>,
    /// Steps taken.
    pub(super) steps: u64,
}

impl Adam {
    /// Before the first step.
    pub(super) fn new(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len], steps: 0 }
    }

    /// One step.
    pub(super) fn step(&mut self, x: &mut [f64], gradients: &[f64], rate: f64) {
        self.steps += 1;
        let power = |beta: f64| 1.0 - beta.powi(self.steps.min(i32::MAX as u64) as i32);
        let (mean, square) = (power(BETA1), power(BETA2));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((x, g), (m, v)) in x.iter_mut().zip(gradients).zip(moments) {
            *m = BETA1 * *m + (1.0 - BETA1) * g;
            *v = BETA2 * *v + (1.0 - BETA2) * g * g;
            *x -= rate * (*m / mean) / ((*v / square).sqrt() + EPSILON);
        }
    }
}

/// Share of the highest learning rate at a step, counted from 0: up in a line, then all of it, in the second half down in a
/// line.
pub(super) fn schedule(step: u64, steps: u64) -> f64 {
    let warmup = (steps / 50).clamp(1, 20);
    let up = (step + 1) as f64 / warmup as f64;
    let down = 2.0 * (1.0 - step as f64 / steps.max(1) as f64);
    up.min(down).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_goes_by_the_sign() {
        let mut adam = Adam::new(3);
        let mut x = [1.0, 2.0, 3.0];
        adam.step(&mut x, &[5.0, -1e-3, 0.0], 0.1);
        for (x, want) in x.iter().zip([0.9, 2.1, 3.0]) {
            assert!((x - want).abs() < 1e-5, "{x} for {want}");
        }
    }

    #[test]
    fn a_quadratic_is_minimised() {
        let (mut adam, mut x) = (Adam::new(2), [3.0, -2.0]);
        for step in 0..400 {
            let gradients = [2.0 * (x[0] - 1.0), 200.0 * (x[1] - 0.5)];
            adam.step(&mut x, &gradients, 0.1 * schedule(step, 400));
        }
        assert!((x[0] - 1.0).abs() < 1e-2 && (x[1] - 0.5).abs() < 1e-2, "{x:?}");
    }

    #[test]
    fn rates_rise_and_fall() {
        assert_eq!(schedule(0, 400), 0.125);
        assert_eq!((schedule(7, 400), schedule(200, 400)), (1.0, 1.0));
        assert!((schedule(300, 400) - 0.5).abs() < 1e-9 && schedule(399, 400) < 0.01);
        assert_eq!(schedule(0, 1), 1.0);
    }
}
