//! In which order texts are read: by seed and epoch, the same everywhere.

use crate::mix::{INCREMENT, mix};

/// A permutation of `0..len`.
pub(super) fn permutation(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut state = seed.wrapping_mul(INCREMENT) ^ epoch.wrapping_mul(0xd1b5_4a32_d192_ed03);
    let mut order: Vec<usize> = (0..len).collect();
    for i in (1..len).rev() {
        // A remainder is not quite even; no text is so long that it shows.
        order.swap(i, (mix(state) % (i as u64 + 1)) as usize);
        state = state.wrapping_add(INCREMENT);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_comes_once_and_epochs_differ() {
        for len in [0, 1, 2, 100] {
            let mut sorted = permutation(len, 3, 1);
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(0..len));
        }
        assert_ne!(permutation(100, 3, 1), permutation(100, 3, 2));
        assert_ne!(permutation(100, 3, 1), permutation(100, 4, 1));
        assert_eq!(permutation(100, 3, 1), permutation(100, 3, 1));
    }
}
