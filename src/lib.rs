//! `growmerge` merges language-model checkpoints: a mergekit recipe in, a merged checkpoint out.
//!
//! Data moves one way, and each stage has one type that only the previous step can make:
//! [`recipe`] (words) → [`plan`] (jobs, from headers alone) → [`execute`] (blocks) → write (bytes in place).

pub mod adapter;
pub mod arch;
pub mod checkpoint;
mod checksum;
pub mod coefficients;
pub mod decoder;
pub mod device;
pub mod eval;
pub mod execute;
pub mod explain;
pub mod generate;
pub mod glob;
#[cfg(feature = "hub")]
pub mod hub;
pub mod importance;
pub mod method;
pub mod mix;
pub mod optimise;
pub mod plan;
pub mod problem;
pub mod recipe;
pub mod report;
mod schema;
pub mod tune;
pub mod view;
pub mod vocabulary;
pub mod write;

pub use schema::recipe_schema;
