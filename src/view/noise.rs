//! Noise that cancels out between two copies.

use super::Tiling;
use crate::device::Chunk;
use crate::device::cpu::Cpu;
use crate::device::philox;

/// Normal noise `N` for each block of rows and each pair of column blocks, of which one gets `+N` and the
/// other `-N`: their sum, and with it the function, stays what it was (Apple's noisy symmetric variant of
/// HyperCloning). Without it, copies of a noiseless clone have the same gradients for ever.
#[derive(Clone, Debug, PartialEq)]
pub struct Noise {
    /// Key of the draws.
    pub key: u64,
    /// Seed that the key was made from.
    pub seed: u64,
    /// Mean square of a block of the weights over that of its noise, in decibels.
    pub snr: f64,
    /// Rows of a block: a head's, or all of the stored matrix.
    pub block_rows: usize,
}

impl Noise {
    /// Noise for a tensor.
    pub fn new(seed: u64, tensor: &str, snr: f64, block_rows: usize) -> Self {
        Self { key: philox::noise_key(seed, tensor), seed, snr, block_rows: block_rows.max(1) }
    }

    /// What draws are multiplied by, for each block of rows and each pair, so that the ratio is met exactly:
    /// both mean squares are measured, in f64 and row after row.
    ///
    /// `go_on` is asked before every row; where it says no, the result is of no use.
    pub fn scales(
        &self,
        tiling: &Tiling,
        cpu: &Cpu,
        stored: Chunk<'_>,
        go_on: impl Fn() -> bool,
    ) -> Vec<f32> {
        let Tiling { rows, columns, down, .. } = *tiling;
        let pairs = tiling.pairs();
        let mut room = vec![0.0; columns];
        let mut power = vec![0.0; rows.div_ceil(self.block_rows)];
        for row in (0..rows).take_while(|_| go_on()) {
            tiling.stored_row(cpu, stored, row, 0..columns, &mut room);
            power[row / self.block_rows] += cpu.squares(&room);
        }
        let mut drawn = vec![0.0; power.len() * down * pairs];
        for row in (0..rows * down).take_while(|_| go_on()) {
            for pair in 0..pairs {
                cpu.normals(self.key, ((row * pairs + pair) * columns) as u64, &mut room);
                drawn[row / self.block_rows * pairs + pair] += cpu.squares(&room);
            }
        }
        let ratio = power_of_ten(self.snr / 10.0);
        let scale = |(i, drawn): (usize, f64)| match power[i / pairs % power.len()] / (ratio * drawn) {
            square if square.is_finite() => square.sqrt() as f32,
            _ => 0.0,
        };
        drawn.into_iter().enumerate().map(scale).collect()
    }
}

/// `10ˣ` by plain arithmetic, the same on every machine.
fn power_of_ten(x: f64) -> f64 {
    let whole = x.round();
    let rest = (x - whole) * std::f64::consts::LN_10;
    let series = (1..=30).rev().fold(1.0, |sum, i| 1.0 + sum * rest / f64::from(i));
    let steps = 0..whole.abs() as u32;
    steps.fold(series, |x, _| if whole < 0.0 { x / 10.0 } else { x * 10.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_ten_are_those_of_the_library() {
        for i in -100..200 {
            let x = f64::from(i) / 10.0;
            assert!((power_of_ten(x) / 10f64.powf(x) - 1.0).abs() < 1e-14, "{x}");
        }
    }
}
