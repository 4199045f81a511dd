//! Philox4x32-10 (Salmon et al., SC 2011): random numbers from a counter.
//!
//! Draw `i` of a key is lane `i % 4` of the block whose counter is `i / 4`, so any element's draw can
//! be had without the ones before it: masks depend neither on threads nor on blocks nor on the device.

use sha2::{Digest, Sha256};

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Counters that are processed side by side, which is what lets the compiler use vectors.
pub(super) const WIDE: usize = 16;

/// The ten rounds for `WIDE` consecutive counters; `result[lane][j]` belongs to counter `first + j`.
#[inline(always)]
pub(super) fn wide(first: u64, key: u64) -> [[u32; WIDE]; 4] {
    let mut c = [[0u32; WIDE]; 4];
    let [low, high, ..] = &mut c;
    for (j, (low, high)) in low.iter_mut().zip(high).enumerate() {
        let counter = first.wrapping_add(j as u64);
        *low = counter as u32;
        *high = (counter >> 32) as u32;
    }
    let mut k = [key as u32, (key >> 32) as u32];
    for _ in 0..ROUNDS {
        let mut next = [[0u32; WIDE]; 4];
        for j in 0..WIDE {
            let a = u64::from(MULTIPLIERS[0]) * u64::from(c[0][j]);
            let b = u64::from(MULTIPLIERS[1]) * u64::from(c[2][j]);
            next[0][j] = (b >> 32) as u32 ^ c[1][j] ^ k[0];
            next[1][j] = b as u32;
            next[2][j] = (a >> 32) as u32 ^ c[3][j] ^ k[1];
            next[3][j] = a as u32;
        }
        c = next;
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// The generator's key for one tensor of one model.
///
/// `model` is the model's position in the recipe, counted from 0 without the base, so that neither
/// paths nor the order of work decide the mask.
pub fn key(seed: u64, tensor: &str, model: usize) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"growmerge draw 1\0");
    hash.update(seed.to_le_bytes());
    hash.update((model as u64).to_le_bytes());
    hash.update(tensor.as_bytes());
    let digest = hash.finalize();
    digest.iter().take(8).rev().fold(0, |k, b| (k << 8) | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_for_zero_counter_and_key() {
        // From the authors' Random123 distribution (kat_vectors, philox4x32 10).
        let c = wide(0, 0);
        assert_eq!(
            [c[0][0], c[1][0], c[2][0], c[3][0]],
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
    }

    #[test]
    fn lanes_continue_the_counter_across_its_32_bit_carry() {
        let first = u64::from(u32::MAX) - 3;
        let together = wide(first, 7);
        for j in 0..WIDE {
            let alone = wide(first + j as u64, 7);
            assert_eq!(together.map(|lane| lane[j]), alone.map(|lane| lane[0]));
        }
    }

    #[test]
    fn keys_differ_by_seed_tensor_and_model() {
        let keys = [key(0, "a", 0), key(1, "a", 0), key(0, "b", 0), key(0, "a", 1)];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys.iter().skip(i + 1).all(|b| a != b));
        }
    }
}
