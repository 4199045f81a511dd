//! Small dense linear algebra: rows made orthonormal, and the eigenvectors of a small symmetric matrix.

use crate::device::cpu::Cpu;

/// What is left of a row after those before it were taken off, at most, for it to count as dependent on them.
const DEPENDENT: f64 = 1e-6;
/// Sweeps of Jacobi's rotations; they converge quadratically, after six to ten.
const SWEEPS: usize = 40;

/// Makes the rows of `[n, width]` orthonormal by Gram and Schmidt, twice, which is enough (Giraud et al. 2005);
/// sums are f64. Rows that depend on those before them are left out.
pub(super) fn orthonormal_rows(cpu: &Cpu, x: Vec<f32>, width: usize) -> Vec<f32> {
    let largest = x.chunks(width).map(|row| cpu.squares(row)).fold(0.0, f64::max).sqrt();
    let mut kept: Vec<f32> = Vec::with_capacity(x.len());
    for row in x.chunks(width) {
        let mut row = row.to_vec();
        for _ in 0..2 {
            for before in kept.chunks(width) {
                let along = cpu.dot(&row, before);
                cpu.add_scaled_values(&mut row, -along as f32, before);
            }
        }
        let length = cpu.squares(&row).sqrt();
        if length > DEPENDENT * largest {
            cpu.scale_values(&mut row, (1.0 / length) as f32);
            kept.append(&mut row);
        }
    }
    kept
}

/// `x · xᵀ` of `[n, width]`, in f64.
pub(super) fn gram(cpu: &Cpu, x: &[f32], width: usize) -> Vec<f64> {
    let n = x.len() / width;
    let row = |i: usize| &x[i * width..(i + 1) * width];
    let mut all = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let dot = cpu.dot(row(i), row(j));
            (all[i * n + j], all[j * n + i]) = (dot, dot);
        }
    }
    all
}

/// Eigenvalues of a symmetric `[n, n]`, largest first, and the eigenvectors as rows: Jacobi's rotations, row by
/// row (Golub and Van Loan, section 8.5).
pub(super) fn eigen(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i % (n + 1) == 0))).collect();
    let total: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let off: f64 = (0..n * n).filter(|i| i % (n + 1) != 0).map(|i| a[i] * a[i]).sum();
        if off <= 1e-30 * total {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let Some((cos, sin)) = rotation(a[p * n + p], a[q * n + q], a[p * n + q]) else { continue };
                rotate_rows(&mut a, n, (p, q), (cos, sin));
                for row in a.chunks_mut(n) {
                    (row[p], row[q]) = (cos * row[p] - sin * row[q], sin * row[p] + cos * row[q]);
                }
                rotate_rows(&mut vectors, n, (p, q), (cos, sin));
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|i, j| a[j * n + j].total_cmp(&a[i * n + i]));
    let values = order.iter().map(|i| a[i * n + i]).collect();
    (values, order.iter().flat_map(|i| vectors[i * n..(i + 1) * n].iter().copied()).collect())
}

/// Cosine and sine of the smaller angle that makes `x` between `a` and `b` vanish; none where it is zero.
fn rotation(a: f64, b: f64, x: f64) -> Option<(f64, f64)> {
    if x == 0.0 {
        return None;
    }
    let ratio = (b - a) / (2.0 * x);
    let tan = ratio.signum() / (ratio.abs() + ratio.hypot(1.0));
    let cos = 1.0 / tan.hypot(1.0);
    Some((cos, tan * cos))
}

fn rotate_rows(a: &mut [f64], n: usize, (p, q): (usize, usize), (cos, sin): (f64, f64)) {
    let (before, from_q) = a.split_at_mut(q * n);
    let rows = before[p * n..(p + 1) * n].iter_mut().zip(&mut from_q[..n]);
    rows.for_each(|(x, y)| (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<f32> {
        let mut x = vec![0.0; len];
        Cpu::new().normals(3, 0, &mut x);
        x
    }

    #[test]
    fn rows_become_orthonormal_and_dependent_ones_vanish() {
        let (cpu, width) = (Cpu::new(), 50);
        let mut x = noise(6 * width);
        // The fourth row is the sum of two others.
        for i in 0..width {
            x[3 * width + i] = x[i] + x[width + i];
        }
        let q = orthonormal_rows(&cpu, x, width);
        assert_eq!(q.len(), 5 * width);
        for (i, dot) in gram(&cpu, &q, width).into_iter().enumerate() {
            let want = f64::from(u8::from(i % 6 == 0));
            assert!((dot - want).abs() < 1e-6, "{i}: {dot}");
        }
    }

    #[test]
    fn eigenvectors_put_a_matrix_together_again() {
        let n = 9;
        let x: Vec<f64> = noise(n * n).into_iter().map(f64::from).collect();
        let a: Vec<f64> = (0..n * n).map(|i| x[i] + x[i % n * n + i / n]).collect();
        let (values, vectors) = eigen(a.clone(), n);
        assert!(values.windows(2).all(|w| w[0] >= w[1]));
        for i in 0..n {
            for j in 0..n {
                let again: f64 = (0..n).map(|k| values[k] * vectors[k * n + i] * vectors[k * n + j]).sum();
                assert!((again - a[i * n + j]).abs() < 1e-12, "{i} {j}");
            }
        }
    }
}
