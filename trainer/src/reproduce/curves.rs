//! Curves of training, from the metrics of runs.

use std::path::Path;

use growmerge::problem::ExecError;

use super::form;
use crate::train::{Line, read_metrics};

/// What was measured in a run.
#[derive(Debug, Default)]
pub(super) struct Curve(Vec<Line>);

/// Reads the metrics of a run.
///
/// # Errors
/// If they are there and cannot be read.
pub(super) fn read(path: &Path) -> Result<Curve, ExecError> {
    Ok(Curve(read_metrics(path)?))
}

impl Curve {
    /// Bits per byte of a language's valid text over the share of the run.
    pub(super) fn valid(&self, language: &str) -> Vec<(f64, f64)> {
        let last = self.0.iter().map(Line::step).max().unwrap_or(1).max(1) as f64;
        let point = |line: &Line| match line {
            Line::Measured { step, validation, .. } => {
                Some((*step as f64 / last, validation.get(language)?.bits_per_byte))
            }
            Line::Step { .. } => None,
        };
        self.0.iter().filter_map(point).collect()
    }
}

/// Parts of a run between which it is measured.
pub(super) const PARTS: u64 = 8;

/// The mean of curves after each of [`PARTS`] parts of a run, every curve as straight lines between its points, which
/// are there but for rounding to whole steps. Without errors: curves of several languages are not a sample of one.
pub(super) fn mean(curves: &[Vec<(f64, f64)>]) -> Vec<(f64, f64, Option<f64>)> {
    let shares = (0..=PARTS).map(|i| i as f64 / PARTS as f64);
    let point = |share: f64| {
        let values: Vec<f64> = curves.iter().filter_map(|c| at(c, share)).collect();
        (!values.is_empty()).then(|| (share, form::mean(&values).value, None))
    };
    shares.filter_map(point).collect()
}

/// A curve's value at `x`, between its neighbours.
fn at(curve: &[(f64, f64)], x: f64) -> Option<f64> {
    let after = curve.iter().position(|p| p.0 >= x)?;
    let (x1, y1) = curve[after];
    if after == 0 || x1 == x {
        return (x1 == x).then_some(y1);
    }
    let (x0, y0) = curve[after - 1];
    Some(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_with_other_points_are_averaged_at_the_same_shares() {
        let one = vec![(0.0, 4.0), (1.0, 2.0)];
        let two = vec![(0.0, 8.0), (0.5, 4.0), (1.0, 4.0)];
        let mean = mean(&[one, two]);
        assert_eq!(mean.len(), 9);
        assert_eq!((mean[0].1, mean[8].1), (6.0, 3.0));
        assert!((mean[2].1 - (3.5 + 6.0) / 2.0).abs() < 1e-12, "a quarter of the way: {mean:?}");
        assert_eq!(at(&[(0.2, 1.0), (1.0, 2.0)], 0.1), None, "nothing is known before the first point");
    }
}
