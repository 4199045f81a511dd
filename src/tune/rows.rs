//! The arithmetic of rows and columns, in the machine's widest vectors: differences into a merged model, gradients of
//! weights into those of their factors.

use pulp::Arch;

use crate::decoder::wide;

/// Partial sums of a row: enough for the widest vectors, and the same for all, so that their width changes no bit.
const LANES: usize = 16;

/// Rows whose gradients are added up in f32 before they go on in f64.
const BLOCK: usize = 64;

/// `out += (row · column) · delta`, for rows of `width`; without factors of columns they are one.
pub(super) fn add(arch: Arch, width: usize, rows: &[f64], columns: &[f32], delta: &[f32], out: &mut [f32]) {
    wide(
        arch,
        #[inline(always)]
        || {
            let pairs = out.chunks_exact_mut(width).zip(delta.chunks_exact(width));
            for ((out, delta), row) in pairs.zip(rows) {
                let row = *row as f32;
                match columns {
                    [] => out.iter_mut().zip(delta).for_each(|(out, delta)| *out += row * delta),
                    _ => {
                        let columns = out.iter_mut().zip(delta).zip(columns);
                        columns.for_each(|((out, delta), column)| *out += row * column * delta);
                    }
                }
            }
        },
    );
}

/// From the gradients of weights to those of the factors of rows, which are written, and of columns, which are added to
/// `d_columns`: none if columns have no factors.
pub(super) fn pull(
    arch: Arch,
    (rows, columns): (&[f64], &[f32]),
    gradient: &[f32],
    delta: &[f32],
    d_rows: &mut [f64],
    d_columns: &mut [f64],
) {
    let width = gradient.len() / rows.len().max(1);
    let mut sums = vec![0f32; columns.len()];
    for (block, rows) in rows.chunks(BLOCK).enumerate() {
        let first = block * BLOCK;
        let elements = first * width..(first + rows.len()) * width;
        let d_rows = &mut d_rows[first..first + rows.len()];
        wide(
            arch,
            #[inline(always)]
            || {
                let pairs = gradient[elements.clone()].chunks_exact(width);
                let pairs = pairs.zip(delta[elements.clone()].chunks_exact(width));
                for (((gradient, delta), row), d_row) in pairs.zip(rows).zip(d_rows.iter_mut()) {
                    *d_row = match columns {
                        [] => f64::from(inner(gradient, delta)),
                        _ => f64::from(inner_by(*row as f32, columns, gradient, delta, &mut sums)),
                    };
                }
            },
        );
        for (d_column, sum) in d_columns.iter_mut().zip(&mut sums) {
            *d_column += f64::from(std::mem::take(sum));
        }
    }
}

/// `Σ a · b`.
#[inline(always)]
fn inner(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a_groups, a_tail), (b_groups, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_groups.iter().zip(b_groups) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a * b);
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + tail
}

/// `Σ a · b · column`; adds `row · a · b` to `sums`.
#[inline(always)]
fn inner_by(row: f32, columns: &[f32], a: &[f32], b: &[f32], sums: &mut [f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a_groups, a_tail), (b_groups, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let (c_groups, c_tail) = columns.as_chunks::<LANES>();
    let (s_groups, s_tail) = sums.as_chunks_mut::<LANES>();
    for (((a, b), c), s) in a_groups.iter().zip(b_groups).zip(c_groups).zip(s_groups) {
        // Everything is read before `s` is written, which the compiler takes for what might be read from: it makes vectors of this
        // only so.
        let products: [f32; LANES] = std::array::from_fn(|i| a[i] * b[i]);
        lanes.iter_mut().zip(products.iter().zip(c)).for_each(|(lane, (product, c))| *lane += product * c);
        s.iter_mut().zip(&products).for_each(|(s, product)| *s += product * row);
    }
    let mut tail = 0.0;
    for (((a, b), c), s) in a_tail.iter().zip(b_tail).zip(c_tail).zip(s_tail) {
        let product = a * b;
        tail += product * c;
        *s += product * row;
    }
    lanes.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 1013.0 - 0.5).collect()
    }

    /// Against the definitions, in f64: widths around that of a group, and more rows than a block has.
    #[test]
    fn rows_and_columns_follow_their_definitions() {
        for (height, width, with_columns) in
            [(1, 1, true), (3, 15, true), (150, 16, true), (65, 35, true), (64, 47, false), (200, 1, false)]
        {
            let of_rows: Vec<f64> = noise(height, 1).into_iter().map(f64::from).collect();
            let of_columns = if with_columns { noise(width, 2) } else { Vec::new() };
            let (delta, gradient) = (noise(height * width, 3), noise(height * width, 4));
            let column = |c: usize| of_columns.get(c).map_or(1.0, |c| f64::from(*c));
            let mut out = noise(height * width, 5);
            let before = out.clone();
            add(Arch::new(), width, &of_rows, &of_columns, &delta, &mut out);
            let (mut d_rows, mut d_columns) = (vec![9.0; height], vec![1.0; of_columns.len()]);
            let factors = (&of_rows[..], &of_columns[..]);
            pull(Arch::new(), factors, &gradient, &delta, &mut d_rows, &mut d_columns);
            let at = |r: usize, c: usize| f64::from(delta[r * width + c]);
            let product = |r: usize, c: usize| at(r, c) * f64::from(gradient[r * width + c]);
            for r in 0..height {
                for c in 0..width {
                    let want = f64::from(before[r * width + c]) + of_rows[r] * column(c) * at(r, c);
                    assert!((f64::from(out[r * width + c]) - want).abs() < 1e-6);
                }
                let want: f64 = (0..width).map(|c| product(r, c) * column(c)).sum();
                assert!((d_rows[r] - want).abs() < 1e-5, "row {r} of {height} by {width}");
            }
            for (c, got) in d_columns.iter().enumerate() {
                let want = 1.0 + (0..height).map(|r| product(r, c) * of_rows[r]).sum::<f64>();
                assert!((got - want).abs() < 1e-5, "column {c} of {height} by {width}");
            }
        }
    }
}
