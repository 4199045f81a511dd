//! One number for everything that decides the output.

use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::{Job, Layout, Work};
use crate::device::UNIT;
use crate::method::Method;
use crate::recipe::NonFinite;
use crate::view::{Input, View};

/// Changes whenever the same plan would give other bytes.
const NUMBERS: &str = "growmerge numbers 1";

/// Hex SHA-256 over the times at which the inputs were last changed. Not part of [`digest`], so that the
/// same merge elsewhere has the same digest; but a merge is only resumed if its inputs are untouched.
pub(super) fn stamp(inputs: &[Input]) -> String {
    let mut hash = Fields(Sha256::new());
    for file in inputs.iter().flat_map(Input::files) {
        let changed = file.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        hash.number(changed.as_nanos() as u64);
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
    for file in inputs.iter().flat_map(Input::files) {
        hash.bytes(&file.header).number(file.len);
    }
    for job in jobs {
        hash.text(&job.name).text(job.dtype.name());
        hash.text(match job.work {
            Work::Copy(_) => "copy",
            Work::Merge(_) => "merge",
        });
        for source in job.sources() {
            hash.number(source.input as u64).text(&source.stored(inputs).name);
            // With every number that the view has; plain sources hash as they did before there were views.
            if let view @ View::Tiled(_) = inputs[source.input].view(source.tensor) {
                hash.text(&format!("{view:?}"));
            }
        }
        for args in std::iter::once(&job.global).chain(&job.per_model) {
            hash.text(&serde_json::to_string(args).unwrap_or_default());
        }
    }
    for shard in &layout.shards {
        hash.text(&shard.file).bytes(&shard.header);
    }
    hex(&hash.0.finalize())
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
