//! Continued pretraining: [`run()`] carries out what a [`config::Run`] describes.
//!
//! [`Trainer`] takes steps and knows neither files nor texts; `run` feeds it from a
//! [`Corpus`](crate::data::Corpus), measures, and keeps what a continuation needs.

pub mod config;
mod curves;
mod divergence;
mod initial;
mod metrics;
mod model;
mod optimizer;
mod run;
mod schedule;
mod store;
mod symmetry;
mod trainer;
mod validation;

pub use metrics::{Line, read as read_metrics};
pub use model::Model;
pub use optimizer::{AdamW, norm};
pub use run::{About, Finished, Options, Unfinished, Watch, run};
pub use symmetry::asymmetry;
pub use trainer::{Step, Trainer};
pub use validation::{Held, Score, Scores};
