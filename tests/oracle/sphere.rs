//! Methods on the sphere, with whole vectors where `src/method/gram.rs` has coefficients.

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn length(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

fn scaled(x: &[f64], factor: f64) -> Vec<f64> {
    x.iter().map(|x| x * factor).collect()
}

fn add(sum: &mut [f64], factor: f64, x: &[f64]) {
    sum.iter_mut().zip(x).for_each(|(s, x)| *s += factor * x);
}

fn minus(x: &[f64], y: &[f64]) -> Vec<f64> {
    // Differences are f32 numbers.
    x.iter().zip(y).map(|(x, y)| f64::from((x - y) as f32)).collect()
}

/// A method of plain vectors, applied to differences from a base.
pub fn on_differences(
    base: &[f64],
    models: &[Vec<f64>],
    merge: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) -> Vec<f64> {
    let mut merged = merge(&models.iter().map(|m| minus(m, base)).collect::<Vec<_>>());
    add(&mut merged, 1.0, base);
    merged
}

/// A method of vectors, applied to each row.
pub fn each_row(models: &[Vec<f64>], width: usize, merge: impl Fn(&[Vec<f64>]) -> Vec<f64>) -> Vec<f64> {
    let row = |r: usize| models.iter().map(|m| m[r * width..(r + 1) * width].to_vec()).collect::<Vec<_>>();
    (0..models[0].len() / width).flat_map(|r| merge(&row(r))).collect()
}

/// A method of vectors, applied to each column.
pub fn each_column(models: &[Vec<f64>], width: usize, merge: impl Fn(&[Vec<f64>]) -> Vec<f64>) -> Vec<f64> {
    let rows = models[0].len() / width;
    let turned = |x: &[f64], width: usize, rows: usize| -> Vec<f64> {
        (0..width).flat_map(|c| (0..rows).map(move |r| r * width + c)).map(|i| x[i]).collect()
    };
    let models: Vec<Vec<f64>> = models.iter().map(|m| turned(m, width, rows)).collect();
    turned(&each_row(&models, rows, merge), rows, width)
}

pub fn nuslerp(vectors: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let (a, b) = (&vectors[0], &vectors[1]);
    let total: f64 = weights.iter().sum();
    let t = if total.abs() < 1e-6 { 0.5 } else { weights[1] / total };
    let cosine = (dot(a, b) / (length(a).max(1e-7) * length(b).max(1e-7))).clamp(-1.0, 1.0);
    let angle = cosine.acos();
    let (p, q) = match 1.0 - cosine * cosine {
        x if x < 1e-7 => (1.0 - t, t),
        _ => (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()),
    };
    let mut sum = scaled(a, p);
    add(&mut sum, q, b);
    sum
}

/// With all its steps: mean, tangent plane, exponential map.
pub fn multislerp(vectors: &[Vec<f64>], weights: &[f64], normalize: bool, eps: f64) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.iter().map(|w| if normalize { w / total } else { *w }).collect();
    let units: Vec<Vec<f64>> = vectors.iter().map(|x| scaled(x, 1.0 / (length(x) + eps))).collect();
    let mut mean = vec![0.0; vectors[0].len()];
    weights.iter().zip(&units).for_each(|(w, u)| add(&mut mean, *w, u));
    if length(&mean) < eps {
        let mut sum = vec![0.0; mean.len()];
        weights.iter().zip(vectors).for_each(|(w, x)| add(&mut sum, *w, x));
        return sum;
    }
    let mean = scaled(&mean, 1.0 / length(&mean));
    let mut tangent = vec![0.0; mean.len()];
    for (w, unit) in weights.iter().zip(&units) {
        add(&mut tangent, *w, unit);
        add(&mut tangent, -w * dot(unit, &mean), &mean);
    }
    let angle = length(&tangent) + eps;
    let mut result = scaled(&mean, angle.cos());
    add(&mut result, angle.sin() / angle, &tangent);
    let size: f64 = weights.iter().zip(vectors).map(|(w, x)| w * length(x)).sum();
    scaled(&result, size)
}

pub fn karcher(vectors: &[Vec<f64>], steps: usize, tol: f64) -> Vec<f64> {
    let n = vectors.len() as f64;
    let units: Vec<Vec<f64>> =
        vectors.iter().filter(|x| length(x) > tol).map(|x| scaled(x, 1.0 / length(x))).collect();
    let mut mean = vec![0.0; vectors[0].len()];
    units.iter().for_each(|u| add(&mut mean, 1.0 / units.len() as f64, u));
    mean = scaled(&mean, 1.0 / length(&mean));
    for _ in 0..steps {
        let mut tangent = vec![0.0; mean.len()];
        for unit in &units {
            let cosine = dot(&mean, unit).clamp(-1.0, 1.0);
            let angle = cosine.acos();
            if angle >= tol {
                let pull = angle / angle.sin() / units.len() as f64;
                add(&mut tangent, pull, unit);
                add(&mut tangent, -pull * cosine, &mean);
            }
        }
        let step = length(&tangent);
        if step < tol {
            break;
        }
        let mut next = scaled(&mean, step.cos());
        add(&mut next, step.sin() / step, &tangent);
        mean = scaled(&next, 1.0 / length(&next));
    }
    scaled(&mean, vectors.iter().map(|x| length(x)).sum::<f64>() / n)
}

/// Of differences from the base.
pub fn model_stock(deltas: &[Vec<f64>]) -> Vec<f64> {
    let n = deltas.len();
    let mut cosines = Vec::new();
    for i in 0..n {
        for j in 0..i {
            let product = (length(&deltas[i]) * length(&deltas[j])).max(1e-6);
            cosines.push((dot(&deltas[i], &deltas[j]) / product).clamp(-1.0, 1.0));
        }
    }
    let cosine = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let denominator = 1.0 + (n as f64 - 1.0) * cosine;
    let t = if denominator.abs() < 1e-6 { 0.0 } else { n as f64 * cosine / denominator };
    let mut sum = vec![0.0; deltas[0].len()];
    deltas.iter().for_each(|d| add(&mut sum, t / n as f64, d));
    sum
}
