//! Models on the Hub, against one on this machine. Nothing here needs the internet.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod loopback;
mod push;
mod python;
mod server;
#[path = "../support/mod.rs"]
mod support;
