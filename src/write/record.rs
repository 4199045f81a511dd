//! From a plan and a journal to the manifest.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::journal::Entry;
use super::manifest::{
    CoefficientRecord, InputFile, InputModel, MadeBy, Manifest, OutputFile, SourceTensor, StoredTensor,
    TensorRecord,
};
use crate::checkpoint::{Checkpoint, Folder, SafetensorsFile};
use crate::checksum::{self, Joined};
use crate::method::Args;
use crate::plan::{CoefficientFile, Input, Leaf, Plan, Shard, Source, Work, hex};

/// Checksums of stored tensors, by [`Leaf::identity`].
type Sums = BTreeMap<(usize, usize), String>;

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
    let mut sums: Sums = BTreeMap::new();
    let mut tensors = Vec::new();
    for (job, place) in plan.jobs.iter().zip(&plan.layout.places) {
        let Some(entry) = done.get(&job.name) else { continue };
        let mut recorded = entry.inputs.iter();
        let mut sources = Vec::new();
        for (i, source) in job.sources().enumerate() {
            let leaves: Vec<_> = source.leaves(&plan.inputs).into_iter().zip(&mut recorded).collect();
            sums.extend(leaves.iter().map(|(leaf, sum)| (leaf.identity(), (*sum).clone())));
            let args = job.per_model.get(i).filter(|a| a.iter().next().is_some());
            sources.push(source_tensor(plan, source, &leaves, args));
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
    Manifest {
        growmerge: env!("CARGO_PKG_VERSION").into(),
        method: plan.method.name.into(),
        seed: plan.seed,
        plan: plan.digest.clone(),
        inputs: inputs(plan, None, &sums, input_sha256),
        coefficients: coefficients(plan),
        vocabulary: plan.vocabulary.clone(),
        files,
        tensors,
        left_out: left_out(plan),
    }
}

fn source_tensor(
    plan: &Plan,
    source: Source,
    leaves: &[(Leaf<'_>, &String)],
    args: Option<&Args>,
) -> SourceTensor {
    let input = &plan.inputs[source.input];
    let stored = |(leaf, sum): &(Leaf<'_>, &String)| StoredTensor {
        checkpoint: leaf.checkpoint.name().into(),
        tensor: leaf.info().name.clone(),
        crc64nvme: (*sum).clone(),
    };
    let own = match leaves {
        [(leaf, sum)] if leaf.checkpoint.name() == input.name() => Some((*sum).clone()),
        _ => None,
    };
    SourceTensor {
        model: input.name().into(),
        tensor: source.origin_name(&plan.inputs).into(),
        view: input.describe(source.tensor),
        made_of: if own.is_some() { Vec::new() } else { leaves.iter().map(stored).collect() },
        crc64nvme: own,
        parameters: args.and_then(|a| serde_json::to_value(a).ok()).unwrap_or_default(),
    }
}

fn left_out(plan: &Plan) -> Vec<(String, String, String)> {
    plan.left_out.iter().map(|l| (l.model.clone(), l.tensor.clone(), l.why.clone())).collect()
}

/// The files that weights of a plan come from, those of its stages behind them.
fn coefficients(plan: &Plan) -> Vec<CoefficientRecord> {
    let stages = plan.stages().into_iter().map(|stage| (Some(&stage.name), &stage.plan));
    let plans = std::iter::once((None, plan)).chain(stages);
    let record = |(read_by, plan): (Option<&String>, &Plan)| {
        let file = |file: &CoefficientFile| CoefficientRecord {
            path: file.path.clone(),
            holds: file.holds.into(),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            read_by: read_by.cloned(),
        };
        plan.coefficient_files.iter().map(file).collect::<Vec<_>>()
    };
    plans.flat_map(record).collect()
}

fn made_by(plan: &Plan) -> MadeBy {
    MadeBy {
        method: plan.method.name.into(),
        plan: plan.digest.clone(),
        vocabulary: plan.vocabulary.clone(),
        left_out: left_out(plan),
    }
}

fn commit(folder: &Folder) -> Option<String> {
    folder.remote().map(|remote| remote.commit().to_owned())
}

/// The models of a plan, those of its stages behind them.
fn inputs(
    plan: &Plan,
    read_by: Option<&str>,
    sums: &Sums,
    sha256: Option<&BTreeMap<PathBuf, String>>,
) -> Vec<InputModel> {
    let mut models = Vec::new();
    for (i, input) in plan.inputs.iter().enumerate() {
        let checkpoints = input.checkpoints();
        let files = checkpoints.into_iter().flat_map(|checkpoint| {
            let name = checkpoint.name();
            let record = move |(f, file): (usize, &SafetensorsFile)| InputFile {
                name: file.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
                checkpoint: (name != input.name()).then(|| name.to_owned()),
                commit: commit(checkpoint.folder()).filter(|_| name != input.name()),
                bytes: file.len,
                header_sha256: hex(&Sha256::digest(&file.header)),
                crc64nvme: whole_file_sum(checkpoint, f, sums),
                sha256: sha256.and_then(|all| all.get(&file.path).cloned()).or_else(|| file.verified()),
            };
            checkpoint.files().iter().enumerate().map(record)
        });
        models.push(InputModel {
            model: input.name().into(),
            base: plan.base == Some(i),
            holds: input.beside().map(|beside| beside.kind().words().to_owned()),
            commit: commit(input.folder()).filter(|_| input.stage().is_none()),
            grow: input.grow().and_then(|grow| serde_json::to_value(grow).ok()),
            made_by: input.stage().map(|stage| made_by(&stage.plan)),
            read_by: read_by.map(str::to_owned),
            files: files.collect(),
        });
    }
    let stages = plan.inputs.iter().filter_map(Input::stage);
    models.extend(stages.flat_map(|s| inputs(&s.plan, Some(&s.name), sums, sha256)));
    models
}

/// The checksum of a file from those of its header and tensors, if all of them were read.
fn whole_file_sum(checkpoint: &Checkpoint, file: usize, sums: &Sums) -> Option<String> {
    let all = (0..checkpoint.tensors().len()).map(|i| Leaf::new(checkpoint, i));
    let mut tensors: Vec<Leaf<'_>> = all.filter(|leaf| leaf.info().file == file).collect();
    tensors.sort_by_key(|leaf| (leaf.info().range.start, leaf.info().range.end));
    let header = &checkpoint.files().get(file)?.header;
    let mut whole = Joined::new();
    whole.add(checksum::of(header), header.len() as u64);
    for leaf in tensors {
        let sum = u64::from_str_radix(sums.get(&leaf.identity())?, 16).ok()?;
        whole.add(sum, leaf.info().range.end - leaf.info().range.start);
    }
    Some(format!("{:016x}", whole.sum()))
}
