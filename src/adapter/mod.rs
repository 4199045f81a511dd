//! Adapters: what PEFT stores of a model that was tuned by low-rank updates, applied while the model is read.
//!
//! A PEFT folder holds `adapter_config.json` and `adapter_model.safetensors`. [`Adapter::open`] reads both,
//! [`Adapter::fit`] finds for each of its tensors the tensor of a base that it changes, and [`LowRank`] makes
//! any run of a changed tensor's elements: `W + s·B·A` (LoRA, Hu et al. 2021, arXiv 2106.09685; with
//! `s = alpha/√r` rank-stabilised, Kalajdzievski 2023, arXiv 2312.03732), or the same with rows brought to the
//! length `m` (DoRA, Liu et al. 2024, arXiv 2402.09353). No merged copy of the base exists at any time.

pub mod extract;
mod fit;
mod low_rank;
mod names;
mod open;
mod pattern;
mod place;
mod settings;

pub use fit::{Below, Change, Fit, Update};
pub use low_rank::{Factors, Kind, LowRank, Orientation};
pub use open::Adapter;
pub use settings::{Biases, Settings};

/// The head's name.
const HEAD: &str = "lm_head.weight";
