//! Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2), and clipping by the norm of all
//! gradients together (Pascanu et al. 2013).

use growmerge::decoder::Layout;
use rayon::prelude::*;

use super::config::{Decay, Optimizer};

/// Elements that are dealt with at once; fixed, so that sums do not depend on threads.
const CHUNK: usize = 16 * 1024;

/// Moments of every weight, and the steps that were taken.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    settings: Optimizer,
    /// Weights up to each end decay by the share beside it; neighbours of one kind are one entry.
    decays: Vec<(usize, f64)>,
    /// Running mean of gradients.
    pub(super) first: Vec<f32>,
    /// Running mean of their squares.
    pub(super) second: Vec<f32>,
    /// Steps taken.
    pub(super) steps: u64,
}

impl AdamW {
    /// Before the first step.
    pub fn new(settings: &Optimizer, layout: &Layout) -> Self {
        let mut decays: Vec<(usize, f64)> = Vec::new();
        for slot in layout.slots() {
            let decays_too = settings.decay == Decay::All || slot.shape.len() > 1;
            let decay = if decays_too { settings.weight_decay } else { 0.0 };
            match decays.last_mut() {
                Some(last) if last.1 == decay => last.0 = slot.range.end,
                _ => decays.push((slot.range.end, decay)),
            }
        }
        let zeros = vec![0.0; layout.len()];
        Self { settings: settings.clone(), decays, first: zeros.clone(), second: zeros, steps: 0 }
    }

    /// Clips the gradients, whose Euclidean norm is `norm`, and takes a step with learning rate `lr`. Weights stay
    /// as they are if the norm is not finite.
    pub fn step(&mut self, weights: &mut [f32], gradients: &[f32], norm: f64, lr: f64) {
        if !norm.is_finite() {
            return;
        }
        // As PyTorch's clip_grad_norm_ has it.
        let scale = self.settings.clip.map_or(1.0, |clip| (clip / (norm + 1e-6)).min(1.0)) as f32;
        self.steps += 1;
        let [beta1, beta2] = self.settings.betas;
        let power = |beta: f64| 1.0 - beta.powi(self.steps.min(i32::MAX as u64) as i32);
        let rate = (lr / power(beta1)) as f32;
        let root = (1.0 / power(beta2).sqrt()) as f32;
        let (b1, b2, eps) = (beta1 as f32, beta2 as f32, self.settings.eps as f32);
        let mut start = 0;
        for (end, decay) in &self.decays {
            let range = start..*end;
            let keep = (1.0 - lr * decay) as f32;
            weights[range.clone()]
                .par_chunks_mut(CHUNK)
                .zip(gradients[range.clone()].par_chunks(CHUNK))
                .zip(self.first[range.clone()].par_chunks_mut(CHUNK))
                .zip(self.second[range].par_chunks_mut(CHUNK))
                .for_each(|(((w, g), m), v)| {
                    for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
                        let g = g * scale;
                        *m += (1.0 - b1) * (g - *m);
                        *v = b2 * *v + (1.0 - b2) * g * g;
                        *w = *w * keep - rate * *m / (v.sqrt() * root + eps);
                    }
                });
            start = *end;
        }
    }
}

/// The Euclidean norm of all elements.
pub(super) fn norm(x: &[f32]) -> f64 {
    let square = |chunk: &[f32]| chunk.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
    let parts: Vec<f64> = x.par_chunks(CHUNK).map(square).collect();
    parts.iter().sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, one weight, in f64.
    #[test]
    fn a_step_follows_the_definition() {
        let layout = Layout::new([("a.bias".to_owned(), vec![2]), ("b.weight".to_owned(), vec![1, 2])]);
        let settings =
            Optimizer { decay: Decay::Matrices, weight_decay: 0.1, clip: Some(0.5), ..Optimizer::default() };
        let mut adam = AdamW::new(&settings, &layout);
        let mut weights = vec![1.0f32, -2.0, 3.0, 0.5];
        let mut want: Vec<f64> = weights.iter().map(|w| f64::from(*w)).collect();
        let (mut m, mut v) = ([0.0f64; 4], [0.0f64; 4]);
        for t in 1..=5 {
            let gradients: Vec<f32> = (0..4).map(|i| ((i * 7 + t * 3) % 5) as f32 - 2.0).collect();
            let norm = norm(&gradients);
            adam.step(&mut weights, &gradients, norm, 0.01);
            let square: f64 = gradients.iter().map(|g| f64::from(g * g)).sum();
            assert!((norm - square.sqrt()).abs() < 1e-9);
            let scale = (0.5 / (square.sqrt() + 1e-6)).min(1.0);
            for i in 0..4 {
                let g = f64::from(gradients[i]) * scale;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.95 * v[i] + 0.05 * g * g;
                let (mean, square) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.95f64.powi(t)));
                let decay = if i < 2 { 0.0 } else { 0.1 };
                want[i] -= 0.01 * decay * want[i];
                want[i] -= 0.01 * mean / (square.sqrt() + 1e-8);
            }
        }
        for (got, want) in weights.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} for {want}");
        }
    }

    #[test]
    fn gradients_that_are_no_numbers_change_nothing() {
        let layout = Layout::new([("a.weight".to_owned(), vec![1, 2])]);
        let mut adam = AdamW::new(&Optimizer::default(), &layout);
        let before = adam.clone();
        let mut weights = vec![1.0, 2.0];
        let gradients = [f32::NAN, 0.0];
        adam.step(&mut weights, &gradients, norm(&gradients), 0.1);
        assert_eq!((weights, adam), (vec![1.0, 2.0], before));
    }
}
