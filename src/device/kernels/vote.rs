//! Several blocks at once: each element of the result depends on one element of every block.
//!
//! Blocks are walked in groups of elements that stay in registers; what is left at the end goes one by one.

use crate::device::{Divisor, Overlap, Vote};

/// Elements that are worked on together.
const WIDTH: usize = 64;

/// The elements `at .. at + N` of every block.
#[inline(always)]
fn parts<'x, const N: usize>(x: &'x [&'x [f32]], at: usize) -> impl Iterator<Item = &'x [f32; N]> + Clone {
    x.iter().filter_map(move |x| x.get(at..).and_then(<[f32]>::first_chunk::<N>))
}

/// Runs a kernel of `N` elements over `out`, first with `N = WIDTH`, then with 1.
macro_rules! groups {
    ($x:expr, $out:expr, $kernel:ident($($arg:expr),*)) => {{
        let (groups, tail) = $out.as_chunks_mut::<WIDTH>();
        let done = groups.len() * WIDTH;
        for (i, out) in groups.iter_mut().enumerate() {
            $kernel(parts::<WIDTH>($x, i * WIDTH), $($arg,)* out);
        }
        for (i, out) in tail.as_chunks_mut::<1>().0.iter_mut().enumerate() {
            $kernel(parts::<1>($x, done + i), $($arg,)* out);
        }
    }};
}

#[inline(always)]
pub(in crate::device) fn elect(
    deltas: &[&[f32]],
    weights: &[f32],
    vote: Vote,
    divisor: Divisor,
    out: &mut [f32],
) {
    let equal = vec![1.0; weights.len()];
    let votes = match vote {
        Vote::Weighted => weights,
        Vote::Plain => &equal,
    };
    groups!(deltas, out, elect_group(votes, weights, divisor));
}

/// It reads the deltas twice, the second time from the cache.
#[inline(always)]
fn elect_group<'x, const N: usize>(
    deltas: impl Iterator<Item = &'x [f32; N]> + Clone,
    votes: &[f32],
    weights: &[f32],
    divisor: Divisor,
    out: &mut [f32; N],
) {
    let (mut total, mut mixed, mut agreeing) = ([0f32; N], [0f32; N], [0f32; N]);
    for (delta, w) in deltas.clone().zip(votes) {
        for j in 0..N {
            total[j] += w * delta[j];
        }
    }
    for (delta, w) in deltas.zip(weights) {
        for j in 0..N {
            let x = w * delta[j];
            // Zero has no sign and agrees with nobody.
            let agrees = if total[j] >= 0.0 { x > 0.0 } else { x < 0.0 };
            mixed[j] += if agrees { x } else { 0.0 };
            agreeing[j] += if agrees { *w } else { 0.0 };
        }
    }
    divide(&mut mixed, &agreeing, divisor);
    *out = mixed;
}

#[inline(always)]
fn divide<const N: usize>(mixed: &mut [f32; N], agreeing: &[f32; N], divisor: Divisor) {
    match divisor {
        Divisor::One => {}
        Divisor::AgreeingWeights => {
            for j in 0..N {
                mixed[j] /= if agreeing[j] == 0.0 { 1.0 } else { agreeing[j] };
            }
        }
        Divisor::AgreeingWeightsFrom(least) => {
            for j in 0..N {
                mixed[j] /= agreeing[j].max(least);
            }
        }
    }
}

#[inline(always)]
pub(in crate::device) fn elect_weighted(
    weighted: &[&[f32]],
    weights: &[&[f32]],
    divisor: Divisor,
    out: &mut [f32],
) {
    let (groups, tail) = out.as_chunks_mut::<WIDTH>();
    let done = groups.len() * WIDTH;
    for (i, out) in groups.iter_mut().enumerate() {
        let at = i * WIDTH;
        elect_weighted_group(parts::<WIDTH>(weighted, at), parts::<WIDTH>(weights, at), divisor, out);
    }
    for (i, out) in tail.as_chunks_mut::<1>().0.iter_mut().enumerate() {
        let at = done + i;
        elect_weighted_group(parts::<1>(weighted, at), parts::<1>(weights, at), divisor, out);
    }
}

