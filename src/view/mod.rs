//! What a method sees of a tensor that is not what is stored: a model that is widened while it is read, 8-bit
//! floats as numbers, or weights with an adapter's update.
//!
//! Everything is decided from headers and `config.json`: [`Growth`] knows the formulas of HyperCloning and
//! gives each tensor its wide shape and a [`View`]. [`Tiling`] then makes any run of a wide tensor's elements
//! from the stored ones, so that a grown model needs no more memory than a stored one, and no copy on disk.
//!
//! Views know numbers and places only; the tensors that they are views of are known to a plan's inputs.

mod config;
mod growth;
mod noise;
mod rows;
mod scaled;
mod tie;
mod tiling;

use crate::adapter::LowRank;

pub use growth::{EMBEDDING, Growth, HEAD};
pub use noise::Noise;
pub use rows::{From, Rows, Run};
pub use scaled::{Format, Scaled};
pub use tiling::Tiling;

/// How a tensor is seen.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// As it is.
    Plain,
    /// As copies of it; only of stored tensors.
    Tiled(Tiling),
    /// As the numbers that 8-bit floats and their scales stand for; the scales are the second tensor.
    Scaled(Scaled),
    /// With an adapter's update; the factors `A` and `B`, and the lengths of a DoRA, are the other tensors.
    Adapted(LowRank),
    /// As numbers of another type.
    Cast,
    /// With rows of it, in another order, and rows of others.
    Rows(Rows),
}

impl View {
    /// Whether its elements are those it is made of, of the same type; else they are f32.
    pub fn keeps_type(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Tiled(tiling) => tiling.is_copy(),
            Self::Scaled(_) | Self::Adapted(_) | Self::Cast => false,
            Self::Rows(rows) => rows.exact,
        }
    }

    /// Whether each element is made of the one in the same place, and of nothing else of that tensor.
    pub fn is_elementwise(&self) -> bool {
        match self {
            Self::Plain | Self::Scaled(_) | Self::Adapted(_) | Self::Cast => true,
            Self::Tiled(_) | Self::Rows(_) => false,
        }
    }

    /// Bytes that it takes to see a block of so many elements.
    pub fn memory(&self, block: usize) -> usize {
        match self {
            Self::Plain => 0,
            // The block, and a stored row for noise.
            Self::Tiled(tiling) => (block + tiling.columns) * 4,
            // The block; scales are a few, at most one for each row.
            Self::Scaled(_) | Self::Cast => block * 4,
            Self::Adapted(update) => block * 4 + update.memory(),
            // The block, and a row of which a mean is taken; the average row and its sums.
            Self::Rows(rows) => (block + 5 * rows.width) * 4,
        }
    }

    /// What is done to the tensor, in a few words; nothing for a plain one.
    pub fn describe(&self) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Tiled(tiling) => Some(tiling.to_string()),
            Self::Scaled(scaled) => Some(scaled.to_string()),
            Self::Adapted(update) => Some(update.to_string()),
            Self::Cast => None,
            Self::Rows(rows) => Some(rows.to_string()),
        }
    }
}
