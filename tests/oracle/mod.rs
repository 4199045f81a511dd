//! The methods once more, in f64 and written for reading: whole tensors, plain loops, sorts.
//!
//! Formulas: the papers named in each `src/method/*.rs`, and mergekit's conventions (a zero sum votes
//! positive, L1 rescaling, what a zero divisor becomes).
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod agents;
pub mod beside;
pub mod decoder;
pub mod hypercloning;
pub mod rows;
pub mod sce;
pub mod sphere;
pub mod vocabulary;

pub fn linear(models: &[Vec<f64>], weights: &[f64], normalize: bool) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    elementwise(models, |x| {
        let sum: f64 = x.iter().zip(weights).map(|(x, w)| w * x).sum();
        if normalize { sum / total } else { sum }
    })
}

pub fn slerp(a: &[f64], b: &[f64], t: f64) -> Vec<f64> {
    let dot = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    let length = |x: &[f64]| match dot(x, x).sqrt() {
        n if n > 1e-8 => n,
        _ => 1.0,
    };
    let cosine = dot(a, b) / (length(a) * length(b));
    let (s, r) = if cosine.abs() > 0.9995 {
        (1.0 - t, t)
    } else {
        let angle = cosine.acos();
        (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin())
    };
    a.iter().zip(b).map(|(a, b)| s * a + r * b).collect()
}

/// What is done to one difference before it is weighted.
pub enum Drop {
    Nothing,
    /// Keeps exactly this many: the largest, among equals the earlier.
    Smallest(usize),
    /// Drops so many of the largest, keeps so many after them, drops the rest, then rescales.
    Band {
        top: usize,
        keep: usize,
        rescale: Rescale,
    },
    /// DELLA's chances by rank in rows, then rescales.
    Ranked {
        key: u64,
        width: usize,
        density: f64,
        epsilon: f64,
        rescale: Rescale,
    },
    /// Keeps where true, then rescales.
    Mask(Vec<bool>, Rescale),
}

#[derive(Clone, Copy)]
pub enum Rescale {
    None,
    L1,
    By(f64),
}

pub struct Deltas {
    pub weights: Vec<f64>,
    pub drops: Vec<Drop>,
    pub elect: bool,
    pub normalize: bool,
    pub lambda: f64,
}

impl Deltas {
    pub fn merge(&self, base: &[f64], models: &[Vec<f64>]) -> Vec<f64> {
        self.merge_with(base, models, 0.0)
    }

    /// Where factors are not exact in f32, a vote that nearly cancels out may go either way there; of the
    /// two results the one near `got`.
    pub fn merge_near(&self, base: &[f64], models: &[Vec<f64>], got: &[f64]) -> Vec<f64> {
        let [a, b] = [1e-6, -1e-6].map(|bias| self.merge_with(base, models, bias));
        let nearer =
            |((a, b), got): ((f64, f64), &f64)| if (a - got).abs() < (b - got).abs() { a } else { b };
        a.into_iter().zip(b).zip(got).map(nearer).collect()
    }

    /// `bias`: what votes get on top, as a share of their size.
    fn merge_with(&self, base: &[f64], models: &[Vec<f64>], bias: f64) -> Vec<f64> {
        let deltas: Vec<Vec<f64>> = models
            .iter()
            .zip(&self.drops)
            // Differences are f32 numbers: magnitudes must tie exactly where they do there.
            .map(|(x, drop)| thin(x.iter().zip(base).map(|(x, b)| f64::from((x - b) as f32)).collect(), drop))
            .collect();
        let mixed = elementwise(&deltas, |d| self.mix(d, bias));
        base.iter().zip(mixed).map(|(b, m)| b + self.lambda * m).collect()
    }

