//! Continued pretraining.

pub mod config;
