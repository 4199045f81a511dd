//! Minimisers of functions of which nothing but values is known. They know no models and no files.

mod cma;
mod eigen;

pub use cma::{Cma, Found, Limits};
