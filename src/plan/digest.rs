//! One number for everything that decides the output.

use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::{Input, Job, Layout, Origin, Work};
use crate::device::UNIT;
use crate::method::Method;
use crate::recipe::NonFinite;
use crate::view::View;

/// Changes whenever the same plan would give other bytes.
const NUMBERS: &str = "growmerge numbers 1";

/// Hex SHA-256 over the times at which the inputs were last changed. Not part of [`digest`], so that the
/// same merge elsewhere has the same digest; but a merge is only resumed if its inputs are untouched.
pub(super) fn stamp(inputs: &[Input]) -> String {
    let mut hash = Fields(Sha256::new());
    for input in inputs {
        for file in input.files() {
            let changed = file.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            hash.number(changed.as_nanos() as u64);
        }
        if let Some(stage) = input.stage() {
            hash.text(&stage.plan.stamp);
        }
    }
    hex(&hash.0.finalize())
}

/// Hex SHA-256 over method, seed, jobs, layout and the identity of the inputs: their headers and
/// lengths, but not their weights.
pub(super) fn digest(
    method: &Method,
    inputs: &[Input],
    jobs: &[Job],
    layout: &Layout,
    seed: u64,
    non_finite: NonFinite,
) -> String {
    let mut hash = Fields(Sha256::new());
    hash.text(NUMBERS).number(UNIT as u64).text(method.name).number(seed).text(&format!("{non_finite:?}"));
    for input in inputs {
        for file in input.files() {
            hash.bytes(&file.header).number(file.len);
        }
        if let Some(stage) = input.stage() {
            hash.text(&stage.plan.digest);
        }
    }
    for job in jobs {
        hash.text(&job.name).text(job.dtype.name());
        hash.text(match job.work {
            Work::Copy(_) => "copy",
            Work::Merge(_) => "merge",
        });
        for source in job.sources() {
            hash.number(source.input as u64);
            of_tensor(&mut hash, &inputs[source.input], source.tensor);
        }
        for args in std::iter::once(&job.global).chain(&job.per_model) {
            hash.text(&serde_json::to_string(&args.without_factors()).unwrap_or_default());
            for (name, factors) in args.factors() {
                hash.text(name).bytes(&factors.bytes());
            }
        }
    }
    for shard in &layout.shards {
        hash.text(&shard.file).bytes(&shard.header);
    }
    hex(&hash.0.finalize())
}

/// What a tensor is made of, with every number that its views have; plain sources hash as they did before
/// there were views.
fn of_tensor(hash: &mut Fields, input: &Input, tensor: usize) {
    match (input, input.origin(tensor)) {
        (Input::Stage(stage), _) => {
            hash.text(&stage.plan.digest).text(&input.tensors()[tensor].name);
        }
        (_, Some(Origin { view, of })) => {
            of.iter().for_each(|(input, tensor)| of_tensor(hash, input, *tensor));
            if *view != View::Plain {
                hash.text(&format!("{view:?}"));
            }
        }
        (_, None) => {
            hash.text(&input.tensors()[tensor].name);
        }
    }
}

struct Fields(Sha256);

impl Fields {
    /// Length first, so that neighbouring fields cannot run into each other.
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.bytes(&number.to_le_bytes())
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
