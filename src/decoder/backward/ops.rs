//! The loops between the matrix products, backwards. As in [`crate::decoder::ops`], plain Rust for vectors.

use pulp::Arch;

use crate::decoder::config::Activation;
use crate::decoder::ops::{erfc, exp, max, mul_add, sum, tanh, wide, wide_fused};

/// Of one row of a norm: the factor on the weighted `d_y`, and that on `x`.
///
/// With `r = 1 / √(mean(x²) + eps)` and `y = r · x ∘ w`: `d_x = r · w ∘ d_y − x · r³ · mean(x ∘ w ∘ d_y)`.
#[inline(always)]
fn norm_factors(x: &[f32], weight: &[f32], eps: f32, d_y: &[f32]) -> (f32, f32) {
    let r = 1.0 / (sum(x, |x| x * x) / x.len() as f32 + eps).sqrt();
    let mut lanes = [0.0; 16];
    let (x_groups, x_tail) = x.as_chunks::<16>();
    let (w_groups, w_tail) = weight.as_chunks::<16>();
    let (d_groups, d_tail) = d_y.as_chunks::<16>();
    for ((x, w), d) in x_groups.iter().zip(w_groups).zip(d_groups) {
        for (lane, ((x, w), d)) in lanes.iter_mut().zip(x.iter().zip(w).zip(d)) {
            *lane += x * w * d;
        }
    }
    let tail: f32 = x_tail.iter().zip(w_tail).zip(d_tail).map(|((x, w), d)| x * w * d).sum();
    let mean = (lanes.iter().sum::<f32>() + tail) / x.len() as f32;
    (r, r * r * r * mean)
}

/// `d_x += …`, `d_weight += …` of a norm of rows of `weight.len()` elements.
pub(super) fn rms_norm(
    arch: Arch,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    d_y: &[f32],
    d_x: &mut [f32],
    d_weight: &mut [f32],
) {
    let width = weight.len();
    wide(
        arch,
        #[inline(always)]
        || {
            let rows = x.chunks_exact(width).zip(d_y.chunks_exact(width)).zip(d_x.chunks_exact_mut(width));
            for ((x, d_y), d_x) in rows {
                let (r, c) = norm_factors(x, weight, eps, d_y);
                for ((((d_x, d_w), x), d_y), w) in
                    d_x.iter_mut().zip(d_weight.iter_mut()).zip(x).zip(d_y).zip(weight)
                {
                    *d_x += r * w * d_y - c * x;
                    *d_w += d_y * x * r;
                }
            }
        },
    );
}

/// [`rms_norm`] with `d_x` in the place of `d_y`.
pub(super) fn rms_norm_inside(
    arch: Arch,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    d: &mut [f32],
    d_weight: &mut [f32],
) {
    let width = weight.len();
    wide(
        arch,
        #[inline(always)]
        || {
            for (x, d) in x.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
                let (r, c) = norm_factors(x, weight, eps, d);
                for (((d, d_w), x), w) in d.iter_mut().zip(d_weight.iter_mut()).zip(x).zip(weight) {
                    *d_w += *d * x * r;
                    *d = r * w * *d - c * x;
                }
            }
        },
    );
}

/// An activation's value and slope.
#[inline(always)]
fn silu<const FUSED: bool>(x: f32) -> (f32, f32) {
    let s = 1.0 / (1.0 + exp::<FUSED>(-x));
    (x * s, s * mul_add::<FUSED>(x, 1.0 - s, 1.0))
}

#[inline(always)]
fn gelu<const FUSED: bool>(x: f32) -> (f32, f32) {
    const DENSITY: f32 = 0.398_942_3; // 1/√(2π)
    let below = 0.5 * erfc::<FUSED>(-x * std::f32::consts::FRAC_1_SQRT_2);
    let density = DENSITY * exp::<FUSED>(-0.5 * x * x);
    (x * below, mul_add::<FUSED>(x, density, below))
}

