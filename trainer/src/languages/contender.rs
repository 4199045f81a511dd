//! A way to merge that is tried: its name, what text it reads, what can be set, and its recipe.

use growmerge::problem::Error;

use super::bench::{Bench, Made};
use super::point::{Axis, Point};

/// One row of every table.
#[derive(Debug)]
pub(super) struct Contender {
    /// Unique; what tables and `--only` call it.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Which of them it belongs to.
    pub kind: Kind,
    /// What text it reads.
    pub reads: Reads,
    /// What can be set; empty if nothing.
    pub axes: &'static [Axis],
    /// Contenders whose choice it begins with; they come before it.
    pub after: &'static [&'static str],
    /// Its merge with these settings.
    pub make: fn(&Bench<'_>, &Point) -> Result<Made, Error>,
}

/// Kinds of contenders, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Knows no languages. The best of these is what others are held against.
    Classical,
    /// Knows layers, rows and sizes of differences, but reads nothing.
    Structure,
    /// Weighs by how often tokens occur.
    Counts,
    /// Weighs by gradients or activations.
    Importance,
    /// Learns coefficients.
    Learned,
    /// Trains between merges.
    Trained,
}

/// Text that a merge is fitted on. Choosing its settings reads more, and as much for every contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// None.
    Nothing,
    /// Counts of the tokens that the models were trained on.
    Counts,
    /// The text to fit on.
    Fit,
    /// The text to fit on, and counts.
    FitAndCounts,
    /// What the models were trained on.
    Train,
}

impl Reads {
    /// As tables have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Counts => "counts",
            Self::Fit => "fit",
            Self::FitAndCounts => "fit, counts",
            Self::Train => "train",
        }
    }
}
