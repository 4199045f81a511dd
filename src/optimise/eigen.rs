//! Eigenvalues and eigenvectors of symmetric matrices, by Jacobi's rotations.

/// Sweeps at most; a handful suffice for fifty dimensions.
const SWEEPS: usize = 60;

/// Eigenvalues, and the eigenvectors as columns: `matrix = vectors · diag(values) · vectorsᵀ`. The lower triangle of
/// `matrix`, which is `n` by `n` in rows, is taken to mirror the upper.
pub(super) fn symmetric(matrix: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = matrix.to_vec();
    let mut vectors = vec![0.0; n * n];
    (0..n).for_each(|i| vectors[i * n + i] = 1.0);
    let scale: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let off: f64 =
            (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).map(|(i, j)| a[i * n + j].powi(2)).sum();
        // Also where the matrix is zero, or has an element that is no number.
        if off.is_nan() || off <= 1e-30 * scale {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, n, (p, q));
            }
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), vectors)
}

/// Makes the element at a pair of places zero.
fn rotate(a: &mut [f64], vectors: &mut [f64], n: usize, (p, q): (usize, usize)) {
    let apq = a[p * n + q];
    if apq == 0.0 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cosine = 1.0 / (t * t + 1.0).sqrt();
    let sine = t * cosine;
    let turn = |m: &mut [f64], x: usize, y: usize| {
        let (u, v) = (m[x], m[y]);
        (m[x], m[y]) = (cosine * u - sine * v, sine * u + cosine * v);
    };
    (0..n).for_each(|k| turn(a, k * n + p, k * n + q));
    (0..n).for_each(|k| turn(a, p * n + k, q * n + k));
    (0..n).for_each(|k| turn(vectors, k * n + p, k * n + q));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_matrix_comes_out_again(n in 1usize..12, numbers in prop::collection::vec(-3.0..3.0f64, 144)) {
            let at = |i: usize, j: usize| numbers[i.min(j) * 12 + i.max(j)];
            let matrix: Vec<f64> = (0..n * n).map(|k| at(k / n, k % n)).collect();
            let (values, vectors) = symmetric(&matrix, n);
            for i in 0..n {
                for j in 0..n {
                    let made: f64 = (0..n).map(|k| vectors[i * n + k] * values[k] * vectors[j * n + k]).sum();
                    prop_assert!((made - matrix[i * n + j]).abs() < 1e-10, "{made} {}", matrix[i * n + j]);
                    let product: f64 = (0..n).map(|k| vectors[k * n + i] * vectors[k * n + j]).sum();
                    prop_assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12, "orthogonal");
                }
            }
        }
    }

    #[test]
    fn zeros_and_what_is_no_number_end() {
        assert_eq!(symmetric(&[0.0; 9], 3).0, [0.0; 3]);
        assert!(symmetric(&[f64::NAN; 4], 2).0[0].is_nan());
    }
}
