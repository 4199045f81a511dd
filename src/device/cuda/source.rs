//! The text of a kernel, and what it is known by.

use sha2::{Digest, Sha256};

/// A whole translation unit: one kernel, called [`Source::ENTRY`], without includes.
///
/// Its only parameter is a struct of [`Source::words`] 64-bit words, by value: addresses, counts, and floats as their bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// CUDA C++ that a host's compiler understands too.
    pub text: String,
    /// 64-bit words of its parameter.
    pub words: usize,
}

impl Source {
    /// The kernel's name.
    pub const ENTRY: &'static str = "growmerge_kernel";

    /// What makes the same numbers everywhere: no fused multiply-add, exact division and roots, subnormal numbers kept.
    pub const OPTIONS: [&'static str; 5] =
        ["--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false"];

    /// SHA-256 of text and options, in hex.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for option in Self::OPTIONS {
            hash.update(option);
            hash.update([0]);
        }
        hash.update(&self.text);
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}
