//! The loops between the matrix products, in the machine's widest vectors.
//!
//! Each is plain Rust that the compiler turns into vectors; `pulp` picks the instruction set at run time.
//! Sums go into [`LANES`] interleaved lanes, so that they can be vectors too.

use pulp::Arch;

use super::config::Activation;

/// Partial sums, as wide as the widest vectors.
const LANES: usize = 16;

/// Runs a loop in the machine's widest vectors.
///
/// Takes `FnMut` although it calls once: the shim that makes an `FnOnce` of a closure is not inlined, and
/// what is not inlined here is compiled for the narrowest vectors.
pub(crate) fn wide(arch: Arch, body: impl FnMut()) {
    struct Wide<F>(F);
    impl<F: FnMut()> pulp::WithSimd for Wide<F> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(mut self, _: S) {
            (self.0)();
        }
    }
    arch.dispatch(Wide(body));
}

/// [`wide`] for loops with polynomials: `FUSED` says in them whether the machine multiplies and adds in one
/// instruction. Where it does not, the library's replacement would be far slower than two.
macro_rules! wide_fused {
    ($arch:expr, $body:expr) => {
        match $arch {
            pulp::Arch::Scalar => $crate::decoder::ops::wide(
                $arch,
                #[inline(always)]
                || {
                    const FUSED: bool = false;
                    $body
                },
            ),
            _ => $crate::decoder::ops::wide(
                $arch,
                #[inline(always)]
                || {
                    const FUSED: bool = true;
                    $body
                },
            ),
        }
    };
}
pub(super) use wide_fused;

#[inline(always)]
pub(super) fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `eˣ` within two units in the last place; below -87 it stays at 1.6e-38 instead of falling to 0.
///
/// Cody and Waite's reduction to `|r| ≤ ln 2 / 2`, then the polynomial of the Cephes library's `expf`.
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it leaves a whole number in the low bits
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = mul_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FUSED>(n, -LN2_LOW, mul_add::<FUSED>(n, -LN2_HIGH, x));
    let p = polynomial::<FUSED, 6>(
        [0.5, 1.666_666_5e-1, 4.166_579_6e-2, 8.333_452e-3, 1.398_2e-3, 1.987_569_2e-4],
        r,
    );
    let y = mul_add::<FUSED>(p, r * r, r) + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    y * f32::from_bits(power)
}

/// Coefficients from the constant one up, by Horner's rule.
#[inline(always)]
fn polynomial<const FUSED: bool, const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    coefficients.into_iter().rev().fold(0.0, |sum, c| mul_add::<FUSED>(sum, x, c))
}

#[inline(always)]
pub(super) fn tanh<const FUSED: bool>(x: f32) -> f32 {
    1.0 - 2.0 / (exp::<FUSED>(2.0 * x) + 1.0)
}

/// The complementary error function, relative error below 2e-7 (Press et al., Numerical Recipes, 6.2).
#[inline(always)]
pub(super) fn erfc<const FUSED: bool>(x: f32) -> f32 {
    const TERMS: [f32; 10] = [
        -1.265_512_2,
        1.000_023_7,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_204,
        1.488_515_9,
        -0.822_152_23,
        0.170_872_77,
    ];
    let z = x.abs();
    let t = 1.0 / mul_add::<FUSED>(0.5, z, 1.0);
    let tail = t * exp::<FUSED>(mul_add::<FUSED>(-z, z, polynomial::<FUSED, 10>(TERMS, t)));
    if x < 0.0 { 2.0 - tail } else { tail }
}

#[inline(always)]
fn silu<const FUSED: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FUSED>(-x))
}

#[inline(always)]
fn gelu<const FUSED: bool>(x: f32) -> f32 {
    0.5 * x * erfc::<FUSED>(-x * std::f32::consts::FRAC_1_SQRT_2)
}

#[inline(always)]
fn gelu_tanh<const FUSED: bool>(x: f32) -> f32 {
    const ROOT: f32 = 0.797_884_6; // √(2/π)
    0.5 * x * (1.0 + tanh::<FUSED>(ROOT * (x + 0.044_715 * x * x * x)))
}

