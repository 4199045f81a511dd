//! Texts → token shards → the sequences of a run.
//!
//! A [`Mixture`] says which texts and how much of each. [`Corpus::open`] turns every text into tokens once and keeps
//! them in a cache (`shard`), settles how many sequences each gives (`quota`), in what order they take turns
//! (`interleaving`) and in what order a text's chunks come (`permutation`). Nothing of it is a state: sequence number
//! `n` of a run follows from the run's description and `n`, so a run that was stopped goes on with the very same ones.

mod corpus;
mod interleaving;
mod mixture;
mod permutation;
mod quota;
mod shard;

pub use corpus::{Corpus, Share};
pub use mixture::{Mixture, Portion, Sampling, Source};
