//! Continued pretraining.

pub mod config;
mod initial;
mod model;
mod optimizer;
mod schedule;
mod symmetry;
mod trainer;

pub use model::Model;
pub use optimizer::{AdamW, norm};
pub use symmetry::asymmetry;
pub use trainer::{Step, Trainer};
