//! Texts → token shards → the sequences of a run.

mod mixture;

pub use mixture::Mixture;
