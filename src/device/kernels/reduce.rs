//! Sums over a line: f64, in lanes, added in a fixed tree.

use crate::device::LANES;

/// Halves onto halves: the fixed tree of the contract.
#[inline(always)]
pub(super) fn tree(mut lanes: [f64; LANES]) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            lanes[j] += lanes[j + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
pub(in crate::device) fn dot(x: &[f32], y: &[f32]) -> f64 {
    let mut lanes = [0f64; LANES];
    let (x, x_tail) = x.as_chunks::<LANES>();
    let (y, y_tail) = y.as_chunks::<LANES>();
    for (x, y) in x.iter().zip(y) {
        for j in 0..LANES {
            lanes[j] += f64::from(x[j]) * f64::from(y[j]);
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(x_tail.iter().zip(y_tail)) {
        *lane += f64::from(*x) * f64::from(*y);
    }
    tree(lanes)
}

#[inline(always)]
pub(in crate::device) fn abs_sum(x: &[f32]) -> f64 {
    let mut lanes = [0f64; LANES];
    let (x, tail) = x.as_chunks::<LANES>();
    for x in x {
        for j in 0..LANES {
            lanes[j] += f64::from(x[j].abs());
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane += f64::from(x.abs());
    }
    tree(lanes)
}

#[inline(always)]
pub(in crate::device) fn add_products(x: &[f32], y: &[f32], sums: &mut [f64]) {
    for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
        *sum += f64::from(*x) * f64::from(*y);
    }
}
