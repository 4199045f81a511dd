//! Models on the Hub, against one on this machine. Nothing here needs the internet.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod commands;
mod downloads;
mod loopback;
mod paper;
mod plain;
mod planning;
mod push;
mod python;
mod server;
mod server_faults;
mod server_writes;
#[path = "../support/mod.rs"]
mod support;
mod world;
