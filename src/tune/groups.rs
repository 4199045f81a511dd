//! Which elements share a coefficient.

/// Elements of one model that share a coefficient, from few to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// All of a model.
    Model,
    /// Of each layer its attention, its MLP and its norms; beside the layers each tensor.
    Layer,
    /// Each tensor.
    Tensor,
    /// Each row of a tensor; a vector is one row.
    Row,
    /// Each row, and each column: the coefficient of an element is the product of both.
    RowColumn,
}

impl Groups {
    /// In words, as in `one for each row of each model`.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Model => "one",
            Self::Layer => "one for each layer's attention, MLP and norms",
            Self::Tensor => "one for each tensor",
            Self::Row => "one for each row",
            Self::RowColumn => "one for each row and column",
        }
    }

    /// As it is written where groups are chosen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Layer => "layer",
            Self::Tensor => "tensor",
            Self::Row => "row",
            Self::RowColumn => "row-column",
        }
    }

    /// A learning rate that suits them.
    pub(super) fn rate(self) -> f64 {
        match self {
            // These are factors on what the recipe says, and begin at one.
            Self::Model | Self::Layer | Self::Tensor => 0.1,
            Self::Row | Self::RowColumn => 0.05,
        }
    }
}
