//! Numbers that look random and follow from others: for orders and samples, not for merges, which have [`crate::device::philox`].

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014), of `x` and its increment: `mix(x + n · INCREMENT)` is the
/// generator's `n`-th number.
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(INCREMENT);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// From one number's state to the next one's.
pub const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the published generator from state 0.
    #[test]
    fn numbers_are_those_of_the_generator() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(INCREMENT), 0x6e78_9e6a_a1b9_65f4);
    }
}
