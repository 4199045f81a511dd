//! Merges with what stands beside the models, straight from the papers' formulas.

/// `Σ uᵢ·xᵢ / Σ uᵢ` of each element, with `uᵢ = wᵢ·max(fᵢ / dᵢ, floor)^exponent`.
pub fn fisher(
    models: &[Vec<f64>],
    importance: &[Vec<f64>],
    weights: &[f64],
    divisors: &[f64],
    floor: f64,
    exponent: f64,
) -> Vec<f64> {
    let element = |j: usize| {
        let u: Vec<f64> = (0..models.len())
            .map(|i| weights[i] * (importance[i][j] / divisors[i]).max(floor).powf(exponent))
            .collect();
        let total: f64 = u.iter().sum();
        u.iter().zip(models).map(|(u, x)| u * x[j]).sum::<f64>() / total
    };
    (0..models[0].len()).map(element).collect()
}

/// RegMean: `W = W₁·G₁ + … ` times the inverse of `G₁ + …`, by Gauss's elimination with pivots.
pub fn regmean(
    models: &[Vec<f64>],
    grams: &[Vec<f64>],
    weights: &[f64],
    shrinkage: f64,
    width: usize,
) -> Vec<f64> {
    let shrunk = |i: usize, r: usize, c: usize| {
        weights[i] * grams[i][r * width + c] * if r == c { 1.0 } else { shrinkage }
    };
    let rows = models[0].len() / width;
    // [sum | right side of each row]
    let mut system = vec![vec![0.0; width + rows]; width];
    for (r, line) in system.iter_mut().enumerate() {
        for (i, model) in models.iter().enumerate() {
            for c in 0..width {
                line[c] += shrunk(i, r, c);
                for row in 0..rows {
                    line[width + row] += shrunk(i, r, c) * model[row * width + c];
                }
            }
        }
    }
    for k in 0..width {
        let pivot = (k..width).max_by(|a, b| system[*a][k].abs().total_cmp(&system[*b][k].abs())).unwrap();
        system.swap(k, pivot);
        let (above, below) = system.split_at_mut(k + 1);
        for line in below {
            let factor = line[k] / above[k][k];
            (k..width + rows).for_each(|c| line[c] -= factor * above[k][c]);
        }
    }
    let mut out = vec![0.0; rows * width];
    for row in 0..rows {
        for k in (0..width).rev() {
            let known: f64 = (k + 1..width).map(|c| system[k][c] * out[row * width + c]).sum();
            out[row * width + k] = (system[k][width + row] - known) / system[k][k];
        }
    }
    out
}
