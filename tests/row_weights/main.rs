//! Weights of rows and columns: the arithmetic, the words of the recipe, and the counts that they may come from.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../cuda/host.rs"]
mod host;
#[path = "../oracle/mod.rs"]
mod oracle;
#[path = "../support/mod.rs"]
mod support;

mod agreement;
mod counting;
mod files;
mod methods;
mod refusals;
mod tokens;
mod traces;

use std::path::{Path, PathBuf};

use growmerge::coefficients::{Counts, Key, Written, write as write_coefficients};
use oracle::rows::Weight;
use support::{Noise, Tensors, f32s, write};

const NAME: &str = "model.layers.0.mlp.up_proj.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// A base and fine-tunes of it, of one tensor.
struct Set {
    folder: tempfile::TempDir,
    base: PathBuf,
    models: Vec<PathBuf>,
    base_values: Vec<f64>,
    model_values: Vec<Vec<f64>>,
}

fn set(seed: u64, name: &str, shape: &[usize], n: usize) -> Set {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(seed);
    let base: Vec<f32> = (0..shape.iter().product()).map(|_| noise.next()).collect();
    let one = |x: &[f32]| Tensors::from([(name.to_owned(), f32s(shape, x.iter().copied()))]);
    let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let base_path = folder.path().join("base");
    write(&base_path, &one(&base));
    let (mut models, mut model_values) = (Vec::new(), Vec::new());
    for i in 0..n {
        let tuned = noise.tuned(&base);
        models.push(folder.path().join(format!("m{i}")));
        write(&models[i], &one(&tuned));
        model_values.push(wide(&tuned));
    }
    Set { folder, base: base_path, models, base_values: wide(&base), model_values }
}

impl Set {
    fn coefficients(&self) -> PathBuf {
        self.folder.path().join("coefficients.safetensors")
    }

    /// Writes the weights of rows and columns to a file, the entry of a model being the name of its folder.
    fn save(&self, tensor: &str, weights: &[Weight]) {
        let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let all: Vec<(Key, Vec<f32>, Vec<f32>)> = weights
            .iter()
            .enumerate()
            .filter_map(|(i, weight)| match weight {
                Weight::Rows(rows, columns) => {
                    Some((key(&format!("m{i}"), tensor), narrow(rows), narrow(columns)))
                }
                _ => None,
            })
            .collect();
        let written: Vec<Written<'_>> =
            all.iter().map(|(key, rows, columns)| Written { key: key.clone(), rows, columns }).collect();
        write_coefficients(&self.coefficients(), &[], &written).unwrap();
    }

    /// A recipe with a weight for each model.
    fn recipe(&self, method: &str, weights: &[Weight], each: &str, all: &str) -> String {
        let words: Vec<String> = weights.iter().map(|w| words(w, &self.coefficients())).collect();
        let base = (method != "linear").then_some(self.base.as_path());
        recipe(method, base, &self.models, &words, each, all)
    }
}

fn key(entry: &str, tensor: &str) -> Key {
    Key { entry: entry.into(), tensor: tensor.into() }
}

/// A weight as a recipe has it.
fn words(weight: &Weight, file: &Path) -> String {
    match weight {
        Weight::Number(x) => x.to_string(),
        Weight::Rows(..) => format!("{{file: {}}}", file.display()),
        Weight::Norms(power, scale) => format!("{{norms: rows, power: {power}, scale: {scale}}}"),
    }
}

fn recipe(
    method: &str,
    base: Option<&Path>,
    models: &[PathBuf],
    weights: &[String],
    each: &str,
    all: &str,
) -> String {
    let mut text = format!("merge_method: {method}\nmodels:\n");
    for (model, weight) in models.iter().zip(weights) {
        text += &format!("  - model: {}\n    parameters: {{weight: {weight}{each}}}\n", model.display());
    }
    if let Some(base) = base {
        text += &format!("base_model: {}\n", base.display());
    }
    text + &format!("parameters: {{{all}}}\ndtype: float32\n")
}

/// Distance relative to the size of the expected tensor.
fn assert_near(got: &[f64], want: &[f64]) -> Result<(), proptest::test_runner::TestCaseError> {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut got.iter().zip(want).map(|(a, b)| a - b));
    let size = norm(&mut want.iter().copied());
    proptest::prop_assert!(got.len() == want.len() && off <= 4e-7 * size, "off by {off:e} of {size:e}");
    Ok(())
}

/// Writes the counts of a language.
fn save_counts(folder: &Path, language: &str, tokenizer: &str, counts: &[u64]) {
    std::fs::create_dir_all(folder).unwrap();
    let counts = Counts {
        language: language.into(),
        tokenizer: tokenizer.into(),
        counts: counts.to_vec(),
        ..Counts::default()
    };
    counts.write(&folder.join(format!("{language}.safetensors"))).unwrap();
}
