//! `growmerge.json`: what a merged checkpoint was made from, how, and the hash of everything in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::vocabulary::Summary;

/// The manifest. It holds no times and no paths but those of the recipe: the same merge gives the
/// same manifest.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Version of growmerge that wrote it.
    pub growmerge: String,
    /// Merge method.
    pub method: String,
    /// Seed of random draws.
    pub seed: u64,
    /// SHA-256 over everything that decides the output.
    pub plan: String,
    /// The models that were read, and files that stand beside them.
    pub inputs: Vec<InputModel>,
    /// The files that weights came from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coefficients: Vec<CoefficientRecord>,
    /// The output's vocabulary, where it is not simply that of every input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Summary>,
    /// Every file of the output but this one.
    pub files: Vec<OutputFile>,
    /// Every tensor of the output.
    pub tensors: Vec<TensorRecord>,
    /// Tensors of the inputs that the output does not contain: model, tensor, reason.
    pub left_out: Vec<(String, String, String)>,
}

/// A model that was read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InputModel {
    /// As the recipe names it.
    pub model: String,
    /// Whether it is the base.
    pub base: bool,
    /// Of a file that stands beside the models, what is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<String>,
    /// Of a model of the Hub, the commit that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// How it was widened while it was read, if it was: the words of the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grow: Option<Value>,
    /// The plan that made it, if it was made by a stage of the same recipe: method and digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
    /// The stage that read it, if it was not the merge itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_by: Option<String>,
    /// Its weight files.
    pub files: Vec<InputFile>,
}

/// A file that weights came from: what is in it decided the output, and is not needed to verify it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CoefficientRecord {
    /// As the recipe names it.
    pub path: String,
    /// `counts` or `coefficients`.
    pub holds: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// The stage that read it, if it was not the merge itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_by: Option<String>,
}

/// A stage's plan.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MadeBy {
    /// Merge method.
    pub method: String,
    /// SHA-256 over everything that decides its result.
    pub plan: String,
    /// Its vocabulary, where that is not simply that of every input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Summary>,
    /// Tensors of its inputs that its result does not contain: model, tensor, reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<(String, String, String)>,
}

/// A weight file that was read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InputFile {
    /// File name.
    pub name: String,
    /// The checkpoint that it is of, if that is not named as the model is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// That checkpoint's commit, if it is of the Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the header (length prefix and JSON).
    pub header_sha256: String,
    /// CRC-64/NVME of the whole file, from the bytes as they were merged; absent if the merge did not
    /// read all of its tensors. A checksum against mistakes, not against an attacker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc64nvme: Option<String>,
    /// SHA-256 of the whole file: if asked for (`--hash-inputs`), or of a file of the Hub, as it was checked when the
    /// file arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A file of the output.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OutputFile {
    /// File name.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of a small file; of a weight file only of its header, its tensors having their own.
    pub sha256: String,
    /// Bytes that `sha256` covers, from the beginning.
    pub sha256_bytes: u64,
}

/// A tensor of the output.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TensorRecord {
    /// Name.
    pub name: String,
    /// Weight file.
    pub file: String,
    /// Where its bytes begin in that file.
    pub offset: u64,
    /// Element type.
    pub dtype: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Of its bytes.
    pub sha256: String,
    /// The method, or `copy`.
    pub method: String,
    /// Parameters for all models.
    pub parameters: Value,
    /// What it was made from: the models, the base, and what stands beside the models.
    pub sources: Vec<SourceTensor>,
}

impl SourceTensor {
    /// Every stored tensor behind it: checkpoint, name, checksum.
    pub(super) fn stored(&self) -> Vec<(&str, &str, &str)> {
        let own = self.crc64nvme.iter().map(|sum| (self.model.as_str(), self.tensor.as_str(), sum.as_str()));
        let others =
            self.made_of.iter().map(|t| (t.checkpoint.as_str(), t.tensor.as_str(), t.crc64nvme.as_str()));
        own.chain(others).collect()
    }
}

/// A tensor as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StoredTensor {
    /// The checkpoint.
    pub checkpoint: String,
    /// The tensor's name there.
    pub tensor: String,
    /// CRC-64/NVME of its bytes as they were read.
    pub crc64nvme: String,
}

/// A tensor of an input.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourceTensor {
    /// The model as the recipe names it.
    pub model: String,
    /// The tensor's name there.
    pub tensor: String,
    /// What the merge saw of it, if not the tensor as it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// CRC-64/NVME of its stored bytes as they were merged; absent if it is made of other than one stored
    /// tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc64nvme: Option<String>,
    /// The stored tensors that it is made of, if it is not just one of this model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_of: Vec<StoredTensor>,
    /// Parameters of the model for this tensor.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub parameters: Value,
}
