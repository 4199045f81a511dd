//! Powers that are the same on every machine.

use super::kernels::{exp, ln};

/// `x^p` for `x >= 0` and `p >= 0`, of plain arithmetic; off by a few 10⁻¹⁶ of it, times the logarithm of the result.
/// Zero stays zero unless `p` is; what is smaller than the smallest normal number counts as zero.
pub fn power(x: f64, p: f64) -> f64 {
    if p == 0.0 {
        return 1.0;
    }
    if x < f64::MIN_POSITIVE {
        return 0.0;
    }
    if p == 1.0 {
        return x;
    }
    if p == 0.5 {
        return x.sqrt();
    }
    let exponent = p * ln(x);
    // The exponential is made for what is not above zero.
    if exponent > 0.0 { 1.0 / exp(-exponent) } else { exp(exponent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]
        #[test]
        fn powers_are_those_of_the_library(exponent in -80.0..80.0f64, p in 0.0..8.0f64, special in 0usize..8) {
            let p = [0.0, 0.5, 1.0, 2.0, p, p, p, p][special];
            let x = exponent.exp();
            let (got, want) = (power(x, p), x.powf(p));
            proptest::prop_assert!((got - want).abs() <= 1e-15 * (1.0 + (p * exponent).abs()) * want, "{x}^{p}: {got}, {want}");
        }
    }

    #[test]
    fn nothing_stays_nothing() {
        assert_eq!(
            (power(0.0, 0.3), power(0.0, 0.0), power(1e-320, 1.0), power(1.0, 7.3)),
            (0.0, 1.0, 0.0, 1.0)
        );
    }
}
