//! The Karcher mean of the models' directions on the sphere, times the mean of their lengths: the point
//! with the least sum of squared angles to all of them, found by stepping along the mean tangent.

use super::gram::{Combination, Extent, Gram, Weigh};
use super::param::{MAX_ITER, TOL};
use super::{AnyOperator, Base, Invalid, Method, Setup, Vectors};

pub(super) static METHOD: Method = Method {
    name: "karcher",
    summary: "mean on the sphere with the least squared angles to all models",
    paper: "Karcher 1977, Riemannian center of mass, CPAM 30; for models: arXiv 2603.04972",
    base: Base::Joins,
    inputs: 1..=usize::MAX,
    params: &[&MAX_ITER, &TOL],
    prepare,
};

#[derive(Debug)]
struct Karcher {
    steps: usize,
    tol: f64,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let steps = setup.global.number(&MAX_ITER)? as usize;
    let tol = setup.global.number(&TOL)?;
    Ok(Combination::boxed(Vectors::Models, Extent::Tensor, Karcher { steps, tol }))
}

impl Weigh for Karcher {
    fn weigh(&self, gram: &Gram) -> Vec<f64> {
        if gram.len() < 2 {
            return vec![1.0];
        }
        let lengths = gram.lengths();
        // Too short to have a direction; their lengths still count.
        let directed: Vec<usize> = (0..gram.len()).filter(|i| lengths[*i] > self.tol).collect();
        let Some(first) = directed.first() else { return vec![0.0; gram.len()] };
        let share = 1.0 / directed.len() as f64;
        let unit = |i: usize| 1.0 / lengths[i];

        // The mean as coefficients of the models.
        let mut mean = vec![0.0; gram.len()];
        directed.iter().for_each(|i| mean[*i] = share * unit(*i));
        if gram.length_of(&mean) < self.tol {
            mean = vec![0.0; gram.len()];
            mean[*first] = unit(*first);
        }
        rescale(&mut mean, gram);
        for _ in 0..self.steps {
            let mut tangent = vec![0.0; gram.len()];
            for i in &directed {
                let cosine = (gram.along(*i, &mean) * unit(*i)).clamp(-1.0, 1.0);
                let angle = cosine.acos();
                if angle < self.tol || angle.sin() == 0.0 {
                    continue;
                }
                let pull = share * angle / angle.sin();
                tangent[*i] += pull * unit(*i);
                tangent.iter_mut().zip(&mean).for_each(|(t, m)| *t -= pull * cosine * m);
            }
            let step = gram.length_of(&tangent);
            if step < self.tol.max(f64::MIN_POSITIVE) {
                break;
            }
            for (m, t) in mean.iter_mut().zip(&tangent) {
                *m = step.cos() * *m + step.sin() * t / step;
            }
            rescale(&mut mean, gram);
        }
        let length = lengths.iter().sum::<f64>() / lengths.len() as f64;
        mean.into_iter().map(|m| m * length).collect()
    }
}

/// To length 1; what has no length stays.
fn rescale(mean: &mut [f64], gram: &Gram) {
    let length = gram.length_of(mean);
    if length > 0.0 {
        mean.iter_mut().for_each(|m| *m /= length);
    }
}
