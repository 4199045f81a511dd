//! What a machine lacks to run merges on a card, and how to get it.

use std::fmt;

use crate::problem::ExecError;

/// The release of a driver or of NVRTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Before the point.
    pub major: u32,
    /// Behind it.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why there is no device to run on. Its text is sentences; [`Missing::hint`] says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The driver's library was not found.
    #[error("There is no CUDA driver here: the library libcuda.so.1 was not found.")]
    Driver,
    /// The driver is older than what it is called with.
    #[error("The CUDA driver is too old: it is of CUDA {found}, and {needed} is needed.")]
    DriverTooOld {
        /// What is there.
        found: Version,
        /// The oldest that will do.
        needed: Version,
    },
    /// A driver without a card.
    #[error("The CUDA driver sees no card.")]
    Card,
    /// Another card was asked for than there are.
    #[error("There is no CUDA card {ordinal}: {}.", cards(*count))]
    Ordinal {
        /// What was asked for, from 0.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// NVRTC, which compiles kernels, was not found.
    #[error("NVRTC, which compiles kernels for the card, was not found: looked for {}.", looked.join(", "))]
    Compiler {
        /// Names and paths that were tried, in this order.
        looked: Vec<String>,
    },
    /// NVRTC was found and is of no use.
    #[error("NVRTC {from} is too old: it is of CUDA {found}, and {needed} is needed.")]
    CompilerTooOld {
        /// Where it is.
        from: String,
        /// What is there.
        found: Version,
        /// The oldest that will do.
        needed: Version,
    },
    /// Anything else, in a sentence.
    #[error("{what}")]
    Other {
        /// What was attempted, and what came back.
        what: String,
    },
}

/// How many there are, in words.
fn cards(count: usize) -> String {
    match count {
        0 => "there are none".into(),
        1 => "the only one is 0".into(),
        _ => format!("they are 0 to {}", count - 1),
    }
}

impl Missing {
    /// How to get it, in a sentence, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Driver => Some(
                "With an NVIDIA card in this machine, install NVIDIA's driver, release 580 or newer; in a container, give it \
                 the card (`docker run --gpus all`).",
            ),
            Self::DriverTooOld { .. } => Some("Install NVIDIA's driver, release 580 or newer."),
            Self::Card => Some(
                "`nvidia-smi` lists the cards that the driver knows; CUDA_VISIBLE_DEVICES hides cards, and containers have \
                 those that were given to them.",
            ),
            Self::Compiler { .. } | Self::CompilerTooOld { .. } => Some(
                "`pip install \"nvidia-cuda-nvrtc==13.0.*\"` gets it; then set GROWMERGE_NVRTC to the folder in which \
                 libnvrtc.so.13 is (…/site-packages/nvidia/cu13/lib).",
            ),
            Self::Ordinal { .. } | Self::Other { .. } => None,
        }
    }
}

impl From<Missing> for ExecError {
    fn from(missing: Missing) -> Self {
        let what = match missing.hint() {
            Some(hint) => format!("{missing} {hint}"),
            None => missing.to_string(),
        };
        Self::Device { what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_in_sentences() {
        let (found, needed) = (Version { major: 12, minor: 4 }, Version { major: 13, minor: 0 });
        let told = Missing::DriverTooOld { found, needed }.to_string();
        assert_eq!(told, "The CUDA driver is too old: it is of CUDA 12.4, and 13.0 is needed.");
        let told = Missing::Ordinal { ordinal: 3, count: 2 }.to_string();
        assert_eq!(told, "There is no CUDA card 3: they are 0 to 1.");
        let looked = vec!["/a/libnvrtc.so.13".into(), "libnvrtc.so".into()];
        let error = ExecError::from(Missing::Compiler { looked }).to_string();
        assert!(error.contains("looked for /a/libnvrtc.so.13, libnvrtc.so. `pip install"), "{error}");
        assert!(needed > found);
    }
}
