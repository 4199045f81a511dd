//! SCE: select by variance, calculate weights from squares, erase by sign.

pub fn sce(base: &[f64], models: &[Vec<f64>], select: f64) -> Vec<f64> {
    let len = base.len();
    // Differences, variances and votes are f32 numbers.
    let mut deltas: Vec<Vec<f64>> =
        models.iter().map(|m| m.iter().zip(base).map(|(m, b)| f64::from((m - b) as f32)).collect()).collect();
    let variance = |i: usize| {
        let mean = deltas.iter().map(|d| d[i]).sum::<f64>() / deltas.len() as f64;
        (deltas.iter().map(|d| (d[i] - mean) * (d[i] - mean)).sum::<f64>() / deltas.len() as f64) as f32
    };
    let variances: Vec<f32> = (0..len).map(variance).collect();
    if select < 1.0 {
        let differing = variances.iter().filter(|v| **v != 0.0).count();
        let mut order: Vec<usize> = (0..len).collect();
        order.sort_by(|a, b| variances[*b].total_cmp(&variances[*a]).then(a.cmp(b)));
        for i in &order[(select * differing as f64) as usize..] {
            deltas.iter_mut().for_each(|d| d[*i] = 0.0);
        }
    }
    let means: Vec<f64> = deltas.iter().map(|d| d.iter().map(|x| x * x).sum::<f64>() / len as f64).collect();
    let total: f64 = means.iter().sum();
    let weight = |m: &f64| if total < 1e-6 { 1.0 / means.len() as f64 } else { m / total };
    let weights: Vec<f64> = means.iter().map(weight).collect();
    let merged = |i: usize| {
        let positive = deltas.iter().fold(0f32, |sum, d| sum + d[i] as f32) >= 0.0;
        let agrees = |d: &&Vec<f64>| if positive { d[i] > 0.0 } else { d[i] < 0.0 };
        let agreeing = || deltas.iter().zip(&weights).filter(|(d, _)| agrees(d));
        let sum: f64 = agreeing().map(|(d, w)| d[i] * w).sum();
        base[i] + sum / agreeing().map(|(_, w)| w).sum::<f64>().max(1e-6)
    };
    (0..len).map(merged).collect()
}
