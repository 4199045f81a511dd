//! What a method sees of an input that is not what is stored: a model that is widened while it is read.
//!
//! Everything is decided from headers and `config.json`: [`Growth`] knows the formulas of HyperCloning and
//! gives each tensor its wide shape and a [`View`]; [`Input`] is a checkpoint that shows the wide tensors.
//! [`Tiling`] then makes any run of a wide tensor's elements from the stored ones, so that a grown model
//! needs no more memory than a stored one, and no copy on disk.

mod config;
mod growth;
mod input;
mod noise;
mod tie;
mod tiling;

pub use growth::Growth;
pub use input::{Dropped, Input};
pub use noise::Noise;
pub use tiling::Tiling;

/// How a tensor is seen.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// As it is stored.
    Plain,
    /// As copies of what is stored.
    Tiled(Tiling),
}

impl View {
    /// Whether its elements are stored ones, of the stored type; else they are f32.
    pub fn is_stored(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Tiled(tiling) => tiling.is_copy(),
        }
    }

    /// What is done to the stored tensor, in a few words; nothing for a plain one.
    pub fn describe(&self) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Tiled(tiling) => Some(tiling.to_string()),
        }
    }
}
