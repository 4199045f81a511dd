//! Coefficients of a projection's rows by least squares: those with which what is merged puts out what each model does.

use growmerge::device::cpu::{Cpu, LANES_OF_ROWS};
use rayon::prelude::*;

/// Tokens whose products are added up in f32.
const EXACT: usize = 256;

/// Sums over tokens of what goes into a projection in the merged model, `x`, and in a language's own, `y`: each
/// `[width, width]`.
pub(super) struct Moments {
    /// `x · xᵀ`.
    merged: Vec<f64>,
    /// `x · yᵀ`.
    between: Vec<f64>,
    /// `y · yᵀ`.
    own: Vec<f64>,
}

impl Moments {
    /// Of `[tokens, width]` each.
    pub(super) fn of(merged: &[f32], own: &[f32], width: usize) -> Self {
        let products = |x: &[f32], y: &[f32]| {
            let mut sum = vec![0f64; width * width];
            for (x, y) in x.chunks(EXACT * width).zip(y.chunks(EXACT * width)) {
                let mut part = vec![0f32; width * width];
                for (x, y) in x.chunks_exact(width).zip(y.chunks_exact(width)) {
                    for (x, part) in x.iter().zip(part.chunks_exact_mut(width)) {
                        part.iter_mut().zip(y).for_each(|(part, y)| *part += x * y);
                    }
                }
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += f64::from(part));
            }
            sum
        };
        Self { merged: products(merged, merged), between: products(merged, own), own: products(own, own) }
    }
}

/// For each expert a coefficient for each row of a projection. `weights` are those of the base and of the experts, `seen`
/// what each of them sees of its language, which counts by the inverse of the squares of what it puts out.
pub(super) fn coefficients(
    weights: &[Vec<f64>],
    seen: &[Moments],
    width: usize,
    ridge: f64,
) -> Vec<Vec<f32>> {
    let Some((base, experts)) = weights.split_first() else { return Vec::new() };
    let share = |(weights, seen): (&Vec<f64>, &Moments)| {
        let squares: f64 = weights.chunks_exact(width).map(|w| dot(w, &times(&seen.own, w))).sum();
        if squares > 0.0 { 1.0 / squares } else { 0.0 }
    };
    let shares: Vec<f64> = weights.iter().zip(seen).map(share).collect();
    let mut merged = vec![0f64; width * width];
    for (share, seen) in shares.iter().zip(seen) {
        merged.iter_mut().zip(&seen.merged).for_each(|(sum, x)| *sum += share * x);
    }
    let solve = |row: usize| {
        let at = |weights: &[f64]| weights[row * width..][..width].to_vec();
        let base = at(base);
        let minus = |x: &mut Vec<f64>, y: &[f64]| x.iter_mut().zip(y).for_each(|(x, y)| *x -= y);
        // What is missing from the base's output, against `x`.
        let mut missing = vec![0f64; width];
        for ((share, seen), weights) in shares.iter().zip(seen).zip(weights) {
            let output = times(&seen.between, &at(weights));
            missing.iter_mut().zip(output).for_each(|(sum, x)| *sum += share * x);
        }
        minus(&mut missing, &times(&merged, &base));
        let mut differences: Vec<Vec<f64>> = experts.iter().map(|e| at(e)).collect();
        differences.iter_mut().for_each(|d| minus(d, &base));
        let outputs: Vec<Vec<f64>> = differences.iter().map(|d| times(&merged, d)).collect();
        let matrix = outputs.iter().flat_map(|o| differences.iter().map(|d| dot(o, d))).collect();
        ridged(matrix, differences.iter().map(|d| dot(d, &missing)).collect(), ridge)
    };
    let rows: Vec<Vec<f64>> = (0..base.len() / width.max(1)).into_par_iter().map(solve).collect();
    (0..experts.len()).map(|i| rows.iter().map(|row| row[i] as f32).collect()).collect()
}

