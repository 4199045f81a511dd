//! What a plan reads: a checkpoint as it is stored, as it is seen through views, or what another plan makes.
//!
//! An [`Input`] shows tensors; plans, methods and the writer know nothing else of it. Each seen tensor says
//! what it is made of ([`Origin`]), and at the bottom are stored tensors ([`Leaf`]), whose bytes are summed
//! while they are read, so that the manifest can name all of them.

mod adapted;
mod beside;
mod dequantised;
mod grown;
mod leaf;
mod stage;

use std::sync::Arc;

use serde_json::Value;

pub use adapted::Adapted;
pub use beside::{BesideFile, Holds};
pub use leaf::{Leaf, Order};
pub use stage::Stage;

use crate::checkpoint::{Checkpoint, Folder, SafetensorsFile, TensorInfo};
use crate::recipe::Grow;
use crate::view::View;

/// A model that is read. Copies share what they are of.
#[derive(Clone, Debug)]
pub enum Input {
    /// As it is on disk.
    Stored(Arc<Checkpoint>),
    /// Through views.
    Seen(Arc<Seen>),
    /// As another plan makes it, block by block.
    Stage(Arc<Stage>),
    /// No model, but what a method must know of one.
    Beside(Arc<BesideFile>),
}

/// A model with views over its tensors.
#[derive(Debug)]
pub struct Seen {
    /// What is seen.
    under: Input,
    /// Other checkpoints that belong to it.
    also: Vec<Input>,
    name: String,
    change: Change,
    /// Sorted by name. File and range are without meaning.
    tensors: Vec<TensorInfo>,
    /// Of each of them.
    origins: Vec<Origin>,
    config: Option<Value>,
    dropped: Vec<Dropped>,
}

/// What makes a model look other than it is stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is widened.
    Grown(Grow),
    /// So many of its tensors are stored as 8-bit floats.
    Dequantised(usize),
    /// An adapter is applied to it.
    Adapted(Adapted),
    /// Its embedding and head have the rows of another vocabulary.
    Rows,
}

/// What a seen tensor is made of.
#[derive(Clone, Debug)]
pub struct Origin {
    /// How.
    pub view: View,
    /// Tensors, by input and position; the first is the one that is looked at, the others are what the view
    /// needs besides.
    pub of: Vec<(Input, usize)>,
}

/// A stored tensor that no tensor is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Its name.
    pub tensor: String,
    /// Why.
    pub why: String,
}

/// The parts of a [`Seen`] model, tensors in any order.
pub(super) struct Sight {
    pub(super) under: Input,
    pub(super) also: Vec<Input>,
    pub(super) name: String,
    pub(super) change: Change,
    pub(super) tensors: Vec<(TensorInfo, Origin)>,
    pub(super) config: Option<Value>,
    pub(super) dropped: Vec<Dropped>,
}

impl From<Sight> for Input {
    fn from(sight: Sight) -> Self {
        let Sight { under, also, name, change, mut tensors, config, dropped } = sight;
        tensors.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        let (tensors, origins) = tensors.into_iter().unzip();
        Self::Seen(Arc::new(Seen { under, also, name, change, tensors, origins, config, dropped }))
    }
}

impl From<Checkpoint> for Input {
    fn from(checkpoint: Checkpoint) -> Self {
        Self::Stored(Arc::new(checkpoint))
    }
}

impl Input {
    /// As the recipe names it.
    pub fn name(&self) -> &str {
        match self {
            Self::Stored(checkpoint) => checkpoint.name(),
            Self::Seen(seen) => &seen.name,
            Self::Stage(stage) => &stage.name,
            Self::Beside(beside) => beside.checkpoint.name(),
        }
    }

    /// The folder of what is not changed: tokenizer, code.
    pub fn folder(&self) -> &Folder {
        match self {
            Self::Stored(checkpoint) => checkpoint.folder(),
            Self::Seen(seen) => seen.under.folder(),
            Self::Stage(stage) => stage.plan.inputs[stage.plan.donor].folder(),
            Self::Beside(beside) => beside.checkpoint.folder(),
        }
    }

    /// `config.json`, of the model as it is seen.
    pub fn config(&self) -> Option<&Value> {
        match self {
            Self::Stored(checkpoint) => checkpoint.config(),
            Self::Seen(seen) => seen.config.as_ref(),
            Self::Stage(stage) => stage.plan.config.as_ref(),
            Self::Beside(_) => None,
        }
    }

    /// Whether it is a model, and not what is known of one.
    pub fn is_model(&self) -> bool {
        !matches!(self, Self::Beside(_))
    }

    /// The file beside the models that it is, if it is one.
    pub fn beside(&self) -> Option<&BesideFile> {
        match self {
            Self::Beside(beside) => Some(beside),
            Self::Stored(_) | Self::Seen(_) | Self::Stage(_) => None,
        }
    }

