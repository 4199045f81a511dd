//! Linear algebra on the host, for methods that solve: not device primitives.

use super::Cpu;
use crate::device::simd;

/// Rows of a projection that are solved side by side.
pub const LANES_OF_ROWS: usize = 16;

/// Columns of a factor that are made at once: rows of the matrix come into the cache once for each panel.
const PANEL: usize = 32;

impl Cpu {
    /// Adds `weight · (shrinkage · G + (1 - shrinkage) · diag G)` to the lower triangle of `sum`, `[width, width]`. `gram`
    /// is `G` in f32, as it lies in a file.
    pub fn add_gram(&self, sum: &mut [f64], gram: &[u8], width: usize, weight: f64, shrinkage: f64) {
        simd::add_gram(self.level, sum, gram, width, weight, shrinkage);
    }

    /// Cholesky's factor of a symmetric matrix, `[width, width]`, in place of its lower triangle. Stops as soon as
    /// `go_on` says no.
    ///
    /// # Errors
    /// The first column at which the matrix is not positive definite.
    pub fn cholesky(&self, a: &mut [f64], width: usize, go_on: &dyn Fn() -> bool) -> Result<(), usize> {
        for from in (0..width).step_by(PANEL) {
            if !go_on() {
                return Ok(());
            }
            if let Some(column) = simd::cholesky_panel(self.level, a, width, from, (from + PANEL).min(width))
            {
                return Err(column);
            }
        }
        Ok(())
    }

    /// Adds `weight · G' · x`, with `G'` as in [`Cpu::add_gram`] and as many columns side by side.
    pub fn add_gram_product(
        &self,
        sum: &mut [[f64; LANES_OF_ROWS]],
        gram: &[u8],
        weight: f64,
        shrinkage: f64,
        x: &[[f64; LANES_OF_ROWS]],
    ) {
        simd::add_gram_product(self.level, sum, gram, weight, shrinkage, x);
    }

    /// Solves for the matrix with this factor, in place of the right sides.
    pub fn solve(&self, factor: &[f64], x: &mut [[f64; LANES_OF_ROWS]]) {
        simd::solve(self.level, factor, x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::simd::Level;

    /// A random Gram matrix of `rows` rows of `width`, as a file has it, and in f64.
    fn gram(width: usize, rows: usize, seed: u64) -> (Vec<u8>, Vec<f64>) {
        let mut x = vec![0f32; rows * width];
        Cpu::new().normals(seed, 0, &mut x);
        let entry = |i: usize, j: usize| {
            (0..rows).map(|r| f64::from(x[r * width + i]) * f64::from(x[r * width + j])).sum::<f64>() as f32
        };
        let all: Vec<f32> = (0..width * width).map(|at| entry(at / width, at % width)).collect();
        (all.iter().flat_map(|x| x.to_le_bytes()).collect(), all.iter().map(|x| f64::from(*x)).collect())
    }

    fn levels() -> Vec<Cpu> {
        Level::all().into_iter().map(|level| Cpu { level, ..Cpu::new() }).collect()
    }

    /// The matrix itself: products with the solutions are the right sides again, on every level with the same bits.
    #[test]
    fn solutions_solve() {
        for width in [1, 2, 15, 16, 17, 33, 64, 97] {
            let (bytes, g) = gram(width, width + 9, width as u64);
            let (weight, shrinkage) = (0.7, 0.8);
            let entry = |i: usize, j: usize| weight * if i == j { 1.0 } else { shrinkage } * g[i * width + j];
            let right: Vec<[f64; LANES_OF_ROWS]> = (0..width)
                .map(|i| std::array::from_fn(|lane| ((i * 7 + lane * 13) % 23) as f64 - 11.0))
                .collect();
            let solved: Vec<_> = levels()
                .iter()
                .map(|cpu| {
                    let mut factor = vec![0.0; width * width];
                    cpu.add_gram(&mut factor, &bytes, width, weight, shrinkage);
                    cpu.cholesky(&mut factor, width, &|| true).unwrap();
                    let mut x = right.clone();
                    cpu.solve(&factor, &mut x);
                    let mut product = vec![[0.0; LANES_OF_ROWS]; width];
                    cpu.add_gram_product(&mut product, &bytes, weight, shrinkage, &x);
                    (x, product)
                })
                .collect();
            assert!(solved.iter().all(|s| *s == solved[0]), "{width}");
            let (x, product) = &solved[0];
            for i in 0..width {
                for lane in 0..LANES_OF_ROWS {
                    let naive: f64 = (0..width).map(|j| entry(i, j) * x[j][lane]).sum();
                    assert!((naive - right[i][lane]).abs() < 1e-8, "{width} {i}: {naive}");
                    assert!((product[i][lane] - naive).abs() < 1e-9 * (1.0 + naive.abs()), "{width} {i}");
                }
            }
        }
    }

    #[test]
    fn matrices_without_full_rank_are_refused_and_shrinkage_helps() {
        let (bytes, _) = gram(40, 7, 3);
        let factor = |shrinkage: f64| {
            let mut factor = vec![0.0; 40 * 40];
            Cpu::new().add_gram(&mut factor, &bytes, 40, 1.0, shrinkage);
            Cpu::new().cholesky(&mut factor, 40, &|| true)
        };
        assert!(factor(1.0).unwrap_err() >= 7);
        assert_eq!(factor(0.9), Ok(()));
        let mut nan = vec![f64::NAN; 4];
        assert_eq!(Cpu::new().cholesky(&mut nan, 2, &|| true), Err(0));
    }
}
