//! A merge on its way to disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::folder::Of;
use super::journal::{Entry, Journal};
use super::manifest::{Manifest, OutputFile};
use super::shards::Shards;
use super::writer::Writer;
use super::{JOURNAL, MANIFEST, card, folder, record, small};
use crate::execute::{Piece, Sealed, Sink};
use crate::plan::{Plan, hex};
use crate::problem::{Error, ExecError, Problem};

/// What to do with what is in the folder already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing may be there.
    Refuse,
    /// Continue an unfinished merge of the same plan; start if there is none.
    Resume,
    /// Remove an earlier model and start.
    Overwrite,
}

/// When the output is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Against loss of power: bytes are on the disk before names are final.
    Disk,
    /// Against a crash of the program only: bytes are with the system.
    System,
}

impl Sync {
    /// Brings a file or folder to the disk, if that is asked for.
    fn file(self, path: &Path) -> Result<(), ExecError> {
        match self {
            Self::Disk => File::open(path).and_then(|f| f.sync_all()).map_err(ExecError::io("sync", path)),
            Self::System => Ok(()),
        }
    }
}

/// What [`Draft::open`] found.
#[derive(Debug)]
pub enum Opened<'p> {
    /// A draft; these jobs are still to do.
    Draft(Box<Draft<'p>>, Vec<usize>),
    /// The very same merge, finished.
    Complete,
}

/// Nothing to continue: what is in the folder was made by another plan.
fn of_another(folder: &Path, state: &str) -> Problem {
    Problem::error(folder.display().to_string(), format!("the {state} merge here is of another plan"))
        .hint("recipe, inputs, seed or options have changed since; choose another folder, or --overwrite starts anew")
}

/// An output folder that is being filled, locked against other merges.
#[derive(Debug)]
pub struct Draft<'p> {
    plan: &'p Plan,
    folder: PathBuf,
    sync: Sync,
    shards: Arc<Shards>,
    journal: Arc<Journal>,
    writer: Writer,
    done: Mutex<BTreeMap<String, Entry>>,
}

impl<'p> Draft<'p> {
    /// Prepares the folder: checks what is there, locks it, and lays the shards out.
    ///
    /// # Errors
    /// [`Error::Input`] if the folder must not be written to, [`Error::Exec`] if it cannot be.
    pub fn open(plan: &'p Plan, folder: &Path, existing: Existing, sync: Sync) -> Result<Opened<'p>, Error> {
        folder::refuse_inputs(plan, folder)?;
        std::fs::create_dir_all(folder).map_err(ExecError::io("create", folder))?;
        let names = folder::list(folder)?;
        let has = |name: &str| names.iter().any(|n| n == name);
        if existing == Existing::Resume && has(MANIFEST) && !has(JOURNAL) {
            match folder::finished(plan, folder) {
                Some(Of::ThisPlan) => {
                    folder::refuse_stale(plan, folder)?;
                    return Ok(Opened::Complete);
                }
                Some(Of::Another) => return Err(of_another(folder, "finished").into()),
                None => {}
            }
        }
        if !names.is_empty() && !has(JOURNAL) && existing != Existing::Overwrite {
            let example = names.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Problem::error(
                folder.display().to_string(),
                format!("the folder is not empty ({example})"),
            )
            .hint("choose another folder, or --overwrite to replace the model in it")
            .into());
        }
        let journal = Journal::lock(folder)?;
        let (begun, mut entries) = journal.read()?;
        let ours = begun.as_ref() == Some(&(plan.digest.clone(), plan.stamp.clone()));
        match existing {
            Existing::Overwrite => {
                folder::remove_model(folder)?;
                entries.clear();
            }
            _ if begun.is_none() => entries.clear(),
            Existing::Resume if ours => {}
            Existing::Resume => return Err(of_another(folder, "unfinished").into()),
            Existing::Refuse => {
                return Err(Problem::error(folder.display().to_string(), "an unfinished merge is here")
                    .hint("--resume continues it, --overwrite starts anew")
                    .into());
            }
        }
        let shards = Arc::new(Shards::lay_out(&plan.layout, folder, sync)?);
        let journal = Arc::new(journal);
        let writer = Writer::start(shards.clone(), journal.clone())?;
        let folder = folder.to_owned();
        let mut draft = Self { plan, folder, sync, shards, journal, writer, done: Mutex::default() };
        let verified = draft.verified(entries);
        draft.journal.start((&plan.digest, &plan.stamp), verified.values())?;
        tracing::info!(folder = %draft.folder.display(), complete = verified.len(), "output folder is ready");
        let todo = (0..plan.jobs.len()).filter(|j| !verified.contains_key(&plan.jobs[*j].name)).collect();
        draft.done = Mutex::new(verified);
        Ok(Opened::Draft(Box::new(draft), todo))
    }

