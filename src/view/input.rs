//! A checkpoint as a plan sees it: as it is stored, or grown.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::growth::{EMBEDDING, HEAD};
use super::{Growth, View};
use crate::checkpoint::{Checkpoint, SafetensorsFile, TensorInfo};
use crate::problem::{ExecError, Problem, Problems};
use crate::recipe::Grow;

/// Problems that are listed one by one.
const LISTED: usize = 5;

/// A model that is read.
#[derive(Debug)]
pub struct Input {
    checkpoint: Checkpoint,
    grown: Option<Grown>,
}

#[derive(Debug)]
struct Grown {
    growth: Growth,
    /// Wide tensors, sorted by name; file and range are those of the stored tensor that they are made of.
    tensors: Vec<TensorInfo>,
    /// For each of them the stored tensor's position, and the view.
    origins: Vec<(usize, View)>,
    config: Option<Value>,
    dropped: Vec<Dropped>,
}

/// A stored tensor that no tensor is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Its name.
    pub tensor: String,
    /// Why.
    pub why: &'static str,
}

impl Input {
    /// A checkpoint as it is stored.
    pub fn plain(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, grown: None }
    }

    /// A checkpoint that is widened while it is read.
    ///
    /// # Errors
    /// Everything that keeps it from being grown: see [`Growth`].
    pub fn grown(checkpoint: Checkpoint, words: Grow) -> Result<Self, Problems> {
        let growth = Growth::new(&checkpoint, words)?;
        let (mut found, mut dropped, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (at, tensor) in checkpoint.tensors().iter().enumerate() {
            let mut add = |name: String, shape, view| {
                found.push((TensorInfo { name, shape, ..tensor.clone() }, (at, view)));
            };
            match growth.view(tensor) {
                Ok(Some((shape, view))) => add(tensor.name.clone(), shape, view),
                Ok(None) => {
                    dropped.push(Dropped { tensor: tensor.name.clone(), why: "the head is tied again" });
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
        refuse(&checkpoint, wrong)?;
        found.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        let (tensors, origins) = found.into_iter().unzip();
        let config = checkpoint.config().map(|config| growth.config(config));
        Ok(Self { checkpoint, grown: Some(Grown { growth, tensors, origins, config, dropped }) })
    }

    /// As the recipe names it.
    pub fn name(&self) -> &str {
        self.checkpoint.name()
    }

    /// The folder that its files are in.
    pub fn folder(&self) -> &Path {
        self.checkpoint.folder()
    }

    /// Weight files.
    pub fn files(&self) -> &[SafetensorsFile] {
        self.checkpoint.files()
    }

    /// `config.json`, of the model as it is seen.
    pub fn config(&self) -> Option<&Value> {
        match &self.grown {
            Some(grown) => grown.config.as_ref(),
            None => self.checkpoint.config(),
        }
    }

    /// How it is grown, if it is.
    pub fn grow(&self) -> Option<&Grow> {
        self.grown.as_ref().map(|g| g.growth.words())
    }

    /// All tensors as they are seen, sorted by name. Of a grown one, file and range are those of the stored
    /// tensor that it is made of.
    pub fn tensors(&self) -> &[TensorInfo] {
        match &self.grown {
            Some(grown) => &grown.tensors,
            None => self.checkpoint.tensors(),
        }
    }

    /// Stored tensors that are not seen.
    pub fn dropped(&self) -> &[Dropped] {
        self.grown.as_ref().map_or(&[], |g| &g.dropped)
    }

    /// All tensors as they are stored, sorted by name.
    pub fn stored(&self) -> &[TensorInfo] {
        self.checkpoint.tensors()
    }

    /// The position among the stored tensors of what a tensor is made of.
    pub fn origin(&self, tensor: usize) -> usize {
        self.grown.as_ref().and_then(|g| g.origins.get(tensor)).map_or(tensor, |(stored, _)| *stored)
    }

    /// How a tensor is seen.
    pub fn view(&self, tensor: usize) -> &View {
        self.grown.as_ref().and_then(|g| g.origins.get(tensor)).map_or(&View::Plain, |(_, view)| view)
    }

    /// The stored bytes that a tensor is made of. Ask [`Input::check_intact`] after using them.
    pub fn bytes(&self, tensor: usize) -> &[u8] {
        self.checkpoint.bytes(&self.stored()[self.origin(tensor)])
    }

    /// Brings what some elements of a tensor are made of into memory before they are used.
    pub fn prefetch(&self, tensor: usize, elements: Range<usize>) {
        let info = &self.stored()[self.origin(tensor)];
        let size = info.dtype.size();
        let ranges = match self.view(tensor) {
            View::Plain => [elements, 0..0],
            View::Tiled(tiling) => tiling.origins(elements),
        };
        for range in ranges.into_iter().filter(|r| !r.is_empty()) {
            self.checkpoint.prefetch(info, range.start * size..range.end * size);
        }
    }

    /// Whether the file of a tensor still is what it was when it was opened.
    ///
    /// # Errors
    /// [`ExecError::InputShrank`]; bytes that were read from it may be zeros.
    pub fn check_intact(&self, tensor: usize) -> Result<(), ExecError> {
        self.checkpoint.check_intact(&self.stored()[self.origin(tensor)])
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
