//! Whether bytes are those that the Hub has: summed while they arrive.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::checkpoint::Identity;
use crate::plan::hex;

/// The sum of a file's bytes, from its beginning.
#[derive(Clone)]
pub(super) enum Sum {
    /// What LFS files are known by.
    Sha256(Sha256),
    /// What git knows files by; it begins with their length.
    Git(Sha1),
}

impl Sum {
    /// Of no bytes yet, of a file of `len`.
    pub(super) fn new(identity: &Identity, len: u64) -> Self {
        match identity {
            Identity::Sha256(_) => Self::Sha256(Sha256::new()),
            Identity::Git(_) => Self::Git(Sha1::new_with_prefix(format!("blob {len}\0"))),
        }
    }

    /// Adds the next bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(sum) => sum.update(bytes),
            Self::Git(sum) => sum.update(bytes),
        }
    }

    /// Of all bytes that were added.
    pub(super) fn identity(self) -> Identity {
        match self {
            Self::Sha256(sum) => Identity::Sha256(hex(&sum.finalize())),
            Self::Git(sum) => Identity::Git(hex(&sum.finalize())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf hello | git hash-object --stdin`, `printf hello | sha256sum`.
    #[test]
    fn sums_are_gits_and_sha256s() {
        let git = Identity::Git("b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0".into());
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for identity in [git, Identity::Sha256(sha256.into())] {
            let mut sum = Sum::new(&identity, 5);
            sum.add(b"hel");
            sum.add(b"lo");
            assert_eq!(sum.identity(), identity);
        }
    }
}
