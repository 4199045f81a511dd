//! Methods that decide element by element what of a model to take: nearswap, ram, arcee_fusion.

pub fn nearswap(base: &[f64], other: &[f64], t: f64) -> Vec<f64> {
    let swap = |(a, b): (&f64, &f64)| {
        let w = (t / (a - b).abs().max(1e-6)).clamp(0.0, 1.0);
        w * b + (1.0 - w) * a
    };
    base.iter().zip(other).map(swap).collect()
}

/// RAM; with `plus` (r and α) RAM+.
pub fn ram(base: &[f64], models: &[Vec<f64>], epsilon: f64, plus: Option<(f64, f64)>) -> Vec<f64> {
    // Differences and the threshold are f32 numbers.
    let delta = |m: &Vec<f64>, i: usize| f64::from((m[i] - base[i]) as f32);
    let changes = |m: &Vec<f64>, i: usize| delta(m, i).abs() > f64::from(epsilon as f32);
    let changers = |i: usize| models.iter().filter(|m| changes(m, i)).count();
    let factor = |m: &Vec<f64>| {
        let Some((r, alpha)) = plus else { return 1.0 };
        let shared = (0..base.len()).filter(|i| changes(m, *i) && changers(*i) > 1).count() as f64;
        let alone = (0..base.len()).filter(|i| changes(m, *i) && changers(*i) == 1).count() as f64;
        1.0 + r * (shared / alone.max(1e-5)).min(alpha)
    };
    let factors: Vec<f64> = models.iter().map(factor).collect();
    let merged = |i: usize| {
        let n = changers(i);
        let parts = models.iter().zip(&factors).filter(|(m, _)| changes(m, i));
        let sum: f64 =
            parts.map(|(m, f)| if n == 1 { delta(m, i) * f } else { delta(m, i) / n as f64 }).sum();
        base[i] + sum
    };
    (0..base.len()).map(merged).collect()
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::MIN, f64::max);
    let total: f64 = x.iter().map(|x| (x - largest).exp()).sum();
    x.iter().map(|x| (x - largest).exp() / total + 1e-8).collect()
}

pub fn arcee_fusion(base: &[f64], model: &[f64], width: usize) -> Vec<f64> {
    let mut scores: Vec<f32> = Vec::new();
    for (x, y) in model.chunks(width).zip(base.chunks(width)) {
        let (p, q) = (softmax(x), softmax(y));
        let divergence: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        // Scores are f32 numbers.
        scores.extend(x.iter().zip(y).map(|(x, y)| ((x - y) as f32).abs() * divergence.max(0.0) as f32));
    }
    let mut sorted = scores.clone();
    sorted.sort_by(f32::total_cmp);
    let quartile = |n: usize| sorted[(sorted.len() - 1) * n / 4];
    let bound = quartile(2) + 1.5 * (quartile(3) - quartile(1));
    let take = |((b, m), score): ((&f64, &f64), &f32)| if *score >= bound { *m } else { *b };
    base.iter().zip(model).zip(&scores).map(take).collect()
}
