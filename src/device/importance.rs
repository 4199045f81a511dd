//! How means are weighted by importance.

/// How [`Device::mean_by_importance`](super::Device::mean_by_importance) weighs.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// Of each block.
    pub models: Vec<ModelImportance>,
    /// The least that a divided importance counts.
    pub floor: f64,
    /// What is made of it then.
    pub power: Power,
}

/// What one block's importance is multiplied and divided by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelImportance {
    /// Not negative.
    pub weight: f64,
    /// Positive.
    pub divisor: f64,
}

/// A power that is not negative; those that need no logarithm have names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Power {
    /// All count alike.
    Zero,
    /// The square root.
    Root,
    /// As it is.
    One,
    /// Any other.
    Any(f64),
}

impl Power {
    /// Of an exponent.
    pub fn of(exponent: f64) -> Self {
        match exponent {
            0.0 => Self::Zero,
            0.5 => Self::Root,
            1.0 => Self::One,
            other => Self::Any(other),
        }
    }
}
