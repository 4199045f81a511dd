//! Subsets of a list by size.

/// Numbers beyond this are not counted exactly.
const MANY: u128 = 1 << 100;

/// How many subsets of `n` things have `at_least` to `at_most` members; very many if they cannot be counted.
pub(super) fn count(n: usize, at_least: usize, at_most: usize) -> u128 {
    let mut total = 0;
    for size in at_least..=at_most.min(n) {
        total += choose(n, size);
        if total >= MANY {
            return MANY;
        }
    }
    total
}

/// n choose k, up to [`MANY`].
fn choose(n: usize, k: usize) -> u128 {
    let mut number = 1u128;
    for i in 1..=k.min(n - k) {
        // (n choose i) from (n choose i - 1), without a remainder.
        number = number.saturating_mul((n - i + 1) as u128) / i as u128;
        if number >= MANY {
            return MANY;
        }
    }
    number
}

/// The subsets as rising positions: small ones first, those of a size in the order of a dictionary.
pub(super) fn all(n: usize, at_least: usize, at_most: usize) -> impl Iterator<Item = Vec<usize>> {
    (at_least..=at_most.min(n)).flat_map(move |size| {
        let mut next = Some((0..size).collect::<Vec<usize>>());
        std::iter::from_fn(move || {
            let set = next.take()?;
            next = following(&set, n);
            Some(set)
        })
    })
}

/// The next subset of the same size.
fn following(set: &[usize], n: usize) -> Option<Vec<usize>> {
    let size = set.len();
    let last = (0..size).rev().find(|i| set[*i] < n - size + i)?;
    let head = set[..last].iter().copied();
    Some(head.chain((set[last] + 1..).take(size - last)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against all bit patterns.
    #[test]
    fn subsets_are_those_of_a_plain_search() {
        for n in 1..8usize {
            for at_least in 1..=n {
                for at_most in at_least..=n {
                    let mut want: Vec<Vec<usize>> = (0u32..1 << n)
                        .map(|bits| (0..n).filter(|i| bits >> i & 1 == 1).collect::<Vec<_>>())
                        .filter(|set| (at_least..=at_most).contains(&set.len()))
                        .collect();
                    want.sort_by_key(|set| (set.len(), set.clone()));
                    let got: Vec<Vec<usize>> = all(n, at_least, at_most).collect();
                    assert_eq!(got, want);
                    assert_eq!(count(n, at_least, at_most), want.len() as u128);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_counted_is_many() {
        assert_eq!(count(60, 1, 60), (1 << 60) - 1);
        assert_eq!(count(1000, 1, 1000), MANY);
        assert_eq!(count(500_000, 250_000, 250_000), MANY);
        assert_eq!(count(500_000, 1, 1), 500_000);
        assert_eq!(count(500_000, 499_999, 500_000), 500_001);
    }
}
