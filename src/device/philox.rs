//! Philox4x32-10 (Salmon et al., SC 2011): random numbers from a counter.
//!
//! Draw `i` of a key is lane `i % 4` of the block whose counter is `i / 4`, so any element's draw can
//! be had without the ones before it: masks depend neither on threads nor on blocks nor on the device.

use sha2::{Digest, Sha256};

const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Counters that are processed side by side, which is what lets the compiler use vectors.
pub(super) const WIDE: usize = 32;

/// The ten rounds for `WIDE` consecutive counters; the low half of `result[lane][j]` belongs to counter
/// `first + j`.
///
/// Every 32-bit word lives in the low half of a 64-bit lane: vector units multiply 32 × 32 → 64 bits
/// just so. What is left in the high halves is never looked at, which saves all packing.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // all lanes of one counter stand side by side
pub(super) fn wide(first: u64, key: u64) -> [[u64; WIDE]; 4] {
    const LOW: u64 = 0xffff_ffff;
    let mut c = [[0u64; WIDE]; 4];
    for j in 0..WIDE {
        let counter = first.wrapping_add(j as u64);
        c[0][j] = counter;
        c[1][j] = counter >> 32;
    }
    let mut k = [key as u32, (key >> 32) as u32];
    for _ in 0..ROUNDS {
        for j in 0..WIDE {
            let a = MULTIPLIERS[0] * (c[0][j] & LOW);
            let b = MULTIPLIERS[1] * (c[2][j] & LOW);
            c[0][j] = (b >> 32) ^ c[1][j] ^ u64::from(k[0]);
            c[1][j] = b;
            c[2][j] = (a >> 32) ^ c[3][j] ^ u64::from(k[1]);
            c[3][j] = a;
        }
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// The generator's key for one tensor of one model.
///
/// `model` is the model's position in the recipe, counted from 0 without the base, so that neither
/// paths nor the order of work decide the mask.
pub fn key(seed: u64, tensor: &str, model: usize) -> u64 {
    key_of(b"growmerge draw 1\0", seed, model as u64, tensor)
}

/// The generator's key for the noise that a tensor is grown with; its draws are none of [`key`]'s.
///
/// Neither the model's path nor its place in the recipe decides it: models that are grown with one seed
/// get the same noise, up to its size.
pub fn noise_key(seed: u64, tensor: &str) -> u64 {
    key_of(b"growmerge noise 1\0", seed, 0, tensor)
}

/// The generator's key for the random directions in which a tensor's difference is looked at.
pub fn sketch_key(seed: u64, tensor: &str) -> u64 {
    key_of(b"growmerge sketch 1\0", seed, 0, tensor)
}

fn key_of(domain: &[u8], seed: u64, model: u64, tensor: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(domain);
    hash.update(seed.to_le_bytes());
    hash.update(model.to_le_bytes());
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
            [c[0][0] as u32, c[1][0] as u32, c[2][0] as u32, c[3][0] as u32],
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
    }

    #[test]
    fn lanes_continue_the_counter_across_its_32_bit_carry() {
        let first = u64::from(u32::MAX) - 3;
        let together = wide(first, 7);
        for j in 0..WIDE {
            let alone = wide(first + j as u64, 7);
            assert_eq!(together.map(|lane| lane[j] as u32), alone.map(|lane| lane[0] as u32));
        }
    }

    #[test]
    fn keys_differ_by_seed_tensor_and_model() {
        let keys = [
            key(0, "a", 0),
            key(1, "a", 0),
            key(0, "b", 0),
            key(0, "a", 1),
            noise_key(0, "a"),
            noise_key(1, "a"),
            sketch_key(0, "a"),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys.iter().skip(i + 1).all(|b| a != b));
        }
    }
}
