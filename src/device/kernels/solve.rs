//! Symmetric matrices in f64: a weighted sum of Gram matrices, its Cholesky factor, products and solutions.
//!
//! Every sum has an order of its own, in lanes that no vector width changes, so that a result depends on neither machine nor
//! on the rows that are worked on together.

use crate::device::cpu::LANES_OF_ROWS;

/// Some numbers of a column: one for each row of a projection.
type Lanes = [f64; LANES_OF_ROWS];

/// Adds `weight · (shrinkage · G + (1 - shrinkage) · diag G)` to the lower triangle of a sum; `G` is `[width, width]` in
/// f32, as it lies in the file.
#[inline(always)]
pub(in crate::device) fn add_gram(sum: &mut [f64], gram: &[u8], width: usize, weight: f64, shrinkage: f64) {
    let rows = sum.chunks_exact_mut(width.max(1)).zip(gram.chunks_exact(4 * width.max(1)));
    for (i, (sum, gram)) in rows.enumerate() {
        let off = weight * shrinkage;
        for (sum, x) in sum[..i].iter_mut().zip(gram.as_chunks::<4>().0) {
            *sum += off * f64::from(f32::from_le_bytes(*x));
        }
        sum[i] += weight * diagonal(gram, i);
    }
}

#[inline(always)]
fn diagonal(row: &[u8], i: usize) -> f64 {
    row.as_chunks::<4>().0.get(i).map_or(0.0, |x| f64::from(f32::from_le_bytes(*x)))
}

/// Lanes of a sum along a row.
const LANES: usize = 16;

#[inline(always)]
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0f64; LANES];
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        for j in 0..LANES {
            lanes[j] += x[j] * y[j];
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(x_tail.iter().zip(y_tail)) {
        *lane += x * y;
    }
    let mut half = LANES / 2;
    while half > 0 {
        for j in 0..half {
            lanes[j] += lanes[j + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// A pivot that is this small a part of what stood there is rounding.
const NOTHING: f64 = 1e-12;

/// Columns `from .. to` of Cholesky's factor, in place of the lower triangle, where those before are done. False at
/// the first column whose pivot is not positive; the column is then where `diagonal` is.
#[inline(always)]
pub(in crate::device) fn cholesky_panel(
    a: &mut [f64],
    width: usize,
    from: usize,
    to: usize,
) -> Option<usize> {
    for i in from..width {
        let (above, rest) = a.split_at_mut(i * width);
        let row = &mut rest[..width];
        for j in from..to.min(i) {
            let other = &above[j * width..(j + 1) * width];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        if i < to {
            let pivot = row[i] - dot(&row[..i], &row[..i]);
            // Of NaN it is neither.
            if pivot.is_nan() || pivot <= NOTHING * row[i] {
                return Some(i);
            }
            row[i] = pivot.sqrt();
        }
    }
    None
}

/// Adds `weight · G' · x`, with `G'` as in [`add_gram`].
#[inline(always)]
pub(in crate::device) fn add_gram_product(
    sum: &mut [Lanes],
    gram: &[u8],
    weight: f64,
    shrinkage: f64,
    x: &[Lanes],
) {
    let width = x.len();
    for (i, (sum, row)) in sum.iter_mut().zip(gram.chunks_exact(4 * width.max(1))).enumerate() {
        let mut product = [0f64; LANES_OF_ROWS];
        for (g, x) in row.as_chunks::<4>().0.iter().zip(x) {
            let g = f64::from(f32::from_le_bytes(*g));
            for lane in 0..LANES_OF_ROWS {
                product[lane] += g * x[lane];
            }
        }
        let own = (1.0 - shrinkage) * diagonal(row, i);
        for lane in 0..LANES_OF_ROWS {
            sum[lane] += weight * (shrinkage * product[lane] + own * x[i][lane]);
        }
    }
}

/// Solves `L·Lᵀ·y = x` in place of `x`.
#[inline(always)]
pub(in crate::device) fn solve(factor: &[f64], x: &mut [Lanes]) {
    let width = x.len();
    for i in 0..width {
        let (done, rest) = x.split_at_mut(i);
        let row = &factor[i * width..(i + 1) * width];
        let mut sum = rest[0];
        for (l, y) in row.iter().zip(done.iter()) {
            for lane in 0..LANES_OF_ROWS {
                sum[lane] -= l * y[lane];
            }
        }
        rest[0] = sum.map(|sum| sum / row[i]);
    }
    for i in (0..width).rev() {
        let (before, rest) = x.split_at_mut(i);
        let row = &factor[i * width..(i + 1) * width];
        let y = rest[0].map(|y| y / row[i]);
        rest[0] = y;
        for (l, x) in row.iter().zip(before.iter_mut()) {
            for lane in 0..LANES_OF_ROWS {
                x[lane] -= l * y[lane];
            }
        }
    }
}