#[inline(always)]
pub(super) fn sum(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (groups, tail) = x.as_chunks::<LANES>();
    for group in groups {
        for (lane, x) in lanes.iter_mut().zip(group) {
            *lane += of(*x);
        }
    }
    lanes.iter().sum::<f32>() + tail.iter().map(|x| of(*x)).sum::<f32>()
}

#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (groups, tail) = x.as_chunks::<LANES>();
    for group in groups {
        for (lane, x) in lanes.iter_mut().zip(group) {
            *lane = larger(*lane, *x);
        }
    }
    lanes.iter().chain(tail).fold(f32::NEG_INFINITY, |a, b| larger(a, *b))
}

#[inline(always)]
fn norm_row(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let scale = 1.0 / (sum(x, |x| x * x) / x.len() as f32 + eps).sqrt();
    for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
        *o = x * scale * w;
    }
}

/// Root-mean-square norm of each row of `weight.len()` elements (Zhang and Sennrich 2019).
pub(super) fn rms_norm(arch: Arch, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    wide(
        arch,
        #[inline(always)]
        || {
            let width = weight.len();
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                norm_row(x, weight, eps, out);
            }
        },
    );
}

/// [`rms_norm`] in place.
pub(super) fn rms_norm_inside(arch: Arch, x: &mut [f32], weight: &[f32], eps: f32) {
    wide(
        arch,
        #[inline(always)]
        || {
            for row in x.chunks_exact_mut(weight.len()) {
                let scale = 1.0 / (sum(row, |x| x * x) / row.len() as f32 + eps).sqrt();
                row.iter_mut().zip(weight).for_each(|(x, w)| *x = *x * scale * w);
            }
        },
    );
}

/// `x += y`.
pub(super) fn add(arch: Arch, x: &mut [f32], y: &[f32]) {
    wide(
        arch,
        #[inline(always)]
        || x.iter_mut().zip(y).for_each(|(x, y)| *x += y),
    );
}

/// `gate = activation(gate) · up`.
pub(super) fn gated(arch: Arch, activation: Activation, gate: &mut [f32], up: &[f32]) {
    macro_rules! each {
        ($f:ident) => {
            wide_fused!(arch, gate.iter_mut().zip(up).for_each(|(g, u)| *g = $f::<FUSED>(*g) * u))
        };
    }
    match activation {
        Activation::Silu => each!(silu),
        Activation::Gelu => each!(gelu),
        Activation::GeluTanh => each!(gelu_tanh),
    }
}

/// `x = cap · tanh(x / cap)`.
pub(super) fn soft_cap(arch: Arch, x: &mut [f32], cap: f32) {
    wide_fused!(arch, x.iter_mut().for_each(|x| *x = cap * tanh::<FUSED>(*x / cap)));
}

/// Softmax of the elements of `row` within `seen`; all others become 0.
#[inline(always)]
fn softmax_row<const FUSED: bool>(row: &mut [f32], seen: std::ops::Range<usize>) {
    row[..seen.start].fill(0.0);
    row[seen.end..].fill(0.0);
    let row = &mut row[seen];
    let largest = max(row);
    row.iter_mut().for_each(|x| *x = exp::<FUSED>(*x - largest));
    let scale = 1.0 / sum(row, |x| x);
    row.iter_mut().for_each(|x| *x *= scale);
}

/// Softmax of the rows of a block of scores, `width` each: row `i` sees the columns `seen(i)`.
pub(super) fn masked_softmax(
    arch: Arch,
    scores: &mut [f32],
    width: usize,
    seen: impl Fn(usize) -> std::ops::Range<usize>,
) {
    wide_fused!(
        arch,
        for (i, row) in scores.chunks_exact_mut(width).enumerate() {
            softmax_row::<FUSED>(row, seen(i));
        }
    );
}

/// The logarithm of a sum of exponentials, found a part at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogSum {
    largest: f32,
    /// Of `exp(x - largest)`.
    sum: f64,
}

