//! CMA-ES, the evolution strategy with covariance matrix adaptation (Hansen 2016, The CMA Evolution Strategy: A Tutorial,
//! arXiv 1604.00772): a normal distribution over points moves and takes on the shape of the valley that it is in, by the
//! order of values alone. For up to some fifty dimensions; the names are the tutorial's.

use super::eigen::symmetric;
use crate::mix::{INCREMENT, mix};

/// When a search ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Values that are asked for, at most; at least one generation is.
    pub values: usize,
    /// The search ends when points are about so close together.
    pub spread: f64,
}

/// The best that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Where.
    pub point: Vec<f64>,
    /// Its value.
    pub value: f64,
    /// Values that were asked for.
    pub values: usize,
}

/// The state of a search.
#[derive(Clone, Debug)]
pub struct Cma {
    mean: Vec<f64>,
    sigma: f64,
    /// Path of the step size.
    ps: Vec<f64>,
    /// Path of the covariance.
    pc: Vec<f64>,
    c: Vec<f64>,
    /// Eigenvectors of `c` as columns, and square roots of its eigenvalues.
    b: Vec<f64>,
    d: Vec<f64>,
    generation: u64,
    seed: u64,
    rates: Rates,
}

/// The tutorial's default parameters, table 1 without negative weights.
#[derive(Clone, Debug)]
struct Rates {
    weights: Vec<f64>,
    lambda: usize,
    mueff: f64,
    cc: f64,
    cs: f64,
    c1: f64,
    cmu: f64,
    damps: f64,
    /// Expected length of a standard normal vector.
    chi: f64,
}

impl Rates {
    fn new(n: f64) -> Self {
        let lambda = 4 + (3.0 * n.ln()).max(0.0) as usize;
        let mu = lambda / 2;
        let weights: Vec<f64> =
            (1..=mu).map(|i| (lambda as f64 / 2.0 + 0.5).ln() - (i as f64).ln()).collect();
        let sum: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.into_iter().map(|w| w / sum).collect();
        let mueff = 1.0 / weights.iter().map(|w| w * w).sum::<f64>();
        let cs = (mueff + 2.0) / (n + mueff + 5.0);
        let c1 = 2.0 / ((n + 1.3).powi(2) + mueff);
        Self {
            lambda,
            cc: (4.0 + mueff / n) / (n + 4.0 + 2.0 * mueff / n),
            cs,
            c1,
            cmu: (2.0 * (mueff - 2.0 + 1.0 / mueff) / ((n + 2.0).powi(2) + mueff)).min(1.0 - c1),
            damps: 1.0 + 2.0 * (((mueff - 1.0) / (n + 1.0)).sqrt() - 1.0).max(0.0) + cs,
            chi: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
            mueff,
            weights,
        }
    }
}

impl Cma {
    /// A search around `mean`, at first about `sigma` from it in every direction; `mean` has at least one element. The
    /// same seed asks for the same points.
    pub fn new(mean: Vec<f64>, sigma: f64, seed: u64) -> Self {
        let n = mean.len();
        let mut unit = vec![0.0; n * n];
        (0..n).for_each(|i| unit[i * n + i] = 1.0);
        let (zeros, rates) = (vec![0.0; n], Rates::new(n as f64));
        let (c, b, d) = (unit.clone(), unit, vec![1.0; n]);
        Self { mean, sigma, ps: zeros.clone(), pc: zeros, c, b, d, generation: 0, seed, rates }
    }

