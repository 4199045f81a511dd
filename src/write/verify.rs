//! Checks a merged checkpoint against its manifest, and its inputs where they are still there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::manifest::{InputModel, Manifest, SourceTensor};
use super::{JOURNAL, MANIFEST};
use crate::checkpoint::Checkpoint;
use crate::plan::hex;
use crate::problem::{Error, ExecError, Problem};

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// As recorded.
    Good,
    /// Not as recorded.
    Bad(String),
    /// Could not be checked, and why; only inputs.
    Skipped(String),
}

impl Finding {
    /// The one of two that must be known.
    fn worse(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Bad(_), _) | (Self::Skipped(_), Self::Good | Self::Skipped(_)) | (_, Self::Good) => self,
            _ => other,
        }
    }
}

/// The outcome of [`verify`]: what was checked, in the order of the manifest.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// Names of files, tensors and inputs, and what was found.
    pub checks: Vec<(String, Finding)>,
}

impl Report {
    /// Whether nothing was bad.
    pub fn is_good(&self) -> bool {
        !self.checks.iter().any(|(_, f)| matches!(f, Finding::Bad(_)))
    }
}

/// Reads a folder's manifest and re-computes every hash in it.
///
/// # Errors
/// If there is no manifest, or it cannot be read.
pub fn verify(folder: &Path) -> Result<Report, Error> {
    let at = folder.display().to_string();
    let bytes = match std::fs::read(folder.join(MANIFEST)) {
        Ok(bytes) => bytes,
        Err(_) if folder.join(JOURNAL).exists() => {
            return Err(Problem::error(at, "the merge in this folder is unfinished")
                .hint("run it again with --resume")
                .into());
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Problem::error(at, format!("has no {MANIFEST}"))
                .hint("only outputs of growmerge can be verified")
                .into());
        }
        Err(e) => return Err(ExecError::io("read", &folder.join(MANIFEST))(e).into()),
    };
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|e| Problem::error(at, format!("{MANIFEST} cannot be understood: {e}")))?;
    let mut checks: Vec<(String, Finding)> = manifest
        .files
        .par_iter()
        .map(|file| {
            let path = folder.join(&file.name);
            let len = path.metadata().map(|m| m.len());
            let finding = match (len, hash(&path, 0, file.sha256_bytes)) {
                (Ok(len), _) if len != file.bytes => {
                    Finding::Bad(format!("{len} bytes instead of {}", file.bytes))
                }
                (Ok(_), Ok(found)) => compare(&file.sha256, &found),
                (Err(e), _) | (_, Err(e)) => Finding::Bad(e.to_string()),
            };
            (file.name.clone(), finding)
        })
        .collect();
    checks.par_extend(manifest.tensors.par_iter().map(|tensor| {
        let dtype = crate::checkpoint::DType::from_name(&tensor.dtype).map_or(0, |d| d.size());
        // A manifest may say anything: too much is an end of file, not an overflow.
        let bytes = tensor.shape.iter().fold(dtype as u64, |n, d| n.saturating_mul(*d as u64));
        let finding = match hash(&folder.join(&tensor.file), tensor.offset, bytes) {
            Ok(found) => compare(&tensor.sha256, &found),
            Err(e) => Finding::Bad(e.to_string()),
        };
        (tensor.name.clone(), finding)
    }));
    for input in &manifest.inputs {
        checks.push((format!("input {}", input.model), check_input(input, &manifest)));
    }
    Ok(Report { checks })
}

/// Folders below one that is no merge itself in which merges are, finished or not, as of a grid; by name.
pub fn members(folder: &Path) -> Vec<PathBuf> {
    let holds = |folder: &Path| [MANIFEST, JOURNAL].iter().any(|name| folder.join(name).exists());
    if holds(folder) {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.filter_map(|e| Some(e.ok()?.path())).filter(|path| holds(path)).collect();
    found.sort();
    found
}

fn compare(recorded: &str, found: &str) -> Finding {
    if recorded == found {
        return Finding::Good;
    }
    Finding::Bad(format!("hash is {found}, recorded was {recorded}"))
}

/// SHA-256 of `len` bytes from `start` on.
fn hash(path: &Path, start: u64, len: u64) -> std::io::Result<String> {
    use std::io::Seek;
    let mut file = File::open(path)?;
    file.seek(std::io::SeekFrom::Start(start))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut left = len;
    while left > 0 {
        let part = buffer.len().min(left as usize);
        file.read_exact(&mut buffer[..part])?;
        hash.update(&buffer[..part]);
        left -= part as u64;
    }
    Ok(hex(&hash.finalize()))
}

fn check_input(input: &InputModel, manifest: &Manifest) -> Finding {
    let mut names: Vec<&str> =
        input.files.iter().map(|f| f.checkpoint.as_deref().unwrap_or(&input.model)).collect();
    names.dedup();
    let findings = names.into_iter().map(|name| match (Path::new(name).exists(), &input.commit) {
        (false, Some(commit)) => Finding::Skipped(format!("of the Hub, at commit {commit}")),
        _ => check_checkpoint(name, input, manifest),
    });
    findings.reduce(Finding::worse).unwrap_or_else(|| Finding::Skipped("made while it was read".into()))
}

/// Files and tensors of one checkpoint as they are now against what was read of them.
fn check_checkpoint(name: &str, input: &InputModel, manifest: &Manifest) -> Finding {
    if !Path::new(name).exists() {
        return Finding::Skipped("not there any more".into());
    }
    let checkpoint = match Checkpoint::open(name) {
        Ok(checkpoint) => checkpoint,
        Err(problems) => return Finding::Bad(problems.to_string()),
    };
    let files = input.files.iter().filter(|f| f.checkpoint.as_deref().unwrap_or(&input.model) == name);
    for recorded in files {
        let file =
            checkpoint.files().iter().find(|f| f.path.file_name().is_some_and(|n| *n == *recorded.name));
        let Some(file) = file else {
            return Finding::Bad(format!("{} is not there any more", recorded.name));
        };
        if hex(&Sha256::digest(&file.header)) != recorded.header_sha256 {
            return Finding::Bad(format!("the header of {} differs", recorded.name));
        }
        if let Some(sha256) = &recorded.sha256
            && hex(&Sha256::digest(file.bytes())) != *sha256
        {
            return Finding::Bad(format!("the hash of {} differs", recorded.name));
        }
    }
    let sources = manifest.tensors.iter().flat_map(|t| &t.sources);
    let tensors: BTreeMap<&str, &str> =
        sources.flat_map(SourceTensor::stored).filter(|t| t.0 == name).map(|t| (t.1, t.2)).collect();
    let differing: Vec<&str> = tensors
        .par_iter()
        .filter(|(tensor, sum)| {
            let Some(tensor) = checkpoint.tensor(tensor) else { return true };
            let now = crate::checksum::of(checkpoint.bytes(tensor));
            checkpoint.check_intact(tensor).is_err() || format!("{now:016x}") != **sum
        })
        .map(|(tensor, _)| *tensor)
        .collect();
    match differing[..] {
        [] => Finding::Good,
        [one] => Finding::Bad(format!("tensor {one} differs")),
        [first, ..] => Finding::Bad(format!("{} tensors differ, {first} among them", differing.len())),
    }
}
