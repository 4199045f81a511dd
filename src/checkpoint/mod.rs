//! placeholder until the reader is merged
pub use dtype::DType;
pub mod dtype;
