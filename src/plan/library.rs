//! Checkpoints that were opened: each once, however many recipes and stages name it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Input;
use crate::adapter::Adapter;
use crate::checkpoint::Checkpoint;
use crate::problem::Problems;
use crate::recipe::{ModelRef, Named, refuse_revision};

/// Where a plan finds its models.
#[derive(Debug, Default)]
pub struct Library {
    checkpoints: BTreeMap<String, Arc<Checkpoint>>,
    stages: BTreeMap<String, Input>,
    adapters: BTreeMap<String, Arc<Adapter>>,
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
        refuse_revision(&model.path, model.revision.as_deref())?;
        let mut input = match model.named {
            Named::Path => Input::Stored(self.checkpoint(&model.path)?).dequantised()?,
            // A stage that is not there has problems of its own.
            Named::Stage => self.stages.get(&model.path).cloned().ok_or_else(Problems::new)?,
        };
        if let Some(adapter) = &model.adapter {
            refuse_revision(&adapter.path, adapter.revision.as_deref())?;
            input = input.adapted(&*self.adapter(&adapter.path)?)?;
        }
        match model.grow {
            Some(words) => input.grown(words),
            None => Ok(input),
        }
    }

    /// An adapter, opened now or before.
    ///
    /// # Errors
    /// Everything that is wrong with its files.
    pub fn adapter(&mut self, path: &str) -> Result<Arc<Adapter>, Problems> {
        if let Some(known) = self.adapters.get(path) {
            return Ok(known.clone());
        }
        let opened = Arc::new(Adapter::open(path)?);
        self.adapters.insert(path.to_owned(), opened.clone());
        Ok(opened)
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
