//! Means weighted by importance, in f64 and rounded once.

use super::softmax::{exp, ln};
use crate::device::{Importance, Power};

/// Elements that are worked on together.
const WIDTH: usize = 32;

#[inline(always)]
pub(in crate::device) fn mean_by_importance(
    x: &[&[f32]],
    importance: &[&[f32]],
    by: &Importance,
    out: &mut [f32],
) {
    match by.power {
        Power::Zero => mean(x, importance, by, out, |_| 1.0),
        Power::Root => mean(x, importance, by, out, f64::sqrt),
        Power::One => mean(x, importance, by, out, |f| f),
        // A denormal has no logarithm here, and is nothing beside any other.
        Power::Any(e) => mean(x, importance, by, out, |f| {
            let power = exp_of_any(e * ln(if f < 1e-300 { 1e-300 } else { f }));
            if f < 1e-300 { 0.0 } else { power }
        }),
    }
}

/// `eˣ`, held within what f64 has.
#[inline(always)]
fn exp_of_any(x: f64) -> f64 {
    exp(if x > 700.0 { 700.0 } else { x })
}

#[inline(always)]
fn mean(
    x: &[&[f32]],
    importance: &[&[f32]],
    by: &Importance,
    out: &mut [f32],
    power: impl Fn(f64) -> f64 + Copy,
) {
    let whole = out.len() / WIDTH * WIDTH;
    let (groups, tail) = out.split_at_mut(whole);
    for (i, out) in groups.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        group::<WIDTH>(x, importance, by, i * WIDTH, out, power);
    }
    for (i, out) in tail.as_chunks_mut::<1>().0.iter_mut().enumerate() {
        group::<1>(x, importance, by, whole + i, out, power);
    }
}

#[inline(always)]
fn group<const N: usize>(
    x: &[&[f32]],
    importance: &[&[f32]],
    by: &Importance,
    at: usize,
    out: &mut [f32; N],
    power: impl Fn(f64) -> f64,
) {
    let (mut sum, mut total) = ([0f64; N], [0f64; N]);
    // What holds where nothing matters to any model.
    let (mut plain, mut weights) = ([0f64; N], 0f64);
    for ((x, importance), model) in x.iter().zip(importance).zip(&by.models) {
        let part = |x: &&[f32]| x.get(at..).and_then(<[f32]>::first_chunk::<N>).copied().unwrap_or([0.0; N]);
        let (x, importance) = (part(x), part(importance));
        for j in 0..N {
            let relative = f64::from(importance[j]) / model.divisor;
            let held = if relative > by.floor { relative } else { by.floor };
            let weight = model.weight * power(held);
            sum[j] += weight * f64::from(x[j]);
            total[j] += weight;
            plain[j] += model.weight * f64::from(x[j]);
        }
        weights += model.weight;
    }
    for j in 0..N {
        let mean = if total[j] > 0.0 { sum[j] / total[j] } else { plain[j] / weights };
        out[j] = mean as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::ModelImportance;

    #[test]
    fn powers_are_those_of_the_library() {
        let x = [[1.0f32, 4.0, -2.0].as_slice(), &[3.0, 8.0, 5.0]];
        let importance = [[2.0f32, 0.0, 1e-30].as_slice(), &[7.0, 0.0, 1e-12]];
        let models = vec![
            ModelImportance { weight: 0.5, divisor: 2.0 },
            ModelImportance { weight: 1.5, divisor: 0.25 },
        ];
        for (exponent, floor) in [(0.0, 0.0), (0.5, 1e-3), (1.0, 0.0), (0.7, 1e-3), (2.0, 0.0), (7.9, 1e-300)]
        {
            let by = Importance { models: models.clone(), floor, power: Power::of(exponent) };
            let mut out = [0.0; 3];
            mean_by_importance(&x, &importance, &by, &mut out);
            for j in 0..3 {
                let weight = |i: usize| {
                    let relative = (f64::from(importance[i][j]) / models[i].divisor).max(floor);
                    models[i].weight * relative.powf(exponent)
                };
                let (u, v) = (weight(0), weight(1));
                let (u, v) = if u + v == 0.0 { (0.5, 1.5) } else { (u, v) };
                let want = (u * f64::from(x[0][j]) + v * f64::from(x[1][j])) / (u + v);
                assert!(
                    (f64::from(out[j]) - want).abs() < 1e-6 * want.abs(),
                    "{exponent} {j}: {} {want}",
                    out[j]
                );
            }
        }
    }
}
