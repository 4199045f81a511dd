//! A PEFT folder, opened.

use std::path::Path;
use std::sync::Arc;

use super::Settings;
use crate::checkpoint::{Checkpoint, Folder, TensorInfo};
use crate::problem::{Problem, Problems};

const WEIGHTS: &str = "adapter_model.safetensors";
const PICKLE: &str = "adapter_model.bin";

/// An adapter on disk: settings read, tensors mapped.
#[derive(Debug)]
pub struct Adapter {
    name: String,
    pub(super) settings: Settings,
    checkpoint: Arc<Checkpoint>,
    warnings: Problems,
}

impl Adapter {
    /// Opens a folder; reads its configuration and the header of its weights.
    ///
    /// # Errors
    /// Everything that is wrong with its files.
    pub fn open(name: &str) -> Result<Self, Problems> {
        let folder = Path::new(name);
        if !folder.is_dir() {
            let what = if folder.exists() { "is a file, not an adapter's folder" } else { "no such folder" };
            let hint = "an adapter is a folder with adapter_config.json and adapter_model.safetensors";
            return Err(Problem::error(name, what).hint(hint).into());
        }
        Self::open_in(name, Folder::Local(folder.to_owned()))
    }

    /// As [`Adapter::open`], of a folder that may be elsewhere.
    ///
    /// # Errors
    /// Everything that is wrong with its files, or that keeps them from being had.
    pub fn open_in(name: &str, folder: Folder) -> Result<Self, Problems> {
        let (mut warnings, mut problems) = (Problems::new(), Problems::new());
        let settings = Settings::read(&folder, &mut warnings).map_err(|found| problems.extend(found));
        let weights = weights(name, folder).map_err(|found| problems.extend(found));
        match (settings, weights) {
            (Ok(settings), Ok(checkpoint)) => {
                Ok(Self { name: name.into(), settings, checkpoint: Arc::new(checkpoint), warnings })
            }
            _ => Err(problems),
        }
    }

    /// As the recipe names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says of itself.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its weights.
    pub fn checkpoint(&self) -> &Arc<Checkpoint> {
        &self.checkpoint
    }

    /// Its tensors, sorted by name.
    pub fn tensors(&self) -> &[TensorInfo] {
        self.checkpoint.tensors()
    }

    /// What the user should know of it.
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }
}

fn weights(name: &str, folder: Folder) -> Result<Checkpoint, Problems> {
    if folder.holds(WEIGHTS) {
        return Checkpoint::open_file(&folder.at(WEIGHTS), folder, WEIGHTS);
    }
    let problem = match folder.holds(PICKLE) {
        true => {
            Problem::error(name, format!("holds pickled weights ({PICKLE}), which can run code when read"))
                .hint("load it with PEFT and save it again: `save_pretrained` writes safetensors")
        }
        false => Problem::error(name, format!("holds no {WEIGHTS}"))
            .hint("is this an adapter's folder, and its download complete?"),
    };
    Err(problem.into())
}
