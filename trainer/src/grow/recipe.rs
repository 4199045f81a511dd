//! A model and its growth as a recipe of one model.

use std::fmt::Write;
use std::path::Path;

use growmerge::checkpoint::Checkpoint;
use growmerge::problem::{Error, Problem};
use growmerge::recipe::{Amount, Grow, HeadForm};
use growmerge::write::{MANIFEST, Manifest};

/// The recipe whose merge is the grown model.
pub fn recipe(model: &str, grow: &Grow, dtype: Option<&str>) -> String {
    // JSON's quotes are YAML's too.
    let quoted = serde_json::Value::from(model);
    let mut text = format!("merge_method: passthrough\nmodels:\n  - model: {quoted}\n    grow:\n");
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "      {key}: {value}");
    };
    line("width", &grow.width);
    line("intermediate", &grow.intermediate);
    if let Some(noise) = &grow.noise {
        line("noise_snr", &noise.snr.0);
        line("seed", &noise.seed);
    }
    if let Some(head) = grow.head {
        line("head", &head.word());
    }
    if let Some(factor) = grow.factor {
        line("factor", &factor.0);
    }
    if let Some(dtype) = dtype {
        let _ = writeln!(text, "dtype: {dtype}");
    }
    text
}

/// What brings the head of a grown model into another form, and changes nothing else.
///
/// From `norm`, where the number is not written anywhere, to `factor`, it is `factor`, or the width in the
/// model's manifest.
///
/// # Errors
/// If the model cannot be opened, or nothing says which factor it is.
pub fn conversion(model: &str, head: HeadForm, factor: Option<f64>) -> Result<Grow, Error> {
    let checkpoint = Checkpoint::open(model)?;
    let key = |key: &str| checkpoint.config().and_then(|c| c.get(key)).filter(|v| !v.is_null());
    let normed =
        checkpoint.tensor("lm_head.weight").is_none() && key("lm_head_normalization_factor").is_none();
    let factor = match (head, factor) {
        (HeadForm::Factor, None) if normed => match grown_by(checkpoint.folder().path()) {
            Some(width) => Some(width as f64),
            None => {
                let what = "nothing says by which factor the model was grown";
                let hint = "give it: --factor 2, for example; any factor leaves the function as it is";
                return Err(Problem::error(model, what).hint(hint).into());
            }
        },
        (_, factor) => factor,
    };
    Ok(Grow { width: 1, intermediate: 1, noise: None, head: Some(head), factor: factor.map(Amount) })
}

/// The width in the manifest of a model that was grown by itself.
fn grown_by(folder: &Path) -> Option<u64> {
    let bytes = std::fs::read(folder.join(MANIFEST)).ok()?;
    let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
    let [input] = &manifest.inputs[..] else { return None };
    input.grow.as_ref()?.get("width")?.as_u64().filter(|width| *width > 1)
}