    /// Whether nothing is known of it but its tensors: see [`Checkpoint::is_raw`].
    pub fn is_raw(&self) -> bool {
        match self {
            Self::Stored(checkpoint) => checkpoint.is_raw(),
            Self::Seen(seen) => seen.under.is_raw(),
            Self::Stage(stage) => stage.plan.models().all(Self::is_raw),
            Self::Beside(_) => true,
        }
    }

    /// All tensors as they are seen, sorted by name.
    pub fn tensors(&self) -> &[TensorInfo] {
        match self {
            Self::Stored(checkpoint) => checkpoint.tensors(),
            Self::Seen(seen) => &seen.tensors,
            Self::Stage(stage) => &stage.tensors,
            Self::Beside(beside) => beside.checkpoint.tensors(),
        }
    }

    /// Stored tensors that are not seen.
    pub fn dropped(&self) -> Vec<&Dropped> {
        match self {
            Self::Seen(seen) => seen.under.dropped().into_iter().chain(&seen.dropped).collect(),
            Self::Stored(_) | Self::Stage(_) | Self::Beside(_) => Vec::new(),
        }
    }

    /// The checkpoints of this model, its own weights first; of a stage none, they are its own plan's.
    pub fn checkpoints(&self) -> Vec<&Checkpoint> {
        match self {
            Self::Stored(checkpoint) => vec![checkpoint],
            Self::Beside(beside) => vec![&beside.checkpoint],
            Self::Seen(seen) => {
                std::iter::once(&seen.under).chain(&seen.also).flat_map(Self::checkpoints).collect()
            }
            Self::Stage(_) => Vec::new(),
        }
    }

    /// The stored checkpoints of the model itself, without those of adapters.
    pub fn own_checkpoints(&self) -> Vec<&Checkpoint> {
        match self {
            Self::Seen(seen) => seen.under.own_checkpoints(),
            _ => self.checkpoints(),
        }
    }

    /// Weight files of [`Input::checkpoints`].
    pub fn files(&self) -> impl Iterator<Item = &SafetensorsFile> {
        self.checkpoints().into_iter().flat_map(Checkpoint::files)
    }

    /// The plan that makes it, if one does, be it seen through views or not.
    pub fn stage(&self) -> Option<&Stage> {
        match self {
            Self::Stored(_) | Self::Beside(_) => None,
            Self::Seen(seen) => seen.under.stage(),
            Self::Stage(stage) => Some(stage),
        }
    }

    /// Stored tensors that one of its tensors is made of, at most; see [`Stage::breadth`].
    fn breadth(&self) -> u64 {
        match self {
            Self::Stored(_) | Self::Beside(_) => 1,
            Self::Seen(seen) => seen.under.breadth(),
            Self::Stage(stage) => stage.breadth(),
        }
    }

    /// What changes it, the innermost first.
    pub fn changes(&self) -> Vec<&Change> {
        match self {
            Self::Seen(seen) => seen.under.changes().into_iter().chain([&seen.change]).collect(),
            Self::Stored(_) | Self::Stage(_) | Self::Beside(_) => Vec::new(),
        }
    }

    /// How it is grown, if it is.
    pub fn grow(&self) -> Option<&Grow> {
        self.changes().into_iter().find_map(|change| match change {
            Change::Grown(grow) => Some(grow),
            Change::Dequantised(_) | Change::Adapted(_) | Change::Rows => None,
        })
    }

    /// What a tensor is made of, if it is not one that is stored or that a stage makes.
    pub fn origin(&self, tensor: usize) -> Option<&Origin> {
        match self {
            Self::Seen(seen) => seen.origins.get(tensor),
            Self::Stored(_) | Self::Stage(_) | Self::Beside(_) => None,
        }
    }

    /// Whether a tensor's elements come in its own type; else they are f32.
    pub fn keeps_type(&self, tensor: usize) -> bool {
        self.origin(tensor).is_none_or(|origin| {
            origin.view.keeps_type() && origin.of.iter().all(|(input, tensor)| input.keeps_type(*tensor))
        })
    }

    /// What is done to a stored tensor before it is seen, in a few words; nothing for a plain one.
    pub fn describe(&self, tensor: usize) -> Option<String> {
        let origin = self.origin(tensor)?;
        let below = origin.of.first().and_then(|(input, tensor)| input.describe(*tensor));
        let words: Vec<String> = below.into_iter().chain(origin.view.describe()).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// The stored tensors that a tensor is made of, always in this order; the one that it is seen of first.
    pub fn leaves(&self, tensor: usize) -> Vec<Leaf<'_>> {
        match self {
            Self::Stored(checkpoint) => vec![Leaf::new(checkpoint, tensor)],
            Self::Beside(beside) => vec![Leaf::new(&beside.checkpoint, tensor)],
            Self::Seen(seen) => seen.origins.get(tensor).map(Origin::leaves).unwrap_or_default(),
            Self::Stage(stage) => stage.leaves(tensor),
        }
    }
}