/// The solution of `(A + r) c = b + r / n`, with `r` the ridge's share of the mean of A's diagonal: near the mean where
/// little says otherwise, and the mean where nothing does.
fn ridged(mut matrix: Vec<f64>, right: Vec<f64>, ridge: f64) -> Vec<f64> {
    let (cpu, count) = (Cpu::new(), right.len());
    let mean = 1.0 / count as f64;
    let ridge = ridge * mean * matrix.iter().step_by(count + 1).sum::<f64>();
    matrix.iter_mut().step_by(count + 1).for_each(|a| *a += ridge);
    let mut solution: Vec<_> = right.iter().map(|b| [b + ridge * mean; LANES_OF_ROWS]).collect();
    if cpu.cholesky(&mut matrix, count, &|| true).is_err() {
        return vec![mean; count];
    }
    cpu.solve(&matrix, &mut solution);
    solution.iter().map(|x| x[0]).collect()
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn times(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(x.len()).map(|row| dot(row, x)).collect()
}

#[cfg(test)]
mod tests {
    use growmerge::mix::mix;

    use super::*;

    const ROWS: usize = 3;
    const WIDTH: usize = 24;
    const EXPERTS: usize = 3;
    const TOKENS: usize = 300;

    fn random(len: usize, seed: u64) -> Vec<f64> {
        (0..len as u64).map(|i| mix(mix(seed) ^ i) as f64 / u64::MAX as f64 - 0.5).collect()
    }

    /// Tokens' values, as the decoder has them.
    fn tokens(seed: u64) -> Vec<f32> {
        random(TOKENS * WIDTH, seed).into_iter().map(|x| x as f32).collect()
    }

    /// Those of a base and of experts. Each row has columns of its own, so that there is an input for every output.
    fn weights() -> Vec<Vec<f64>> {
        let mut all: Vec<Vec<f64>> = (0..=EXPERTS).map(|i| random(ROWS * WIDTH, i as u64)).collect();
        for (i, w) in all.iter_mut().flat_map(|w| w.iter_mut().enumerate()) {
            *w *= f64::from(u8::from((i % WIDTH) * ROWS / WIDTH == i / WIDTH));
        }
        all
    }

    fn merged(weights: &[Vec<f64>], row: usize, of: &dyn Fn(usize, usize) -> f64) -> Vec<f64> {
        let at = |i: usize, column: usize| weights[i][row * WIDTH + column];
        let sum =
            |column| (0..EXPERTS).map(|e| of(e, row) * (at(e + 1, column) - at(0, column))).sum::<f64>();
        (0..WIDTH).map(|column| at(0, column) + sum(column)).collect()
    }

    fn assert_close(found: &[Vec<f32>], wanted: &dyn Fn(usize, usize) -> f64) {
        assert_eq!((found.len(), found[0].len()), (EXPERTS, ROWS));
        for (expert, rows) in found.iter().enumerate() {
            for (row, c) in rows.iter().enumerate() {
                let wanted = wanted(expert, row);
                assert!((f64::from(*c) - wanted).abs() < 1e-3, "{expert}, row {row}: {c}, not {wanted}");
            }
        }
    }

    #[test]
    fn coefficients_that_outputs_were_made_with_are_found() {
        let weights = weights();
        let known = |expert: usize, row: usize| 0.7 * expert as f64 - 0.4 * row as f64 + 0.3;
        let seen = |language: usize| {
            let x = tokens(100 + language as u64);
            let mut own = Vec::new();
            for x in x.chunks_exact(WIDTH) {
                let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                // Each row's own columns get what makes the row put out what the merged one does.
                let mut y = vec![0f64; WIDTH];
                for row in 0..ROWS {
                    let w = &weights[language][row * WIDTH..][..WIDTH];
                    let scale = dot(&merged(&weights, row, &known), &x) / dot(w, w);
                    y.iter_mut().zip(w).for_each(|(y, w)| *y += scale * w);
                }
                own.extend(y.into_iter().map(|y| y as f32));
            }
            Moments::of(&x, &own, WIDTH)
        };
        let seen: Vec<Moments> = (0..=EXPERTS).map(seen).collect();
        assert_close(&coefficients(&weights, &seen, WIDTH, 1e-9), &known);
        assert_close(&coefficients(&weights, &seen, WIDTH, 1e9), &|_, _| 1.0 / EXPERTS as f64);
    }

    #[test]
    fn a_language_alone_gets_its_own_model_and_a_row_that_nobody_changed_the_mean() {
        let mut weights = weights();
        for i in 0..EXPERTS {
            let base = weights[0][..WIDTH].to_vec();
            weights[i + 1][..WIDTH].copy_from_slice(&base);
        }
        for alone in 0..=EXPERTS {
            let of = |language| {
                let x = if language == alone { tokens(7) } else { Vec::new() };
                Moments::of(&x, &x, WIDTH)
            };
            let seen: Vec<Moments> = (0..=EXPERTS).map(of).collect();
            let own = |expert, row| match row {
                0 => 1.0 / EXPERTS as f64,
                _ => f64::from(u8::from(expert + 1 == alone)),
            };
            assert_close(&coefficients(&weights, &seen, WIDTH, 1e-9), &own);
        }
    }
}
