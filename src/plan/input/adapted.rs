//! A model with an adapter applied to it while it is read.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use super::{Change, Dropped, Input, Origin, Sight};
use crate::adapter::{self, Adapter, Below};
use crate::checkpoint::TensorInfo;
use crate::problem::Problems;
use crate::view::View;

/// What an adapter changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapted {
    /// As the recipe names it.
    pub adapter: String,
    /// Tensors that get an update.
    pub updated: usize,
    /// Tensors that are the adapter's own.
    pub replaced: usize,
    /// What the user should know.
    pub warnings: Problems,
}

impl Input {
    /// This model as the adapter changes it.
    ///
    /// # Errors
    /// Every tensor of the adapter that has no place in this model.
    pub fn adapted(self, adapter: &Adapter) -> Result<Self, Problems> {
        let fit = adapter.fit(self.tensors(), self.config())?;
        let added = Input::Stored(adapter.checkpoint().clone());
        let origin = |change: &adapter::Change| {
            let (input, at) = match change.below {
                Below::Base(at) => (&self, at),
                Below::Adapter(at) => (&added, at),
            };
            let mut of = vec![(input.clone(), at)];
            let view = match &change.update {
                Some(update) => {
                    of.extend(update.tensors().map(|at| (added.clone(), at)));
                    View::Adapted(update.low_rank.clone())
                }
                None if input.tensors()[at].dtype == self.tensors()[change.like].dtype => View::Plain,
                None => View::Cast,
            };
            Origin { view, of }
        };
        let plain = |at: usize| Origin { view: View::Plain, of: vec![(self.clone(), at)] };
        let mut tensors: Vec<(TensorInfo, Origin)> = Vec::new();
        for (at, tensor) in self.tensors().iter().enumerate() {
            let changed = fit.changes.iter().find(|c| c.name == tensor.name);
            tensors.push((tensor.clone(), changed.map_or_else(|| plain(at), origin)));
        }
        // A head that stands alone from now on.
        for change in fit.changes.iter().filter(|c| self.tensors()[c.like].name != c.name) {
            let info = TensorInfo { name: change.name.clone(), ..self.tensors()[change.like].clone() };
            tensors.push((info, origin(change)));
        }
        let mut config = self.config().cloned();
        if let Some(map) = config.as_mut().and_then(Value::as_object_mut).filter(|_| fit.unties) {
            map.insert("tie_word_embeddings".into(), json!(false));
        }
        let dropped = dropped(&self, adapter, &fit.changes);
        let updated = fit.changes.iter().filter(|c| c.update.is_some()).count();
        let replaced = fit.changes.len() - updated;
        let about =
            Adapted { adapter: adapter.name().to_owned(), updated, replaced, warnings: fit.warnings.clone() };
        let name = format!("{}+{}", self.name(), adapter.name());
        let (change, also) = (Change::Adapted(about), vec![added.clone()]);
        Ok(Sight { under: self, also, name, change, tensors, config, dropped }.into())
    }
}

/// Tensors of the base in whose place the adapter's are, and the adapter's that are of no use.
fn dropped(base: &Input, adapter: &Adapter, changes: &[adapter::Change]) -> Vec<Dropped> {
    let (mut used, mut dropped) = (BTreeSet::new(), Vec::new());
    for change in changes {
        if let Below::Adapter(at) = change.below {
            used.insert(at);
            let tensor = &base.tensors()[change.like].name;
            if *tensor == change.name {
                let why = "the adapter has one in its place".to_owned();
                dropped.push(Dropped { tensor: tensor.clone(), why });
            }
        }
        used.extend(change.update.iter().flat_map(adapter::Update::tensors));
    }
    let unused = adapter.tensors().iter().enumerate().filter(|(at, _)| !used.contains(at));
    let why = || "of the adapter: the base's own once more".to_owned();
    dropped.extend(unused.map(|(_, t)| Dropped { tensor: t.name.clone(), why: why() }));
    dropped
}

/// As in `adapted by path (24 tensors updated, 2 replaced)`.
impl fmt::Display for Adapted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "adapted by {} ({} tensors updated, {} replaced)",
            self.adapter, self.updated, self.replaced
        )
    }
}