    /// Minimises a function, which is asked for the values of a whole generation at once. A value that is no number is
    /// worse than any other.
    ///
    /// # Errors
    /// What the function says.
    pub fn minimise<E>(
        mut self,
        limits: Limits,
        mut values: impl FnMut(&[Vec<f64>]) -> Result<Vec<f64>, E>,
    ) -> Result<Found, E> {
        let mut best = Found { point: self.mean.clone(), value: f64::INFINITY, values: 0 };
        loop {
            let points = self.ask();
            let mut scored: Vec<(f64, usize)> = values(&points)?.into_iter().zip(0..).collect();
            scored.iter_mut().filter(|s| s.0.is_nan()).for_each(|s| s.0 = f64::INFINITY);
            scored.sort_by(|a, b| a.0.total_cmp(&b.0));
            best.values += points.len();
            if let Some((value, at)) = scored.first().filter(|s| s.0 < best.value) {
                (best.value, best.point) = (*value, points[*at].clone());
            }
            let order: Vec<&Vec<f64>> = scored.iter().map(|(_, at)| &points[*at]).collect();
            self.tell(&order);
            let widest = self.d.iter().fold(0.0, |a: f64, b| a.max(*b));
            let spread = self.sigma * widest;
            if best.values + points.len() > limits.values || !spread.is_finite() || spread < limits.spread {
                return Ok(best);
            }
        }
    }

    /// The points of the next generation.
    fn ask(&self) -> Vec<Vec<f64>> {
        let n = self.mean.len();
        let point = |k: usize| {
            let z: Vec<f64> = (0..n).map(|i| self.normal(k * n + i) * self.d[i]).collect();
            let along = |i: usize| (0..n).map(|j| self.b[i * n + j] * z[j]).sum::<f64>();
            (0..n).map(|i| self.mean[i] + self.sigma * along(i)).collect()
        };
        (0..self.rates.lambda).map(point).collect()
    }

    /// Learns from the points of a generation, the best first.
    fn tell(&mut self, order: &[&Vec<f64>]) {
        let n = self.mean.len();
        let Rates { weights, mueff, cc, cs, c1, cmu, damps, chi, .. } = &self.rates;
        let steps: Vec<Vec<f64>> = order[..weights.len().min(order.len())]
            .iter()
            .map(|x| x.iter().zip(&self.mean).map(|(x, m)| (x - m) / self.sigma).collect())
            .collect();
        let step: Vec<f64> =
            (0..n).map(|i| weights.iter().zip(&steps).map(|(w, y)| w * y[i]).sum()).collect();
        (0..n).for_each(|i| self.mean[i] += self.sigma * step[i]);
        // C^(-1/2) · step
        let turned: Vec<f64> =
            (0..n).map(|j| (0..n).map(|i| self.b[i * n + j] * step[i]).sum::<f64>() / self.d[j]).collect();
        let size = (cs * (2.0 - cs) * mueff).sqrt();
        for i in 0..n {
            let whitened: f64 = (0..n).map(|j| self.b[i * n + j] * turned[j]).sum();
            self.ps[i] = (1.0 - cs) * self.ps[i] + size * whitened;
        }
        let length = self.ps.iter().map(|x| x * x).sum::<f64>().sqrt();
        self.generation += 1;
        let settled = 1.0 - (1.0 - cs).powf(2.0 * self.generation as f64);
        let short = length / settled.sqrt() < (1.4 + 2.0 / (n as f64 + 1.0)) * chi;
        let h = f64::from(u8::from(short));
        let size = h * (cc * (2.0 - cc) * mueff).sqrt();
        (0..n).for_each(|i| self.pc[i] = (1.0 - cc) * self.pc[i] + size * step[i]);
        let kept = 1.0 - c1 - cmu + (1.0 - h) * c1 * cc * (2.0 - cc);
        for i in 0..n {
            for j in 0..=i {
                let ranked: f64 = weights.iter().zip(&steps).map(|(w, y)| w * y[i] * y[j]).sum();
                let c = kept * self.c[i * n + j] + c1 * self.pc[i] * self.pc[j] + cmu * ranked;
                (self.c[i * n + j], self.c[j * n + i]) = (c, c);
            }
        }
        self.sigma *= ((cs / damps) * (length / chi - 1.0)).min(1.0).exp();
        let (values, vectors) = symmetric(&self.c, n);
        // Rounding may leave the smallest a little below zero.
        let largest = values.iter().fold(0.0, |a: f64, b| a.max(*b));
        self.d = values.into_iter().map(|v| v.max(1e-14 * largest).sqrt()).collect();
        self.b = vectors;
    }

