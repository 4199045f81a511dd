//! A merge on its way to disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::journal::{Entry, Journal};
use super::manifest::{InputFile, InputModel, Manifest, OutputFile, SourceTensor, TensorRecord};
use super::{JOURNAL, MANIFEST, card, small};
use crate::checksum::{self, Joined};
use crate::execute::{Sealed, Sink};
use crate::plan::{Plan, Shard, Source, Work, hex};
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

/// What [`Draft::open`] found.
#[derive(Debug)]
pub enum Opened<'p> {
    /// A draft; these jobs are still to do.
    Draft(Draft<'p>, Vec<usize>),
    /// The very same merge, finished.
    Complete,
}

/// An output folder that is being filled, locked against other merges.
#[derive(Debug)]
pub struct Draft<'p> {
    plan: &'p Plan,
    folder: PathBuf,
    shards: Vec<(PathBuf, File)>,
    journal: Journal,
    done: Mutex<BTreeMap<String, Entry>>,
}

fn partial(folder: &Path, shard: &Shard) -> PathBuf {
    folder.join(format!("{}.partial", shard.file))
}

impl<'p> Draft<'p> {
    /// Prepares the folder: checks what is there, locks it, and lays the shards out.
    ///
    /// # Errors
    /// [`Error::Input`] if the folder must not be written to, [`Error::Exec`] if it cannot be.
    pub fn open(plan: &'p Plan, folder: &Path, existing: Existing) -> Result<Opened<'p>, Error> {
        refuse_inputs(plan, folder)?;
        std::fs::create_dir_all(folder).map_err(ExecError::io("create", folder))?;
        let names = list(folder)?;
        let has = |name: &str| names.iter().any(|n| n == name);
        if existing == Existing::Resume && has(MANIFEST) && !has(JOURNAL) && is_of(plan, folder) {
            return Ok(Opened::Complete);
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
                remove_model(folder)?;
                entries.clear();
            }
            _ if begun.is_none() => entries.clear(),
            Existing::Resume if ours => {}
            Existing::Resume => {
                return Err(Problem::error(
                    folder.display().to_string(),
                    "the unfinished merge here is of another plan",
                )
                .hint("recipe, inputs, seed or options have changed since; --overwrite starts anew")
                .into());
            }
            Existing::Refuse => {
                return Err(Problem::error(folder.display().to_string(), "an unfinished merge is here")
                    .hint("--resume continues it, --overwrite starts anew")
                    .into());
            }
        }
        let shards = lay_out(plan, folder)?;
        let mut draft = Self { plan, folder: folder.to_owned(), shards, journal, done: Mutex::default() };
        let verified = draft.verified(entries);
        draft.journal.start((&plan.digest, &plan.stamp), verified.values())?;
        let todo = (0..plan.jobs.len()).filter(|j| !verified.contains_key(&plan.jobs[*j].name)).collect();
        draft.done = Mutex::new(verified);
        Ok(Opened::Draft(draft, todo))
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
                    e.inputs.len() == job.sources().count()
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
        let (path, file) = &self.shards[place.shard];
        let (mut at, end) = (place.offset, place.offset + self.plan.jobs[job].bytes());
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        while at < end {
            let part = buffer.len().min((end - at) as usize);
            read_at(file, &mut buffer[..part], at).map_err(ExecError::io("read", path))?;
            hash.update(&buffer[..part]);
            at += part as u64;
        }
        Ok(hex(&hash.finalize()))
    }

    /// Completes the folder. Every job must have been sealed.
    ///
    /// # Errors
    /// [`ExecError`]; the folder then still counts as unfinished.
    pub fn finish(
        self,
        sync: Sync,
        input_sha256: Option<&BTreeMap<PathBuf, String>>,
    ) -> Result<Manifest, ExecError> {
        let (plan, folder) = (self.plan, self.folder.as_path());
        let done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        for ((path, file), shard) in self.shards.into_iter().zip(&plan.layout.shards) {
            if sync == Sync::Disk {
                file.sync_all().map_err(ExecError::io("sync", &path))?;
            }
            drop(file);
            std::fs::rename(&path, folder.join(&shard.file)).map_err(ExecError::io("rename", &path))?;
        }
        let mut files: Vec<OutputFile> = plan.layout.shards.iter().map(shard_record).collect();
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
            let bytes = std::fs::read(&companion.from).map_err(ExecError::io("read", &companion.from))?;
            add(&companion.name, &bytes)?;
        }
        add("recipe.yaml", plan.recipe.1.as_bytes())?;
        add("README.md", card::card(plan).as_bytes())?;
        let manifest = manifest(plan, &done, files, input_sha256);
        small::write(folder, MANIFEST, &pretty(&manifest))?;
        if let (Sync::Disk, Ok(directory)) = (sync, File::open(folder)) {
            directory.sync_all().map_err(ExecError::io("sync", folder))?;
        }
        self.journal.remove()?;
        Ok(manifest)
    }
}