impl LogSum {
    pub(super) const EMPTY: Self = Self { largest: f32::NEG_INFINITY, sum: 0.0 };

    pub(super) fn value(self) -> f64 {
        f64::from(self.largest) + self.sum.ln()
    }
}

/// Adds `width` logits to the sum of each row.
pub(super) fn add_logits(arch: Arch, logits: &[f32], width: usize, sums: &mut [LogSum]) {
    wide_fused!(
        arch,
        for (row, total) in logits.chunks_exact(width).zip(sums.iter_mut()) {
            let top = max(row);
            let largest = if top > total.largest { top } else { total.largest };
            let kept = if total.sum == 0.0 { 0.0 } else { f64::from(total.largest - largest).exp() };
            let part = f64::from(sum(row, |x| exp::<FUSED>(x - largest)));
            *total = LogSum { largest, sum: total.sum * kept + part };
        }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(from: f64, to: f64) -> impl Iterator<Item = f64> {
        (0..=20_000).map(move |i| from + (to - from) * f64::from(i) / 20_000.0)
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        exp_is_right::<true>();
        exp_is_right::<false>();
    }

    fn exp_is_right<const FUSED: bool>() {
        for x in grid(-86.9, 87.9) {
            let (got, want) = (f64::from(exp::<FUSED>(x as f32)), f64::from(x as f32).exp());
            assert!((got / want - 1.0).abs() < 2.4e-7, "exp({x}) = {got}, not {want}");
        }
        assert!(exp::<FUSED>(-1e30) < 2e-38);
        assert!(exp::<FUSED>(1e30).is_finite());
    }

    /// Φ by its Taylor series, in f64: exact to 1e-14 for |x| < 6.
    fn normal_cdf(x: f64) -> f64 {
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while term.abs() > 1e-18 {
            term *= -x * x / 2.0 / n;
            sum += term / (2.0 * n + 1.0);
            n += 1.0;
        }
        0.5 + sum / (2.0 * std::f64::consts::PI).sqrt()
    }

    #[test]
    fn activations_follow_their_definitions() {
        activations_are_right::<true>();
        activations_are_right::<false>();
    }

    fn activations_are_right<const FUSED: bool>() {
        for x in grid(-5.5, 5.5) {
            let x32 = x as f32;
            let x = f64::from(x32);
            let close = |got: f32, want: f64, what: &str| {
                assert!((f64::from(got) - want).abs() < 1e-6, "{what}({x}) = {got}, not {want}");
            };
            close(silu::<FUSED>(x32), x / (1.0 + (-x).exp()), "silu");
            close(gelu::<FUSED>(x32), x * normal_cdf(x), "gelu");
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            close(gelu_tanh::<FUSED>(x32), 0.5 * x * (1.0 + inner.tanh()), "gelu_tanh");
            close(tanh::<FUSED>(x32), x.tanh(), "tanh");
        }
    }

    #[test]
    fn softmax_sees_its_range_only() {
        let mut scores: Vec<f32> = (0..40).map(|i| (i % 7) as f32).collect();
        masked_softmax(Arch::new(), &mut scores, 20, |i| 3..5 + 12 * i);
        for (i, row) in scores.chunks(20).enumerate() {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            let seen = 3..5 + 12 * i;
            assert!(row.iter().enumerate().all(|(j, x)| (*x > 0.0) == seen.contains(&j)), "{row:?}");
        }
    }

    #[test]
    fn a_log_sum_does_not_depend_on_its_parts() {
        let logits: Vec<f32> = (0..100).map(|i| ((i * 37) % 101) as f32 * 0.3 - 10.0).collect();
        let want = logits.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
        for part in [1, 7, 33, 100] {
            let mut total = [LogSum::EMPTY];
            logits.chunks(part).for_each(|c| add_logits(Arch::new(), c, c.len(), &mut total));
            assert!((total[0].value() - want).abs() < 1e-6, "{part}: {} for {want}", total[0].value());
        }
    }
}
