//! `growmerge` merges language-model checkpoints: a mergekit recipe in, a merged checkpoint out.
//!
//! Data moves one way, and each stage has one type that only the previous step can make:
//! recipe (words) → inputs (headers) → plan (jobs) → draft (bytes in place) → finished checkpoint.

pub mod problem;

pub mod checkpoint;
pub mod device;
pub mod method;