#[inline(always)]
fn elect_weighted_group<'x, const N: usize>(
    weighted: impl Iterator<Item = &'x [f32; N]> + Clone,
    weights: impl Iterator<Item = &'x [f32; N]>,
    divisor: Divisor,
    out: &mut [f32; N],
) {
    let (mut total, mut mixed, mut agreeing) = ([0f32; N], [0f32; N], [0f32; N]);
    for x in weighted.clone() {
        for j in 0..N {
            total[j] += x[j];
        }
    }
    for (x, w) in weighted.zip(weights) {
        for j in 0..N {
            let agrees = if total[j] >= 0.0 { x[j] > 0.0 } else { x[j] < 0.0 };
            mixed[j] += if agrees { x[j] } else { 0.0 };
            agreeing[j] += if agrees { w[j] } else { 0.0 };
        }
    }
    divide(&mut mixed, &agreeing, divisor);
    *out = mixed;
}

#[inline(always)]
pub(in crate::device) fn variance(x: &[&[f32]], out: &mut [f32]) {
    groups!(x, out, variance_group());
}

/// By sums of differences from the first value: of equal values both sums are zero, and the first value
/// is never so far from the mean that the subtraction costs more than a few bits.
#[inline(always)]
fn variance_group<'x, const N: usize>(x: impl Iterator<Item = &'x [f32; N]> + Clone, out: &mut [f32; N]) {
    let Some(first) = x.clone().next() else { return };
    let (mut sum, mut squares, mut n) = ([0f64; N], [0f64; N], 0f64);
    for x in x {
        n += 1.0;
        for j in 0..N {
            let off = f64::from(x[j]) - f64::from(first[j]);
            sum[j] += off;
            squares[j] += off * off;
        }
    }
    let share = 1.0 / n;
    for j in 0..N {
        out[j] = ((squares[j] - sum[j] * sum[j] * share) * share) as f32;
    }
}

#[inline(always)]
pub(in crate::device) fn pool(deltas: &[&[f32]], epsilon: f32, alone: &[f32], out: &mut [f32]) {
    groups!(deltas, out, pool_group(epsilon, alone));
}

#[inline(always)]
fn pool_group<'x, const N: usize>(
    deltas: impl Iterator<Item = &'x [f32; N]> + Clone,
    epsilon: f32,
    alone: &[f32],
    out: &mut [f32; N],
) {
    let (mut count, mut sum) = ([0f32; N], [0f32; N]);
    for delta in deltas.clone() {
        for j in 0..N {
            count[j] += if delta[j].abs() > epsilon { 1.0 } else { 0.0 };
        }
    }
    for (delta, factor) in deltas.zip(alone) {
        for j in 0..N {
            let part = if count[j] > 1.0 { delta[j] / count[j] } else { delta[j] * factor };
            sum[j] += if delta[j].abs() > epsilon { part } else { 0.0 };
        }
    }
    *out = sum;
}

#[inline(always)]
pub(in crate::device) fn overlaps(deltas: &[&[f32]], epsilon: f32, counts: &mut [Overlap]) {
    let len = deltas.first().map_or(0, |d| d.len());
    let whole = len / WIDTH * WIDTH;
    for at in (0..whole).step_by(WIDTH) {
        overlaps_group(parts::<WIDTH>(deltas, at), epsilon, counts);
    }
    for at in whole..len {
        overlaps_group(parts::<1>(deltas, at), epsilon, counts);
    }
}

#[inline(always)]
fn overlaps_group<'x, const N: usize>(
    deltas: impl Iterator<Item = &'x [f32; N]> + Clone,
    epsilon: f32,
    counts: &mut [Overlap],
) {
    let mut models = [0u32; N];
    for delta in deltas.clone() {
        for j in 0..N {
            models[j] += u32::from(delta[j].abs() > epsilon);
        }
    }
    for (delta, count) in deltas.zip(counts) {
        let (mut shared, mut alone) = (0u32, 0u32);
        for j in 0..N {
            let changed = delta[j].abs() > epsilon;
            shared += u32::from(changed & (models[j] > 1));
            alone += u32::from(changed & (models[j] == 1));
        }
        count.shared += u64::from(shared);
        count.alone += u64::from(alone);
    }
}
