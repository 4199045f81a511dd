//! What tensor names mean: role, and place in the model.
//!
//! Names and layers are read off the tensors themselves, so a model of any architecture can be merged;
//! lists of parts of names (`generic.yaml`, and one file for each family that needs more) only add roles, ties,
//! aliases, optional tensors and the names of modules.

mod family;
mod module;

pub use family::Family;
use module::ModuleWords;
pub use module::{Module, Modules, Tower, towers};

/// What a tensor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Token embedding: a row for each token.
    Embed,
    /// Output projection: a row for each token.
    Head,
    /// Normalisation weight or bias.
    Norm,
    /// Attention queries.
    Query,
    /// Attention keys.
    Key,
    /// Attention values.
    Value,
    /// Queries, keys and values in one matrix.
    Qkv,
    /// Attention output.
    AttnOut,
    /// Gate of a gated MLP.
    Gate,
    /// First projection of an MLP.
    Up,
    /// Gate and first projection in one matrix.
    GateUp,
    /// Last projection of an MLP.
    Down,
    /// Expert choice.
    Router,
    /// Anything else.
    Other,
}

/// Where a tensor stands: slices take what is before the layers from their first slice, what is after
/// them from their last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Before the layers: embeddings.
    Before,
    /// In this layer.
    Layer(usize),
    /// After the layers: final norm, head.
    After,
}

/// A tensor name understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// What it does.
    pub role: Role,
    /// Where it stands.
    pub position: Position,
    /// `model.layers.`, 12, `.mlp.up_proj.weight`, if it is in a layer.
    pub layer_name: Option<(String, usize, String)>,
}

/// Splits a name at its first `.<number>.`. A numbered weight is no layer: `mlp.0.weight` is one of a list.
fn split_layer(name: &str) -> Option<(String, usize, String)> {
    let mut start = 0;
    for part in name.split('.') {
        let end = start + part.len();
        if start > 0 && end < name.len() && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            let suffix = &name[end..];
            if suffix.starts_with(".weight") || suffix.starts_with(".bias") {
                return None;
            }
            // Numbers are written back the same way, so `01` would not survive.
            let layer = part.parse().ok().filter(|n: &usize| n.to_string() == part)?;
            return Some((name[..start].to_owned(), layer, suffix.to_owned()));
        }
        start = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_between_dots_is_the_layer() {
        let split = |name: &str| split_layer(name).map(|(a, n, b)| format!("{a}|{n}|{b}"));
        assert_eq!(
            split("model.layers.12.mlp.up_proj.weight").unwrap(),
            "model.layers.|12|.mlp.up_proj.weight"
        );
        let expert = "model.layers.3.block_sparse_moe.experts.7.w1.weight";
        assert_eq!(split(expert).unwrap(), "model.layers.|3|.block_sparse_moe.experts.7.w1.weight");
        assert_eq!(split("h.0.attn").unwrap(), "h.|0|.attn");
        for loose in
            ["model.norm.weight", "lm_head.weight", "layers.1", "3.weight", "a.01.b", "mlp.2.bias", ""]
        {
            assert_eq!(split(loose), None, "{loose}");
        }
    }

    #[test]
    fn layers_are_counted_in_each_tower() {
        let names = ["v.layers.1.w", "model.layers.0.w", "model.layers.29.w", "lm_head.weight"];
        let counts = towers(&Family::of(None), names.into_iter());
        assert_eq!(counts, [("model.layers.".to_owned(), 30), ("v.layers.".to_owned(), 2)].into());
        assert!(towers(&Family::of(None), ["w"].into_iter()).is_empty());
    }
}