impl Sink for Draft<'_> {
    fn write(&self, job: usize, at: u64, bytes: &[u8]) -> Result<(), ExecError> {
        let place = self.plan.layout.places[job];
        let (path, file) = &self.shards[place.shard];
        write_at(file, bytes, place.offset + at).map_err(ExecError::io("write", path))
    }

    fn seal(&self, job: usize, sealed: Sealed) -> Result<(), ExecError> {
        let entry = Entry {
            tensor: self.plan.jobs[job].name.clone(),
            sha256: hex(&sealed.sha256),
            inputs: sealed.inputs.iter().map(|(_, crc)| format!("{crc:016x}")).collect(),
        };
        self.journal.add(&entry)?;
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.tensor.clone(), entry);
        Ok(())
    }
}

fn refuse_inputs(plan: &Plan, folder: &Path) -> Result<(), Error> {
    let Ok(out) = folder.canonicalize() else { return Ok(()) };
    if !out.is_dir() {
        return Err(Problem::error(folder.display().to_string(), "is a file, not a folder").into());
    }
    for input in &plan.inputs {
        if input.folder().canonicalize().is_ok_and(|i| i == out) {
            return Err(Problem::error(
                folder.display().to_string(),
                "the output folder is one of the inputs",
            )
            .hint("choose another folder")
            .into());
        }
    }
    Ok(())
}

fn list(folder: &Path) -> Result<Vec<String>, ExecError> {
    let entries = std::fs::read_dir(folder).map_err(ExecError::io("list", folder))?;
    let mut names: Vec<String> =
        entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    Ok(names)
}

/// Whether the folder's manifest is of this plan.
fn is_of(plan: &Plan, folder: &Path) -> bool {
    let bytes = std::fs::read(folder.join(MANIFEST)).unwrap_or_default();
    serde_json::from_slice::<Manifest>(&bytes).is_ok_and(|m| m.plan == plan.digest)
}

