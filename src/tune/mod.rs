//! Learning how much of each model goes into a merge: from texts, by gradients of the merged model's own loss.
//!
//! The merged weights are `W = W₀ + Σᵢ cᵢ ∘ Δᵢ`, with `Δᵢ` the difference of model `i` from the base. A coefficient `c` is
//! shared by a [group](Groups) of elements, and its gradient is the inner product of the weights' gradient with the
//! differences of the group, so one backward pass of the decoder serves every coefficient. Differences stay mapped; what
//! is in memory is one merged model in f32, as much for the sum of gradients and for each thread's, what the decoder keeps of a
//! batch, and the coefficients.
//!
//! Where an objective has no gradient, as minimal pairs have none, [`search()`] tries points instead (CMA-ES), for a few
//! coefficients.
//!
//! Learned coefficients of whole layers are those of AdaMerging (Yang et al. 2024, arXiv 2310.02575), here by the loss on
//! labelled text; those of rows and columns are our own.

mod adam;
mod aims;
mod front;
mod given;
mod groups;
mod merged;
mod objective;
mod order;
mod picture;
mod run;
mod search;
mod space;
mod state;
mod write;

pub use aims::{Aims, Measure};
pub use front::{csv, front};
pub use groups::Groups;
pub use objective::{Goal, Language, Wanted};
pub use picture::{losses, parts, search_parts, unit};
pub use run::{Evaluation, Running, Tuned, Watch, tune};
pub use search::{Found, MOST, Search, Tried, search};
pub use space::{Part, Space, Spread};

/// How coefficients are learned.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Settings {
    /// Which elements share a coefficient.
    pub groups: Groups,
    /// Steps at most.
    pub steps: u64,
    /// Tokens of each language in a step, about.
    pub tokens: usize,
    /// The highest learning rate; it falls to nothing as a cosine.
    pub rate: f64,
    /// Steps from one look at the held-out documents to the next.
    pub every: u64,
    /// Looks without a better model after which learning ends.
    pub patience: u64,
    /// Of the order of texts.
    pub seed: u64,
}

impl Settings {
    /// What has proved itself for groups: see docs/language-level.md.
    pub fn of(groups: Groups) -> Self {
        Self { groups, steps: 320, tokens: 80, rate: groups.rate(), every: 20, patience: 5, seed: 0 }
    }
}
