//! Which share of a run each text has.

use serde::{Deserialize, Serialize};

/// The texts of a run and their shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {}
