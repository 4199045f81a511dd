//! Where the models come from that contenders merge.

use serde::Serialize;

use crate::reproduce::{Setup, Study};

/// A setup of the study, or one beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
pub enum Arm {
    /// Small models
    #[value(name = "1x")]
    #[serde(rename = "1x")]
    Small,
    /// Grown between English pretraining and adaptation, with noise
    #[value(name = "1x-cloned")]
    #[serde(rename = "1x-cloned")]
    Cloned,
    /// The same without noise: copies stay equal
    #[value(name = "1x-plain")]
    #[serde(rename = "1x-plain")]
    Plain,
    /// Grown after four fifths of English pretraining, with noise
    #[value(name = "2x")]
    #[serde(rename = "2x")]
    Grown,
}

impl Arm {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Small, Self::Cloned, Self::Plain, Self::Grown];

    /// As tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "1x",
            Self::Cloned => "1x-cloned",
            Self::Plain => "1x-plain",
            Self::Grown => "2x",
        }
    }

    /// The setup that its models belong to.
    pub(super) fn setup(self) -> Setup {
        match self {
            Self::Small => Setup::Small,
            Self::Cloned | Self::Plain => Setup::Cloned,
            Self::Grown => Setup::Grown,
        }
    }

    /// The study that its models belong to.
    pub(super) fn study(self, study: &Study) -> Study {
        let mut study = study.clone();
        if self == Self::Plain {
            study.noise_snr = None;
        }
        study
    }
}
