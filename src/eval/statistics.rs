//! Means over texts, and how sure they are.
//!
//! A perplexity is a ratio of two sums, nats over tokens (or bytes). Its standard error comes from how much
//! the units, documents or windows, differ: the usual linearisation of a ratio estimator (Cochran,
//! Sampling Techniques, 3rd ed., section 2.11), with units as the sample.

/// An estimate with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Standard error; `None` with fewer than two units.
    pub error: Option<f64>,
}

/// `Σ x / Σ w` over units of `(x, w)`.
pub fn ratio(units: &[(f64, f64)]) -> Estimate {
    let weight: f64 = units.iter().map(|u| u.1).sum();
    let value = units.iter().map(|u| u.0).sum::<f64>() / weight;
    let residuals = units.iter().map(|(x, w)| (x - value * w) / weight);
    // A unit of which nothing was scored is no observation.
    let observed = units.iter().filter(|u| u.1 > 0.0).count();
    Estimate { value, error: spread(residuals, observed) }
}

/// `Σ x / Σ w` of one measurement minus that of another on the same units, in the same order. What the
/// units have in common cancels out, so the error is that of the difference alone.
pub fn paired(ours: &[(f64, f64)], theirs: &[(f64, f64)]) -> Estimate {
    let weights = |units: &[(f64, f64)]| units.iter().map(|u| u.1).sum::<f64>();
    let (a, b) = (ratio(ours).value, ratio(theirs).value);
    let (all, other) = (weights(ours), weights(theirs));
    let residuals = ours.iter().zip(theirs).map(|(x, y)| (x.0 - a * x.1) / all - (y.0 - b * y.1) / other);
    let observed = ours.iter().zip(theirs).filter(|(x, y)| x.1 > 0.0 || y.1 > 0.0).count();
    Estimate { value: a - b, error: spread(residuals, observed) }
}

/// The standard error of a sum of `n` independent residuals with mean 0.
fn spread(residuals: impl Iterator<Item = f64>, n: usize) -> Option<f64> {
    (n > 1).then(|| (residuals.map(|r| r * r).sum::<f64>() * n as f64 / (n - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed pseudo-random sequence, uniform in 0..1.
    fn noise(seed: u64) -> impl Iterator<Item = f64> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        })
    }

    #[test]
    fn equal_weights_give_the_textbook_error() {
        let values = [1.0, 2.0, 4.0, 5.0];
        let estimate = ratio(&values.map(|x| (x, 1.0)));
        assert_eq!(estimate.value, 3.0);
        let variance = values.iter().map(|x| (x - 3.0f64).powi(2)).sum::<f64>() / 3.0;
        assert!((estimate.error.unwrap() - (variance / 4.0).sqrt()).abs() < 1e-15);
        assert_eq!(ratio(&[(1.0, 2.0)]), Estimate { value: 0.5, error: None });
        assert_eq!(ratio(&[(1.0, 2.0), (0.0, 0.0)]).error, None, "one unit was scored");
    }

    /// The errors must be as large as estimates really scatter: 400 samples of 80 units.
    #[test]
    fn errors_are_what_repeating_the_measurement_shows() {
        let mut draws = noise(1);
        let mut next = || draws.next().unwrap();
        let (mut ratios, mut differences) = (Vec::new(), Vec::new());
        for _ in 0..400 {
            let mut unit = || {
                let weight = 5.0 + 50.0 * next();
                let hard = weight * (2.0 + next());
                ((hard + 3.0 * next(), weight), (hard + 0.1 * weight + 0.4 * next(), weight))
            };
            let (ours, theirs): (Vec<_>, Vec<_>) = (0..80).map(|_| unit()).unzip();
            ratios.push(ratio(&ours));
            differences.push(paired(&ours, &theirs));
        }
        for estimates in [&ratios, &differences] {
            let n = estimates.len() as f64;
            let mean = estimates.iter().map(|e| e.value).sum::<f64>() / n;
            let real = (estimates.iter().map(|e| (e.value - mean).powi(2)).sum::<f64>() / n).sqrt();
            let said = estimates.iter().map(|e| e.error.unwrap()).sum::<f64>() / n;
            assert!((said / real - 1.0).abs() < 0.1, "errors of {said}, but values scatter by {real}");
        }
        assert!(differences[0].error.unwrap() < ratios[0].error.unwrap() / 3.0, "pairing pays");
    }
}
