//! The best update of a small rank, found by random directions.
//!
//! Halko, Martinsson and Tropp (2011, "Finding structure with randomness", algorithms 4.4 and 5.1): a few more
//! random directions than the rank, sent back and forth through `Δ`, turn into an orthonormal basis `Q` of what
//! `Δ` does most; the small matrix `Qᵀ·Δ` then has the largest singular values of `Δ`.

use super::delta::Delta;
use super::dense::{eigen, gram, orthonormal_rows};
use crate::decoder::matmul::{Old, View, product};

/// Directions beyond the rank, at least.
const SPARE: usize = 10;
/// How often directions go back and forth. Each round sets singular values further apart.
const ROUNDS: usize = 3;
/// Singular values below this part of the largest are not told from rounding.
const NEGLIGIBLE: f64 = 1e-6;

/// `Δ ≈ leftᵀ · right`.
pub(super) struct Factors {
    /// `[rank, rows]`.
    pub(super) left: Vec<f32>,
    /// `[rank, columns]`.
    pub(super) right: Vec<f32>,
    /// As many as the rank, largest first.
    pub(super) singular: Vec<f64>,
}

/// The factors of rank `rank` at most; fewer where `Δ` has no more. The singular values go half into each
/// factor. `key` is that of the random directions.
pub(super) fn factors(delta: &Delta<'_>, rank: usize, key: u64) -> Factors {
    let (rows, columns, cpu) = (delta.rows, delta.columns, &delta.cpu);
    let directions = (rank + SPARE.max(rank / 4)).min(rows).min(columns);
    let mut x = vec![0.0; directions * columns];
    cpu.normals(key, 0, &mut x);
    let mut q = orthonormal_rows(cpu, delta.times(&x), rows);
    for _ in 0..ROUNDS {
        let back = orthonormal_rows(cpu, delta.times_from_left(&q), columns);
        q = orthonormal_rows(cpu, delta.times(&back), rows);
    }
    let z = delta.times_from_left(&q);
    let found = q.len() / rows;
    let (squares, vectors) = eigen(gram(cpu, &z, columns), found);
    let values = squares.iter().map(|x| x.max(0.0).sqrt());
    let largest = squares.first().map_or(0.0, |x| x.max(0.0).sqrt());
    let singular: Vec<f64> = values.take(rank).take_while(|s| *s > NEGLIGIBLE * largest).collect();
    // Δ ≈ Q·Z = Σ (Q·uᵢ)(uᵢᵀ·Z), and ‖uᵢᵀ·Z‖ = sᵢ.
    let weights = |of: &dyn Fn(f64) -> f64| -> Vec<f32> {
        let rows = singular.iter().zip(vectors.chunks(found.max(1)));
        rows.flat_map(|(s, row)| row.iter().map(|x| (x * of(*s)) as f32).collect::<Vec<_>>()).collect()
    };
    let combined = |weights: Vec<f32>, of: &[f32], width: usize| {
        let mut out = vec![0.0; singular.len() * width];
        if !out.is_empty() {
            let weights = View::dense(&weights, singular.len(), found);
            product(&mut out, width, Old::Replace, 1.0, weights, View::dense(of, found, width));
        }
        out
    };
    let left = combined(weights(&|s| s.sqrt()), &q, rows);
    let right = combined(weights(&|s| 1.0 / s.sqrt()), &z, columns);
    Factors { left, right, singular }
}
