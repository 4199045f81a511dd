//! Checkpoints that were opened: each once, however many recipes and stages name it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Input;
use crate::checkpoint::Checkpoint;
use crate::problem::Problems;
use crate::recipe::{ModelRef, Named};

/// Where a plan finds its models.
#[derive(Debug, Default)]
pub struct Library {
    checkpoints: BTreeMap<String, Arc<Checkpoint>>,
    stages: BTreeMap<String, Input>,
}

impl Library {
    /// Nothing opened yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A model as a recipe names it.
    ///
    /// # Errors
    /// Everything that is wrong with its files, or keeps it from being seen as the recipe asks.
    pub fn input(&mut self, model: &ModelRef) -> Result<Input, Problems> {
        let input = match model.named {
            Named::Path => Input::Stored(self.checkpoint(&model.path)?).dequantised()?,
            // A stage that is not there has problems of its own.
            Named::Stage => self.stages.get(&model.path).cloned().ok_or_else(Problems::new)?,
        };
        match model.grow {
            Some(words) => input.grown(words),
            None => Ok(input),
        }
    }

    /// What a document of the same file makes, for those that name it.
    pub(super) fn add_stage(&mut self, name: &str, input: Input) {
        self.stages.insert(name.to_owned(), input);
    }

    /// A checkpoint, opened now or before.
    ///
    /// # Errors
    /// Everything that is wrong with its files.
    pub fn checkpoint(&mut self, path: &str) -> Result<Arc<Checkpoint>, Problems> {
        if let Some(known) = self.checkpoints.get(path) {
            return Ok(known.clone());
        }
        let opened = Arc::new(Checkpoint::open(path)?);
        self.checkpoints.insert(path.to_owned(), opened.clone());
        Ok(opened)
    }
}
