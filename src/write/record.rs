//! From a plan and a journal to the manifest.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::journal::Entry;
use super::manifest::{InputFile, InputModel, Manifest, OutputFile, SourceTensor, TensorRecord};
use crate::checkpoint::TensorInfo;
use crate::checksum::{self, Joined};
use crate::plan::{Plan, Shard, Work, hex};
use crate::view::Input;

/// A stored tensor: positions of its input, and in that.
type Stored = (usize, usize);

/// A weight file's entry: its tensors have hashes of their own, so only the header is hashed here.
pub(super) fn shard_record(shard: &Shard) -> OutputFile {
    OutputFile {
        name: shard.file.clone(),
        bytes: shard.len,
        sha256: hex(&Sha256::digest(&shard.header)),
        sha256_bytes: shard.header.len() as u64,
    }
}

/// The manifest of a merge whose every tensor is in `done`.
pub(super) fn manifest(
    plan: &Plan,
    done: &BTreeMap<String, Entry>,
    files: Vec<OutputFile>,
    input_sha256: Option<&BTreeMap<PathBuf, String>>,
) -> Manifest {
    let mut crcs: BTreeMap<Stored, String> = BTreeMap::new();
    let mut tensors = Vec::new();
    for (job, place) in plan.jobs.iter().zip(&plan.layout.places) {
        let Some(entry) = done.get(&job.name) else { continue };
        let mut sources = Vec::new();
        for (i, (source, crc)) in job.sources().zip(&entry.inputs).enumerate() {
            let input = &plan.inputs[source.input];
            crcs.insert((source.input, input.origin(source.tensor)), crc.clone());
            let args = job.per_model.get(i).filter(|a| a.iter().next().is_some());
            sources.push(SourceTensor {
                model: input.name().into(),
                tensor: source.stored(&plan.inputs).name.clone(),
                view: input.view(source.tensor).describe(),
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
    crcs: &BTreeMap<Stored, String>,
    sha256: Option<&BTreeMap<PathBuf, String>>,
) -> Vec<InputModel> {
    let model = |(i, input): (usize, &Input)| {
        let files = input.files().iter().enumerate().map(|(f, file)| InputFile {
            name: file.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            bytes: file.len,
            header_sha256: hex(&Sha256::digest(&file.header)),
            crc64nvme: whole_file_crc(input, i, f, crcs),
            sha256: sha256.and_then(|all| all.get(&file.path).cloned()),
        });
        InputModel {
            model: input.name().into(),
            base: plan.base == Some(i),
            grow: input.grow().and_then(|grow| serde_json::to_value(grow).ok()),
            files: files.collect(),
        }
    };
    plan.inputs.iter().enumerate().map(model).collect()
}

/// The checksum of a file from those of its header and tensors, if all of them were read.
fn whole_file_crc(
    input: &Input,
    position: usize,
    file: usize,
    crcs: &BTreeMap<Stored, String>,
) -> Option<String> {
    let mut tensors: Vec<(usize, &TensorInfo)> =
        input.stored().iter().enumerate().filter(|(_, t)| t.file == file).collect();
    tensors.sort_by_key(|(_, t)| (t.range.start, t.range.end));
    let header = &input.files().get(file)?.header;
    let mut whole = Joined::new();
    whole.add(checksum::of(header), header.len() as u64);
    for (i, tensor) in tensors {
        let crc = crcs.get(&(position, i))?;
        let crc = u64::from_str_radix(crc, 16).ok()?;
        whole.add(crc, tensor.range.end - tensor.range.start);
    }
    Some(format!("{:016x}", whole.sum()))
}
