//! The output folder: nothing in it looks whole before it is.
//!
//! [`Draft::open`] places every shard at full length as `*.partial`; tensors land at their offsets in
//! any order, each completed one is a line in the journal; [`Draft::finish`] syncs, renames, writes the
//! small files and last the manifest. A folder with a manifest is complete; one with a journal can be
//! resumed.

mod card;
mod draft;
mod flusher;
mod folder;
mod journal;
mod lineage;
mod manifest;
mod record;
mod shards;
mod small;
mod verify;
mod writer;

pub use draft::{Draft, Existing, Opened, Sync};
pub use manifest::{
    CoefficientRecord, InputFile, InputModel, MadeBy, Manifest, OutputFile, SourceTensor, StoredTensor,
    TensorRecord,
};
pub use small::Aside;
#[cfg(feature = "hub")]
pub(crate) use small::write as write_small;
pub use verify::{Finding, Report, members, verify};

/// The manifest's name in an output folder.
pub const MANIFEST: &str = "growmerge.json";
/// The journal's name while a merge is unfinished.
pub const JOURNAL: &str = "growmerge.journal";

/// SHA-256 of some bytes, in lower-case hex as the manifest has it.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    crate::plan::hex(&sha2::Sha256::digest(bytes))
}