    /// A standard normal number, by seed, generation and place alone (Box and Muller).
    fn normal(&self, place: usize) -> f64 {
        let base = mix(self.seed ^ mix(self.generation ^ mix(place as u64 + 1)));
        let unit = |x: u64| ((x >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (radius, turn) = (unit(mix(base)), unit(mix(base ^ INCREMENT)));
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn found(n: usize, values: usize, seed: u64, f: impl Fn(&[f64]) -> f64) -> Found {
        let limits = Limits { values, spread: 1e-12 };
        let all = |points: &[Vec<f64>]| Ok::<_, Infallible>(points.iter().map(|p| f(p)).collect());
        let Ok(found) = Cma::new(vec![1.0; n], 0.5, seed).minimise(limits, all);
        found
    }

    fn rosenbrock(x: &[f64]) -> f64 {
        x.windows(2).map(|w| 100.0 * (w[1] - w[0] * w[0]).powi(2) + (1.0 - w[0]).powi(2)).sum()
    }

    #[test]
    fn the_grounds_of_known_valleys_are_found() {
        for seed in 0..5 {
            let sphere = found(10, 4000, seed, |x| x.iter().map(|x| (x - 0.3).powi(2)).sum());
            assert!(
                sphere.value < 1e-10 && sphere.point.iter().all(|x| (x - 0.3).abs() < 1e-4),
                "{sphere:?}"
            );
            // Axes of which one is a thousand times as long as another: only the shape that is learned gets there.
            let ellipsoid = |x: &[f64]| {
                let last = (x.len() - 1) as f64;
                x.iter().enumerate().map(|(i, x)| 1e6f64.powf(i as f64 / last) * x * x).sum()
            };
            let found_there = found(10, 12_000, seed, ellipsoid);
            assert!(found_there.value < 1e-8, "{found_there:?}");
            let from_afar =
                found(6, 12_000, seed, |x| rosenbrock(&x.iter().map(|x| x - 1.5).collect::<Vec<_>>()));
            assert!(
                from_afar.value < 1e-8 || from_afar.value > 3.0,
                "its ground, or the known other minimum"
            );
        }
        let one = found(1, 400, 1, |x| (x[0] + 2.0).abs());
        assert!(one.value < 1e-3, "one dimension: {one:?}");
    }

    #[test]
    fn it_does_not_matter_where_an_order_of_values_comes_from() {
        let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        let plain = found(5, 600, 3, square);
        let bent = found(5, 600, 3, |x| square(x).powf(0.25).exp());
        assert_eq!(plain.point, bent.point);
        assert_eq!(plain, found(5, 600, 3, square), "the same seed");
        assert_ne!(plain.point, found(5, 600, 4, square).point);
    }

    #[test]
    fn limits_and_errors_end_a_search_and_no_number_is_the_worst() {
        let limited = found(4, 50, 1, |x| x[0]);
        assert!(limited.values <= 50);
        assert_eq!(found(4, 0, 1, |x| x[0]).values, 8, "one generation");
        let half = found(3, 900, 2, |x| if x[0] < 0.5 { f64::NAN } else { x.iter().map(|x| x * x).sum() });
        assert!((0.25..0.26).contains(&half.value), "{half:?}");
        let told = Cma::new(vec![0.0; 2], 1.0, 0)
            .minimise(Limits { values: 10, spread: 0.0 }, |_| Err::<Vec<f64>, _>("stop"));
        assert_eq!(told, Err("stop"));
    }

    #[test]
    fn normal_numbers_are_normal() {
        let cma = Cma::new(vec![0.0], 1.0, 9);
        let numbers: Vec<f64> = (0..20_000).map(|i| cma.normal(i)).collect();
        let moment = |k: i32| numbers.iter().map(|x| x.powi(k)).sum::<f64>() / numbers.len() as f64;
        assert!(moment(1).abs() < 0.03 && (moment(2) - 1.0).abs() < 0.05 && (moment(4) - 3.0).abs() < 0.3);
    }
}
