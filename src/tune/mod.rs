//! Learning how much of each model goes into a merge: from texts, by gradients of the merged model's own loss.
//!
//! The merged weights are `W = W₀ + Σᵢ cᵢ ∘ Δᵢ`, with `Δᵢ` the difference of model `i` from the base. A coefficient `c` is
//! shared by a [group](Groups) of elements, and its gradient is the inner product of the weights' gradient with the
//! differences of the group, so one backward pass of the decoder serves every coefficient. In memory
//! are one merged model in f32, as much for the sum of gradients and for each thread's, what the decoder keeps of a batch, the
//! coefficients, and the differences if they are small; those of larger models stay mapped.
//!
//! Where an objective has no gradient, as minimal pairs have none, [`search()`] tries points instead (CMA-ES), for a few
//! coefficients.
//!
//! Learned coefficients of whole layers are those of AdaMerging (Yang et al. 2024, arXiv 2310.02575), here by the loss on
//! labelled text; those of rows and columns are our own.

mod adam;
mod aims;
mod divided;
mod front;
mod given;
mod groups;
mod language;
mod merged;
mod model;
mod objective;
mod order;
mod packing;
mod picture;
mod rows;
mod run;
mod search;
mod space;
mod state;
mod teaching;
mod write;

pub use aims::{Aims, Measure};
pub use front::{csv, front};
pub use groups::Groups;
pub use language::Language;
pub use objective::{Goal, Wanted, no_text};
pub use picture::{losses, parts, search_parts, unit};
pub use run::{Evaluation, Running, Tuned, Watch, tune};
pub use search::{Found, MOST, Search, Tried, search};
pub use space::{Part, Space, Spread};
pub use teaching::suits;

/// How coefficients are learned.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Settings {
    /// Which elements share a coefficient.
    pub groups: Groups,
    /// Steps at most.
    pub steps: u64,
    /// Tokens in a step, about, of the language that counts most; others have as many fewer as they count less.
    pub tokens: usize,
    /// The highest learning rate; in the second half of the steps it falls to nothing.
    pub rate: f64,
    /// Steps from one look at the held-out documents to the next.
    pub every: u64,
    /// Looks without a better model after which learning ends.
    pub patience: u64,
    /// How much of each token's place a teacher's prediction takes, from 0 to 1, where there is a teacher.
    pub teaching: f64,
    /// Of the order of texts.
    pub seed: u64,
}

impl Settings {
    /// What has proved itself for groups: see docs/language-level.md.
    pub fn of(groups: Groups) -> Self {
        Self {
            groups,
            steps: 400,
            tokens: 64,
            rate: groups.rate(),
            every: 20,
            patience: 5,
            teaching: 1.0,
            seed: 0,
        }
    }
}
