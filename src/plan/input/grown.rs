//! A model that is widened while it is read.

use super::{Change, Dropped, Input, Origin, Sight};
use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::problem::{Problem, Problems};
use crate::recipe::Grow;
use crate::view::{EMBEDDING, Growth, HEAD};

/// Problems that are listed one by one.
const LISTED: usize = 5;

impl Input {
    /// This model, wider.
    ///
    /// # Errors
    /// Everything that keeps it from being grown: see [`Growth`]; and that it is no stored checkpoint.
    pub fn grown(self, words: Grow) -> Result<Self, Problems> {
        let Self::Stored(checkpoint) = &self else {
            let what = "only a checkpoint as it is stored can be grown";
            return Err(Problem::error(self.name(), what).hint("write the model out first").into());
        };
        let growth = Growth::new(checkpoint, words)?;
        let (mut tensors, mut dropped, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (at, tensor) in checkpoint.tensors().iter().enumerate() {
            let mut add = |name: String, shape, view| {
                let origin = Origin { view, of: vec![(self.clone(), at)] };
                tensors.push((TensorInfo { name, shape, ..tensor.clone() }, origin));
            };
            match growth.view(tensor) {
                Ok(Some((shape, view))) => add(tensor.name.clone(), shape, view),
                Ok(None) => {
                    let why = "the head is tied again".to_owned();
                    dropped.push(Dropped { tensor: tensor.name.clone(), why });
                }
                Err(found) => wrong.extend(found.iter().cloned()),
            }
            if EMBEDDING.contains(&tensor.name.as_str())
                && checkpoint.tensor(HEAD).is_none()
                && let Some((name, shape, view)) = growth.new_head(tensor)
            {
                add(name, shape, view);
            }
        }
        refuse(checkpoint, wrong)?;
        let config = checkpoint.config().map(|config| growth.config(config));
        let (name, change) = (checkpoint.name().to_owned(), Change::Grown(words));
        Ok(Sight { under: self, also: Vec::new(), name, change, tensors, config, dropped }.into())
    }
}

fn refuse(model: &Checkpoint, wrong: Vec<Problem>) -> Result<(), Problems> {
    let beyond = wrong.len().saturating_sub(LISTED);
    let mut problems = Problems::new();
    wrong.into_iter().take(LISTED).for_each(|p| problems.push(p));
    if beyond > 0 {
        problems.push(Problem::error(model.name(), format!("… and {beyond} more tensors cannot be grown")));
    }
    if problems.has_errors() { Err(problems) } else { Ok(()) }
}
