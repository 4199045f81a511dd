//! Checkpoints that were opened: each once, however many recipes and stages name it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::Input;
use super::input::BesideFile;
use crate::adapter::Adapter;
use crate::checkpoint::{Checkpoint, Folder, Remote};
use crate::coefficients::{Coefficients, Counts};
use crate::method::FileKind;
use crate::problem::{Problem, Problems};
use crate::recipe::{AdapterRef, ModelRef, Named};

/// Models that are elsewhere, by name.
pub trait Repositories: fmt::Debug {
    /// The model of a name at a revision, or at the newest; nothing if it is no name of this kind.
    ///
    /// # Errors
    /// Why it could not be found.
    fn find(&self, name: &str, revision: Option<&str>) -> Result<Option<Arc<dyn Remote>>, Problems>;
}

/// Where a plan finds its models.
#[derive(Debug, Default)]
pub struct Library {
    elsewhere: Option<Arc<dyn Repositories>>,
    checkpoints: BTreeMap<AdapterRef, Arc<Checkpoint>>,
    stages: BTreeMap<String, Input>,
    adapters: BTreeMap<AdapterRef, Arc<Adapter>>,
    besides: BTreeMap<(String, &'static str), Input>,
    counts: BTreeMap<String, Arc<Counts>>,
    coefficients: BTreeMap<String, Arc<Coefficients>>,
}

impl Library {
    /// Nothing opened yet; models are on disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Models that are not on disk are looked for elsewhere.
    #[must_use]
    pub fn with(mut self, elsewhere: Arc<dyn Repositories>) -> Self {
        self.elsewhere = Some(elsewhere);
        self
    }

    /// A model as a recipe names it.
    ///
    /// # Errors
    /// Everything that is wrong with its files, or keeps it from being seen as the recipe asks.
    pub fn input(&mut self, model: &ModelRef) -> Result<Input, Problems> {
        let mut input = match model.named {
            Named::Path => Input::Stored(self.checkpoint(&model.stored())?).dequantised()?,
            // A stage that is not there has problems of its own.
            Named::Stage => self.stages.get(&model.path).cloned().ok_or_else(Problems::new)?,
        };
        if let Some(adapter) = &model.adapter {
            input = input.adapted(&*self.adapter(adapter)?)?;
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
    pub fn adapter(&mut self, adapter: &AdapterRef) -> Result<Arc<Adapter>, Problems> {
        if let Some(known) = self.adapters.get(adapter) {
            return Ok(known.clone());
        }
        let opened = Arc::new(match self.remote(adapter)? {
            Some(remote) => Adapter::open_in(&adapter.to_string(), Folder::Remote(remote))?,
            None => Adapter::open(&adapter.path)?,
        });
        self.adapters.insert(adapter.clone(), opened.clone());
        Ok(opened)
    }

    /// A file beside the models, opened now or before.
    ///
    /// # Errors
    /// If it is not there, or is not of this kind.
    pub fn beside(&mut self, path: &str, kind: FileKind) -> Result<Input, Problems> {
        let key = (path.to_owned(), kind.format());
        if let Some(known) = self.besides.get(&key) {
            return Ok(known.clone());
        }
        let opened = Input::Beside(Arc::new(BesideFile::open(path, kind)?));
        self.besides.insert(key, opened.clone());
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
    pub fn checkpoint(&mut self, model: &AdapterRef) -> Result<Arc<Checkpoint>, Problems> {
        if let Some(known) = self.checkpoints.get(model) {
            return Ok(known.clone());
        }
        let opened = Arc::new(match self.remote(model)? {
            Some(remote) => Checkpoint::open_remote(&model.to_string(), remote)?,
            None => Checkpoint::open(&model.path)?,
        });
        self.checkpoints.insert(model.clone(), opened.clone());
        Ok(opened)
    }

    /// A file of counts, read now or before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn counts(&mut self, path: &str) -> Result<Arc<Counts>, Problems> {
        if let Some(known) = self.counts.get(path) {
            return Ok(known.clone());
        }
        let read = Arc::new(Counts::open(Path::new(path))?);
        self.counts.insert(path.to_owned(), read.clone());
        Ok(read)
    }

    /// A file of coefficients, read now or before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn coefficients(&mut self, path: &str) -> Result<Arc<Coefficients>, Problems> {
        if let Some(known) = self.coefficients.get(path) {
            return Ok(known.clone());
        }
        let read = Arc::new(Coefficients::open(Path::new(path))?);
        self.coefficients.insert(path.to_owned(), read.clone());
        Ok(read)
    }

    /// The folder that a name is of, where it is not to be opened as a model.
    ///
    /// # Errors
    /// Why it could not be found.
    pub fn folder(&self, model: &AdapterRef) -> Result<Folder, Problems> {
        Ok(self.remote(model)?.map_or_else(|| Folder::Local(model.path.clone().into()), Folder::Remote))
    }

    /// The model elsewhere that a name is of; what is on disk is not looked for.
    fn remote(&self, model: &AdapterRef) -> Result<Option<Arc<dyn Remote>>, Problems> {
        let (path, revision) = (&model.path, model.revision.as_deref());
        if Path::new(path).exists() {
            return match revision {
                Some(revision) => {
                    let what = format!("has no revision `{revision}`: it is a local path");
                    let hint = "revisions belong to Hub repositories; name the folder alone";
                    Err(Problem::error(path, what).hint(hint).into())
                }
                None => Ok(None),
            };
        }
        let found = self.elsewhere.as_ref().map_or(Ok(None), |elsewhere| elsewhere.find(path, revision))?;
        match (found, revision) {
            (None, Some(revision)) => {
                let what = format!("no such folder or file (revision `{revision}`)");
                Err(Problem::error(path, what).hint(crate::checkpoint::NOT_ELSEWHERE).into())
            }
            (found, _) => Ok(found),
        }
    }
}