/// Removes what an earlier merge, or another tool, wrote as a model; other files stay. The manifest
/// goes first, so that a half-removed model does not look whole.
fn remove_model(folder: &Path) -> Result<(), ExecError> {
    let mut names = list(folder)?;
    names.sort_by_key(|n| n != MANIFEST);
    for name in names {
        let weights = name.starts_with("model") && name.ends_with(".safetensors");
        if weights
            || name == MANIFEST
            || name == "model.safetensors.index.json"
            || name.ends_with(".safetensors.partial")
        {
            let path = folder.join(name);
            std::fs::remove_file(&path).map_err(ExecError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Creates every shard at its full length, with its header.
fn lay_out(plan: &Plan, folder: &Path) -> Result<Vec<(PathBuf, File)>, ExecError> {
    let mut shards = Vec::new();
    let mut fresh = Vec::new();
    for shard in &plan.layout.shards {
        let path = partial(folder, shard);
        // A merge that was ended between renaming and the manifest left the final name.
        let last = folder.join(&shard.file);
        if !path.exists() && last.exists() {
            std::fs::rename(&last, &path).map_err(ExecError::io("rename", &last))?;
        }
        if path.metadata().map(|m| m.len()).ok() != Some(shard.len) {
            fresh.push(shard.len);
        }
    }
    let needed: u64 = fresh.iter().sum();
    if let Ok(disk) = rustix::fs::statvfs(folder)
        && disk.f_bavail * disk.f_frsize < needed
    {
        let path = folder.to_owned();
        tracing::debug!(needed, available = disk.f_bavail * disk.f_frsize, "not enough space");
        return Err(ExecError::DiskFull { path });
    }
    for shard in &plan.layout.shards {
        let path = partial(folder, shard);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(ExecError::io("create", &path))?;
        if file.metadata().map_err(ExecError::io("read", &path))?.len() != shard.len {
            file.set_len(0).map_err(ExecError::io("write", &path))?;
            allocate(&file, shard.len).map_err(ExecError::io("write", &path))?;
        }
        write_at(&file, &shard.header, 0).map_err(ExecError::io("write", &path))?;
        shards.push((path, file));
    }
    Ok(shards)
}

/// Reserves the file's blocks, so that a full disk is noticed now; on file systems that cannot
/// reserve, the file is only made that long.
fn allocate(file: &File, len: u64) -> std::io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), 0, len.max(1)) {
        Ok(()) => Ok(()),
        Err(Errno::NOSPC | Errno::DQUOT) => Err(std::io::ErrorKind::StorageFull.into()),
        Err(_) => file.set_len(len),
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

fn shard_record(shard: &Shard) -> OutputFile {
    OutputFile {
        name: shard.file.clone(),
        bytes: shard.len,
        sha256: hex(&Sha256::digest(&shard.header)),
        sha256_bytes: shard.header.len() as u64,
    }
}

fn manifest(
    plan: &Plan,
    done: &BTreeMap<String, Entry>,
    files: Vec<OutputFile>,
    input_sha256: Option<&BTreeMap<PathBuf, String>>,
) -> Manifest {
    let mut crcs: BTreeMap<Source, String> = BTreeMap::new();
    let mut tensors = Vec::new();
    for (job, place) in plan.jobs.iter().zip(&plan.layout.places) {
        let Some(entry) = done.get(&job.name) else { continue };
        let mut sources = Vec::new();
        for (i, (source, crc)) in job.sources().zip(&entry.inputs).enumerate() {
            crcs.insert(source, crc.clone());
            let args = job.per_model.get(i).filter(|a| a.iter().next().is_some());
            sources.push(SourceTensor {
                model: plan.inputs[source.input].name().into(),
                tensor: source.info(&plan.inputs).name.clone(),
                crc64nvme: crc.clone(),
                parameters: args.and_then(|a| serde_json::to_value(a).ok()).unwrap_or_default(),
            });
        }
        tensors.push(TensorRecord {
            name: job.name.clone(),
            file: plan.layout.shards[place.shard].file.clone(),
            offset: place.offset,
            dtype: job.dtype.name().into(),
            shape: job.shape.clone(),
            sha256: entry.sha256.clone(),
            method: match job.work {
                Work::Copy(_) => "copy".into(),
                Work::Merge(_) => plan.method.name.into(),
            },
            parameters: serde_json::to_value(&job.global).unwrap_or_default(),
            sources,
        });
    }
    let left_out = plan.left_out.iter().map(|l| (l.model.clone(), l.tensor.clone(), l.why.clone()));
    Manifest {
        growmerge: env!("CARGO_PKG_VERSION").into(),
        method: plan.method.name.into(),
        seed: plan.seed,
        plan: plan.digest.clone(),
        inputs: inputs(plan, &crcs, input_sha256),
        files,
        tensors,
        left_out: left_out.collect(),
    }
}

fn inputs(
    plan: &Plan,
    crcs: &BTreeMap<Source, String>,
    sha256: Option<&BTreeMap<PathBuf, String>>,
) -> Vec<InputModel> {
    let model = |(i, input): (usize, &crate::checkpoint::Checkpoint)| {
        let files = input.files().iter().enumerate().map(|(f, file)| InputFile {
            name: file.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            bytes: file.len,
            header_sha256: hex(&Sha256::digest(&file.header)),
            crc64nvme: whole_file_crc(input, i, f, crcs),
            sha256: sha256.and_then(|all| all.get(&file.path).cloned()),
        });
        InputModel { model: input.name().into(), base: plan.base == Some(i), files: files.collect() }
    };
    plan.inputs.iter().enumerate().map(model).collect()
}

/// The checksum of a file from those of its header and tensors, if all of them were read.
fn whole_file_crc(
    input: &crate::checkpoint::Checkpoint,
    position: usize,
    file: usize,
    crcs: &BTreeMap<Source, String>,
) -> Option<String> {
    let mut tensors: Vec<(usize, &crate::checkpoint::TensorInfo)> =
        input.tensors().iter().enumerate().filter(|(_, t)| t.file == file).collect();
    tensors.sort_by_key(|(_, t)| (t.range.start, t.range.end));
    let header = &input.files().get(file)?.header;
    let mut whole = Joined::new();
    whole.add(checksum::of(header), header.len() as u64);
    for (i, tensor) in tensors {
        let crc = crcs.get(&Source { input: position, tensor: i })?;
        let crc = u64::from_str_radix(crc, 16).ok()?;
        whole.add(crc, tensor.range.end - tensor.range.start);
    }
    Some(format!("{:016x}", whole.sum()))
}