#[inline(always)]
fn gelu_tanh<const FUSED: bool>(x: f32) -> (f32, f32) {
    const ROOT: f32 = 0.797_884_6; // √(2/π)
    let t = tanh::<FUSED>(ROOT * (x + 0.044_715 * x * x * x));
    let inner = ROOT * (1.0 + 3.0 * 0.044_715 * x * x);
    (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
}

/// Of `activation(gate) · up`.
pub(super) fn gated(
    arch: Arch,
    activation: Activation,
    gate: &[f32],
    up: &[f32],
    d: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    macro_rules! each {
        ($f:ident) => {
            wide_fused!(
                arch,
                for ((((d_gate, d_up), g), u), d) in
                    d_gate.iter_mut().zip(d_up.iter_mut()).zip(gate).zip(up).zip(d)
                {
                    let (value, slope) = $f::<FUSED>(*g);
                    *d_gate = d * u * slope;
                    *d_up = d * value;
                }
            )
        };
    }
    match activation {
        Activation::Silu => each!(silu),
        Activation::Gelu => each!(gelu),
        Activation::GeluTanh => each!(gelu_tanh),
    }
}

/// `d` becomes the gradient before a cap: `y = cap · tanh(x / cap)` has the slope `1 − (y / cap)²`.
pub(super) fn soft_cap(arch: Arch, y: &[f32], cap: f32, d: &mut [f32]) {
    let per = 1.0 / cap;
    wide(
        arch,
        #[inline(always)]
        || {
            d.iter_mut().zip(y).for_each(|(d, y)| {
                let part = y * per;
                *d *= 1.0 - part * part;
            });
        },
    );
}

/// `d` becomes the gradient before a softmax of rows of `width`: `p ∘ (d − Σ p ∘ d)`.
pub(super) fn softmax(arch: Arch, p: &[f32], d: &mut [f32], width: usize) {
    wide(
        arch,
        #[inline(always)]
        || {
            for (p, d) in p.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
                let mut lanes = [0.0; 16];
                let (p_groups, p_tail) = p.as_chunks::<16>();
                let (d_groups, d_tail) = d.as_chunks::<16>();
                for (p, d) in p_groups.iter().zip(d_groups) {
                    for (lane, (p, d)) in lanes.iter_mut().zip(p.iter().zip(d)) {
                        *lane += p * d;
                    }
                }
                let tail: f32 = p_tail.iter().zip(d_tail).map(|(p, d)| p * d).sum();
                let mean = lanes.iter().sum::<f32>() + tail;
                d.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - mean));
            }
        },
    );
}

/// Cross entropy of rows of logits, one for each target and factor: the sum in nats, each of them at the end of `losses`;
/// each row becomes the gradient of its scaled loss, `scale · (softmax − 1 at the target)`.
pub(super) fn cross_entropy(
    arch: Arch,
    logits: &mut [f32],
    targets: impl ExactSizeIterator<Item = (u32, f32)> + Clone,
    losses: &mut Vec<f64>,
) -> f64 {
    let width = logits.len() / targets.len().max(1);
    let mut total = 0.0;
    wide_fused!(
        arch,
        for (row, (target, scale)) in logits.chunks_exact_mut(width).zip(targets.clone()) {
            let largest = max(row);
            let own = row[target as usize];
            row.iter_mut().for_each(|x| *x = exp::<FUSED>(*x - largest));
            let all = sum(row, |x| x);
            let loss = f64::from(largest - own) + f64::from(all).ln();
            losses.push(loss);
            total += loss;
            let factor = scale / all;
            row.iter_mut().for_each(|x| *x *= factor);
            row[target as usize] -= scale;
        }
    );
    total
}

/// What a distribution takes of a token's place in the gradient of its logits, all `[vocab]`:
/// `d += factor · (onehot(token) − distribution)`.
pub(super) fn towards(arch: Arch, factor: f32, token: u32, distribution: &[f32], d: &mut [f32]) {
    d[token as usize] += factor;
    wide(
        arch,
        #[inline(always)]
        || d.iter_mut().zip(distribution).for_each(|(d, p)| *d -= factor * p),
    );
}
