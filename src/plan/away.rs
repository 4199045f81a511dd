//! What a plan reads of files that are elsewhere, or were when it was made.

use std::collections::BTreeSet;
use std::fmt;

use super::{Contents, Plan};
use crate::checkpoint::{Place, SafetensorsFile};
use crate::problem::ExecError;

/// What is to be fetched before a plan can be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ToFetch {
    /// Files.
    pub files: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes of them that are here already.
    pub here: u64,
}

impl ToFetch {
    /// Of files that are away; nothing of none.
    pub fn of(away: &[&Place]) -> Option<Self> {
        let sum = |of: fn(&Place) -> u64| away.iter().map(|place| of(place)).sum();
        let found = Self { files: away.len(), bytes: sum(Place::bytes), here: sum(Place::arrived) };
        (found.files > 0).then_some(found)
    }
}

impl fmt::Display for ToFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, bytes, here } = self;
        let plural = if *files == 1 { "file" } else { "files" };
        write!(f, "to fetch: {files} {plural}, {:.1} MB", *bytes as f64 / 1e6)?;
        if *here > 0 { write!(f, " ({:.1} MB of it here)", *here as f64 / 1e6) } else { Ok(()) }
    }
}

impl Plan {
    /// How much has to be brought here; nothing if everything is here.
    pub fn to_fetch(&self) -> Option<ToFetch> {
        ToFetch::of(&self.away())
    }

    /// Weight files that hold what its jobs read: of a model of which it takes some layers, perhaps not all.
    pub fn needed(&self) -> Vec<&SafetensorsFile> {
        let sources = self.jobs.iter().flat_map(|job| job.sources());
        let leaves = sources.flat_map(|source| self.inputs[source.input].leaves(source.tensor));
        let files = leaves.filter_map(|leaf| leaf.checkpoint.files().get(leaf.info().file));
        let mut seen = BTreeSet::new();
        files.filter(|file| seen.insert(&file.path)).collect()
    }

    /// Files that have to be brought here before it can be executed: weights, and what goes along with them.
    pub fn away(&self) -> Vec<&Place> {
        let weights = self.needed().into_iter().filter(|file| !file.is_here()).map(SafetensorsFile::place);
        let companions = self.companions.iter().filter_map(|companion| match &companion.contents {
            Contents::Of(place) => Some(place),
            Contents::Bytes(_) => None,
        });
        weights.chain(companions).filter(|place| place.is_away()).collect()
    }

    /// Takes up the weight files that were away and have arrived.
    ///
    /// # Errors
    /// If one is not here, or is not the file whose header was planned with.
    pub fn attach(&self) -> Result<(), ExecError> {
        self.needed().into_iter().try_for_each(SafetensorsFile::attach)
    }
}