    fn mix(&self, deltas: &[f64], bias: f64) -> f64 {
        let weighted: Vec<f64> = deltas.iter().zip(&self.weights).map(|(d, w)| d * w).collect();
        let size: f64 = weighted.iter().map(|x| x.abs()).sum();
        let total: f64 = weighted.iter().sum::<f64>() + bias * size;
        let sign = if total >= 0.0 { 1.0 } else { -1.0 };
        let takes_part = |x: f64| !self.elect || x * sign > 0.0;
        let sum: f64 = weighted.iter().filter(|x| takes_part(**x)).sum();
        let divisor: f64 =
            self.weights.iter().zip(&weighted).filter(|(_, x)| takes_part(**x)).map(|(w, _)| w).sum();
        let nothing = if self.elect { divisor == 0.0 } else { divisor.abs() < 1e-8 };
        if self.normalize && !nothing { sum / divisor } else { sum }
    }
}

fn thin(mut delta: Vec<f64>, drop: &Drop) -> Vec<f64> {
    match drop {
        Drop::Nothing => delta,
        Drop::Smallest(keep) => {
            by_size(&delta)[*keep..].iter().for_each(|i| delta[*i] = 0.0);
            delta
        }
        Drop::Band { top, keep, rescale } => {
            let order = by_size(&delta);
            let mut mask = vec![false; delta.len()];
            order[*top..top + keep].iter().for_each(|i| mask[*i] = true);
            masked(delta, &mask, *rescale)
        }
        Drop::Ranked { key, width, density, epsilon, rescale } => {
            let chances: Vec<f64> =
                delta.chunks(*width).flat_map(|row| chances(row, *density, *epsilon)).collect();
            let mask: Vec<bool> = chances.iter().enumerate().map(|(i, p)| uniform(*key, i) < *p).collect();
            masked(delta, &mask, *rescale)
        }
        Drop::Mask(mask, rescale) => masked(delta, mask, *rescale),
    }
}

/// Indices, the largest magnitude first, among equals the lower index.
fn by_size(x: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|a, b| x[*b].abs().total_cmp(&x[*a].abs()).then(a.cmp(b)));
    order
}

/// The chance of each element of a row to stay: DELLA's.
fn chances(row: &[f64], density: f64, epsilon: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|a, b| row[*a].abs().total_cmp(&row[*b].abs()).then(a.cmp(b)));
    let mut chances = vec![density; row.len()];
    if row.len() > 1 {
        for (rank, i) in order.into_iter().enumerate() {
            chances[i] = density - epsilon + 2.0 * epsilon * rank as f64 / (row.len() - 1) as f64;
        }
    }
    chances
}

fn masked(mut delta: Vec<f64>, keep: &[bool], rescale: Rescale) -> Vec<f64> {
    let size = |d: &[f64]| d.iter().map(|x| x.abs()).sum::<f64>();
    let before = size(&delta);
    delta.iter_mut().zip(keep).filter(|(_, keep)| !**keep).for_each(|(x, _)| *x = 0.0);
    let after = size(&delta);
    let factor = match rescale {
        Rescale::L1 if before >= 1e-7 && after >= 1e-7 => before / after,
        Rescale::By(factor) => factor,
        _ => 1.0,
    };
    delta.iter_mut().for_each(|x| *x *= factor);
    delta
}

fn elementwise(models: &[Vec<f64>], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let len = models.first().map_or(0, Vec::len);
    (0..len).map(|i| f(&models.iter().map(|m| m[i]).collect::<Vec<_>>())).collect()
}

/// One Philox4x32-10 block, straight from the paper's definition.
pub fn philox(counter: u64, key: u64) -> [u32; 4] {
    let mut c = [counter as u32, (counter >> 32) as u32, 0, 0];
    let mut k = [key as u32, (key >> 32) as u32];
    for _ in 0..10 {
        let a = 0xD251_1F53_u64 * u64::from(c[0]);
        let b = 0xCD9E_8D57_u64 * u64::from(c[2]);
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// Which elements a random drop keeps.
pub fn mask(key: u64, len: usize, density: f64) -> Vec<bool> {
    (0..len).map(|i| uniform(key, i) < density).collect()
}

/// The draw of an element, in [0, 1).
fn uniform(key: u64, i: usize) -> f64 {
    f64::from(philox(i as u64 / 4, key)[i % 4] >> 8) / f64::from(1 << 24)
}
