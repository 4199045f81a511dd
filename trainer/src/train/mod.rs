//! Continued pretraining: [`run()`] carries out what a [`config::Run`] describes.
//!
//! [`Trainer`] takes steps and knows neither files nor texts; `run` feeds it from a
//! [`Corpus`](crate::data::Corpus), measures, and keeps what a continuation needs.

pub mod config;
mod curves;
mod divergence;
mod finished;
mod folder;
mod initial;
mod metrics;
mod model;
mod opened;
mod optimizer;
mod run;
mod schedule;
mod state;
mod store;
mod symmetry;
mod trainer;
mod validation;

pub use finished::Finished;
pub use metrics::{Line, read as read_metrics};
pub use model::Model;
pub use optimizer::AdamW;
pub use run::{About, Options, Unfinished, Watch, run};
pub use symmetry::asymmetry;
pub use trainer::{Step, Trainer};
pub use validation::{Score, Scores};
