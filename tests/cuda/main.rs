//! The CUDA device against the CPU, to the last bit: kernels compiled for the host, and for a card where there is one.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod card;
mod command;
mod host;
mod memory;
mod methods;
mod primitives;
#[path = "../support/mod.rs"]
mod support;
