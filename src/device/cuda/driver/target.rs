//! What code is made for: a card's architecture, as it is or as far as the compiler knows it.

use std::fmt;

/// A card's compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arch {
    /// Before the point: 9 of 9.0.
    pub major: u32,
    /// Behind it.
    pub minor: u32,
}

impl Arch {
    /// As compilers number it: 90 of 9.0, 120 of 12.0.
    pub fn number(self) -> u32 {
        self.major * 10 + self.minor
    }

    /// The reverse of [`Arch::number`].
    pub fn of_number(number: u32) -> Self {
        Self { major: number / 10, minor: number % 10 }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a compiler makes of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Machine code for this architecture.
    Cubin(Arch),
    /// PTX of this architecture, of which the driver makes machine code for a newer card.
    Ptx(Arch),
}

impl Target {
    /// The best that a compiler which knows these architectures can do for a card; nothing if the card is older than all.
    pub fn of(arch: Arch, known: &[Arch]) -> Option<Self> {
        match known.contains(&arch) {
            true => Some(Self::Cubin(arch)),
            false => known.iter().filter(|a| **a < arch).max().copied().map(Self::Ptx),
        }
    }
}

/// As compilers spell it: `sm_90`, `compute_90`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cubin(arch) => write!(f, "sm_{}", arch.number()),
            Self::Ptx(arch) => write!(f, "compute_{}", arch.number()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_gets_its_own_code_or_the_newest_ptx_that_it_understands() {
        let known: Vec<Arch> = [75, 80, 90, 100, 120].map(Arch::of_number).to_vec();
        let spelt = |number| Target::of(Arch::of_number(number), &known).map(|t| t.to_string());
        assert_eq!(spelt(90).as_deref(), Some("sm_90"));
        assert_eq!(spelt(86).as_deref(), Some("compute_80"));
        assert_eq!(spelt(130).as_deref(), Some("compute_120"));
        assert_eq!(spelt(70), None, "older than all");
        assert_eq!((Arch::of_number(120).major, Arch::of_number(103).minor), (12, 3));
    }
}
