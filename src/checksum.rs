//! CRC-64/NVME of bytes that are read in pieces and in any order.
//!
//! Inputs are summed unit by unit while they are in the cache; the sum of a tensor or of a whole file
//! follows from the sums of its pieces. The `crc-fast` crate computes sums at the speed of reading;
//! its own way of putting two together takes tens of microseconds, so that is done here, with the
//! power of x for the length of a unit computed once.

use crc_fast::CrcAlgorithm::Crc64Nvme;

/// x⁰ … of the polynomial in reflected order: the highest bit is the constant term.
const ONE: u64 = 1 << 63;
const POLYNOMIAL: u64 = 0x9A6C_9329_AC4B_C9B5;

/// The sum of some bytes.
pub(crate) fn of(bytes: &[u8]) -> u64 {
    crc_fast::checksum(Crc64Nvme, bytes)
}

/// A sum that bytes are added to.
pub(crate) fn running() -> crc_fast::Digest {
    crc_fast::Digest::new(Crc64Nvme)
}

/// `a · b` modulo the polynomial.
fn product(a: u64, mut b: u64) -> u64 {
    let mut sum = 0;
    for bit in (0..64).rev() {
        sum ^= b & (a >> bit & 1).wrapping_neg();
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
    }
    sum
}

/// `x^(8·bytes)` modulo the polynomial: what `bytes` more bytes do to the sum before them.
fn power(bytes: u64) -> u64 {
    let (mut result, mut square, mut exponent) = (ONE, ONE >> 8, bytes);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = product(result, square);
        }
        square = product(square, square);
        exponent >>= 1;
    }
    result
}

/// Puts sums of neighbouring pieces together.
#[derive(Debug)]
pub(crate) struct Joined {
    sum: u64,
    /// The last length and its power.
    last: (u64, u64),
}

impl Joined {
    /// The sum of nothing.
    pub(crate) fn new() -> Self {
        Self { sum: of(&[]), last: (0, ONE) }
    }

    /// Adds the piece behind those before: its sum and its length in bytes.
    pub(crate) fn add(&mut self, sum: u64, len: u64) {
        if self.last.0 != len {
            self.last = (len, power(len));
        }
        self.sum = product(self.sum, self.last.1) ^ sum;
    }

    /// The sum of all pieces.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_standard_check_value() {
        assert_eq!(of(b"123456789"), 0xAE8B_1486_0A79_9888);
    }

    proptest! {
        #[test]
        fn pieces_have_the_sum_of_the_whole(bytes: Vec<u8>, cuts in proptest::collection::vec(0usize..100, 0..5)) {
            let mut joined = Joined::new();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                joined.add(of(piece), piece.len() as u64);
                rest = more;
            }
            joined.add(of(rest), rest.len() as u64);
            prop_assert_eq!(joined.sum(), of(&bytes));
        }
    }
}
