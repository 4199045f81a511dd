//! A shuffled order without a list: a keyed permutation of `0..n`.

use growmerge::mix::mix;

/// A Feistel network over the smallest even number of bits that holds `n`, walked along its cycle until it is
/// back inside `0..n` (Black and Rogaway 2002): a bijection for any round function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permutation {
    n: u64,
    half: u32,
    key: u64,
}

const ROUNDS: u64 = 8;

impl Permutation {
    /// Of `0..n` for `n` ≥ 1; keys give orders that have nothing to do with each other.
    pub(super) fn new(n: u64, key: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Self { n, half: bits.div_ceil(2).max(1), key }
    }

    /// Where `index` goes; `index` < `n`.
    pub(super) fn at(&self, index: u64) -> u64 {
        let mut x = index;
        loop {
            x = self.once(x);
            // The domain is at most four times as large as 0..n, so this ends after four rounds on average.
            if x < self.n || self.n == 0 {
                return x;
            }
        }
    }

    fn once(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (x >> self.half, x & mask);
        for round in 0..ROUNDS {
            let mixed = mix(self.key ^ mix(right ^ (round << 56)));
            (left, right) = (right, left ^ (mixed & mask));
        }
        (left << self.half) | right
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_bijection(n in 1u64..3000, key: u64) {
            let permutation = Permutation::new(n, key);
            let mut to: Vec<u64> = (0..n).map(|i| permutation.at(i)).collect();
            to.sort_unstable();
            prop_assert!(to.into_iter().eq(0..n));
        }

        #[test]
        fn large_domains_stay_in_range(n in 1u64..=u64::MAX, key: u64, x: u64) {
            prop_assert!(Permutation::new(n, key).at(x % n) < n);
        }
    }

    /// Each of 0..n is at each place about equally often, and neighbours do not stay neighbours.
    #[test]
    fn it_is_a_shuffle() {
        let (n, keys) = (10, 20_000);
        let mut counts = [[0u32; 10]; 10];
        let mut neighbours = 0;
        for key in 0..keys {
            let permutation = Permutation::new(n, mix(key));
            for i in 0..n {
                counts[i as usize][permutation.at(i) as usize] += 1;
            }
            neighbours += (1..n).filter(|i| permutation.at(*i) == permutation.at(i - 1) + 1).count();
        }
        let expected = keys as f64 / n as f64;
        // 100 cells with 81 degrees of freedom: 150 is beyond 99.999 %.
        let chi2: f64 = counts.iter().flatten().map(|c| (f64::from(*c) - expected).powi(2) / expected).sum();
        assert!(chi2 < 150.0, "{chi2}");
        // Of 9 pairs, 9/10 · 1/9 · 9 = 0.9 are neighbours by chance.
        let per_key = neighbours as f64 / keys as f64;
        assert!((per_key - 0.9).abs() < 0.05, "{per_key}");
    }
}
