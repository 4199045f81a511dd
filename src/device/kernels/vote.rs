//! The TIES vote.

use crate::device::Divisor;

#[inline(always)]
pub(in crate::device) fn elect(deltas: &[&[f32]], weights: &[f32], divisor: Divisor, out: &mut [f32]) {
    const WIDTH: usize = 64;
    let (groups, tail) = out.as_chunks_mut::<WIDTH>();
    for (i, out) in groups.iter_mut().enumerate() {
        let part = |delta: &&[f32]| delta.get(i * WIDTH..).and_then(|d| d.first_chunk::<WIDTH>().copied());
        elect_group(deltas.iter().filter_map(part).zip(weights), divisor, out);
    }
    let start = groups.len() * WIDTH;
    for (i, out) in tail.iter_mut().enumerate() {
        let mut one = [0f32; 1];
        let part = |delta: &&[f32]| delta.get(start + i).map(|x| [*x]);
        elect_group(deltas.iter().filter_map(part).zip(weights), divisor, &mut one);
        [*out] = one;
    }
}

/// The vote on a few elements at once; it reads the deltas twice, the second time from the cache.
#[inline(always)]
fn elect_group<'w, const N: usize>(
    deltas: impl Iterator<Item = ([f32; N], &'w f32)> + Clone,
    divisor: Divisor,
    out: &mut [f32; N],
) {
    let (mut total, mut mixed, mut agreeing) = ([0f32; N], [0f32; N], [0f32; N]);
    for (delta, w) in deltas.clone() {
        for j in 0..N {
            total[j] += w * delta[j];
        }
    }
    for (delta, w) in deltas {
        for j in 0..N {
            let x = w * delta[j];
            // Zero has no sign and agrees with nobody.
            let agrees = if total[j] >= 0.0 { x > 0.0 } else { x < 0.0 };
            mixed[j] += if agrees { x } else { 0.0 };
            agreeing[j] += if agrees { *w } else { 0.0 };
        }
    }
    if divisor == Divisor::AgreeingWeights {
        for j in 0..N {
            mixed[j] /= if agreeing[j] == 0.0 { 1.0 } else { agreeing[j] };
        }
    }
    *out = mixed;
}
