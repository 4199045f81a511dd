//! The CUDA device: primitives are recorded, and run as one kernel when their values are needed.

pub mod driver;
pub mod runtime;
pub mod source;