    /// Of journaled tensors those whose bytes are really there.
    fn verified(&self, entries: BTreeMap<String, Entry>) -> BTreeMap<String, Entry> {
        use rayon::prelude::*;
        let plan = self.plan;
        let jobs: Vec<usize> =
            (0..plan.jobs.len()).filter(|j| entries.contains_key(&plan.jobs[*j].name)).collect();
        let intact: Vec<String> = jobs
            .into_par_iter()
            .filter(|j| {
                let job = &plan.jobs[*j];
                entries.get(&job.name).is_some_and(|e| {
                    e.inputs.len() == job.leaves(&plan.inputs).len()
                        && self.hash(*j).is_ok_and(|hash| hash == e.sha256)
                })
            })
            .map(|j| plan.jobs[j].name.clone())
            .collect();
        entries.into_iter().filter(|(name, _)| intact.contains(name)).collect()
    }

    /// SHA-256 of a job's bytes as they are in its shard.
    fn hash(&self, job: usize) -> Result<String, ExecError> {
        let place = self.plan.layout.places[job];
        let (mut at, end) = (place.offset, place.offset + self.plan.jobs[job].bytes());
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        while at < end {
            let part = buffer.len().min((end - at) as usize);
            self.shards.read(place.shard, at, &mut buffer[..part])?;
            hash.update(&buffer[..part]);
            at += part as u64;
        }
        Ok(hex(&hash.finalize()))
    }

    /// Completes the folder. Every job must have been sealed.
    ///
    /// # Errors
    /// What the machine does, and files that can no longer be had; the folder then still counts as unfinished.
    pub fn finish(self, input_sha256: Option<&BTreeMap<PathBuf, String>>) -> Result<Manifest, Error> {
        let (plan, folder) = (self.plan, self.folder.as_path());
        self.writer.finish()?;
        let done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.shards.finish()?;
        let mut files: Vec<OutputFile> = plan.layout.shards.iter().map(record::shard_record).collect();
        let mut add = |name: &str, bytes: &[u8]| -> Result<(), ExecError> {
            small::write(folder, name, bytes)?;
            files.push(OutputFile {
                name: name.into(),
                bytes: bytes.len() as u64,
                sha256: hex(&Sha256::digest(bytes)),
                sha256_bytes: bytes.len() as u64,
            });
            Ok(())
        };
        if let Some(index) = plan.layout.index(&plan.jobs) {
            add("model.safetensors.index.json", &pretty(&index))?;
        }
        if let Some(config) = &plan.config {
            add("config.json", &pretty(config))?;
        }
        for companion in &plan.companions {
            add(&companion.name, &companion.contents.read()?)?;
        }
        add("recipe.yaml", plan.recipe.1.as_bytes())?;
        add("README.md", card::card(plan).as_bytes())?;
        // All names are on the disk before the manifest says so.
        let small = files.iter().skip(plan.layout.shards.len());
        small.into_iter().map(|f| folder.join(&f.name)).try_for_each(|path| self.sync.file(&path))?;
        self.sync.file(folder)?;
        let manifest = record::manifest(plan, &done, files, input_sha256);
        small::write(folder, MANIFEST, &pretty(&manifest))?;
        self.sync.file(&folder.join(MANIFEST))?;
        self.sync.file(folder)?;
        self.journal.remove()?;
        Ok(manifest)
    }
}

impl Sink for Draft<'_> {
    fn piece(&self, job: usize, at: u64, len: usize) -> Piece {
        Piece::new(self.writer.storage(), len, self.plan.layout.places[job].offset + at)
    }

    fn write(&self, job: usize, at: u64, piece: Piece) -> Result<(), ExecError> {
        let place = self.plan.layout.places[job];
        self.writer.write(place.shard, place.offset + at, piece)
    }

    fn seal(&self, job: usize, sealed: Sealed) -> Result<(), ExecError> {
        let entry = Entry {
            tensor: self.plan.jobs[job].name.clone(),
            sha256: hex(&sealed.sha256),
            inputs: sealed.inputs.iter().map(|crc| format!("{crc:016x}")).collect(),
        };
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.insert(entry.tensor.clone(), entry.clone());
        drop(done);
        self.writer.seal(entry)
    }
}

fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}
