//! A file that stands beside the models: what a method must know of their weights.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::checkpoint::{Checkpoint, DType, Folder};
use crate::method::FileKind;
use crate::problem::{Problem, Problems};

/// Tensors of one file, and what its header says of them.
#[derive(Debug)]
pub struct BesideFile {
    pub(super) checkpoint: Arc<Checkpoint>,
    /// What is in it.
    pub holds: Holds,
    /// Of the text that it was measured on, as the header has it.
    pub language: Option<String>,
}

/// What a file beside the models holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Holds {
    /// The importance of each weight.
    Importance {
        /// Over all weights of the model.
        mean: f64,
    },
    /// Gram matrices of what goes into projections.
    Grams {
        /// Weights whose matrix stands under another one's name.
        shared: BTreeMap<String, String>,
    },
}

impl BesideFile {
    /// Opens a file; only its header is read.
    ///
    /// # Errors
    /// If it is not there, or is not of this kind.
    pub fn open(path: &str, kind: FileKind) -> Result<Self, Problems> {
        let wrong = |what: String| Problems::from(Problem::error(path, what).hint(kind.hint()));
        let at = Path::new(path);
        let name = at.file_name().and_then(|name| name.to_str()).filter(|_| at.is_file());
        let Some(name) = name else {
            return Err(wrong(if at.is_dir() { "is a folder, not a file" } else { "no such file" }.into()));
        };
        let folder = at.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let checkpoint = Checkpoint::open_file(path, Folder::Local(folder.to_owned()), name)?;
        let about = checkpoint.files().first().map(|file| file.metadata()).unwrap_or_default();
        match text(&about, "format") {
            Some(format) if format == kind.format() => {}
            Some(format) => {
                return Err(wrong(format!("its format is `{format}`, not `{}`", kind.format())));
            }
            None => return Err(wrong(format!("its header has no `format: {}`", kind.format()))),
        }
        let holds = match kind {
            FileKind::Importance => Holds::Importance { mean: mean(&about).map_err(wrong)? },
            FileKind::Grams => Holds::Grams { shared: shared(&about).map_err(wrong)? },
        };
        let not_f32 = |t: &&crate::checkpoint::TensorInfo| t.dtype != DType::F32;
        let odd = match kind {
            FileKind::Importance => checkpoint.tensors().iter().find(|t| !t.dtype.is_mergeable()),
            FileKind::Grams => checkpoint.tensors().iter().find(not_f32),
        };
        if let Some(odd) = odd {
            return Err(wrong(format!("tensor {} is of type {}", odd.name, odd.dtype.name())));
        }
        let language = text(&about, "language").filter(|language| !language.is_empty()).map(str::to_owned);
        Ok(Self { checkpoint: Arc::new(checkpoint), holds, language })
    }

    /// What is in it, in a word or two.
    pub fn kind(&self) -> FileKind {
        match self.holds {
            Holds::Importance { .. } => FileKind::Importance,
            Holds::Grams { .. } => FileKind::Grams,
        }
    }

    /// The name under which it has what belongs to a weight.
    pub(in crate::plan) fn name_of<'a>(&'a self, weight: &'a str) -> &'a str {
        match &self.holds {
            Holds::Grams { shared } => shared.get(weight).map_or(weight, String::as_str),
            Holds::Importance { .. } => weight,
        }
    }
}

fn text<'a>(about: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    about.get(key)?.as_str()
}

fn mean(about: &Map<String, Value>) -> Result<f64, String> {
    let Some(mean) = text(about, "mean") else { return Err("its header does not say the `mean`".into()) };
    match mean.parse::<f64>() {
        Ok(0.0) => Err("its `mean` is zero: nothing matters".into()),
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err(format!("its `mean` is `{mean}`, not a positive number")),
    }
}

fn shared(about: &Map<String, Value>) -> Result<BTreeMap<String, String>, String> {
    let Some(shared) = text(about, "shared") else { return Ok(BTreeMap::new()) };
    serde_json::from_str(shared).map_err(|e| format!("`shared` in its header is not a list of names: {e}"))
}
