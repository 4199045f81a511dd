//! Embedding rows by counts of tokens.

use std::path::Path;

use growmerge::device::cpu::Cpu;
use proptest::prelude::*;

use super::oracle::Drop;
use super::oracle::rows::{self, RowDeltas, Weight};
use super::support::{Tensors, f32s, merge, plan, read, recipe as plain, run, values, write};
use super::{EMBEDDING, NAME, Set, assert_near, recipe, save_counts, set};

/// Shares of a token among the models, from counts.
fn shares(counts: &[Vec<u64>], power: f64, smoothing: f64, scale: f64, rows: usize) -> Vec<Weight> {
    let part = |model: &Vec<u64>, token: usize| {
        let total: u64 = model.iter().sum();
        let share = model.get(token).copied().unwrap_or(0) as f64 / total as f64 + smoothing;
        if power == 0.0 { 1.0 } else { share.powf(power) }
    };
    let of = |model: &Vec<u64>| {
        let row = |token: usize| {
            let sum: f64 = counts.iter().map(|m| part(m, token)).sum();
            if sum > 0.0 { scale * part(model, token) / sum } else { scale / counts.len() as f64 }
        };
        Weight::Rows((0..rows).map(row).collect(), Vec::new())
    };
    counts.iter().map(of).collect()
}

fn words(folder: &Path, more: &str) -> String {
    format!("{{tokens: {}{more}}}", folder.display())
}

fn count_files(set: &Set, counts: &[Vec<u64>]) -> std::path::PathBuf {
    let folder = set.folder.path().join("counts");
    for (i, counts) in counts.iter().enumerate() {
        save_counts(&folder, &format!("m{i}"), "", counts);
    }
    folder
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shares_of_counts(
        seed: u64, rows in 1usize..60, width in 1usize..60, padding in 0usize..3,
        power in 0usize..5, smoothing in 0usize..3, scale in -2.0..2.0f64, normalize: bool,
    ) {
        let power = [0.0, 0.5, 1.0, 0.37, 2.5][power];
        let smoothing = [0.0, 1e-6, 0.01][smoothing];
        let set = set(seed, EMBEDDING, &[rows + padding, width], 3);
        let mut noise = super::Noise(seed);
        let mut list = || (0..rows).map(|i| (noise.next() * 40.0).max(0.0) as u64 + u64::from(i == 0)).collect();
        let counts: Vec<Vec<u64>> = vec![list(), list(), list()];
        let folder = count_files(&set, &counts);
        let more = format!(", power: {power}, smoothing: {smoothing}, scale: {scale}");
        let text = plain("task_arithmetic", Some(&set.base), &set.models,
            &format!("{{weight: {}, normalize: {normalize}}}", words(&folder, &more)));
        let weights = shares(&counts, power, smoothing, scale, rows + padding);
        let each = rows::weights(&weights, &set.model_values, width);
        let drops = vec![Drop::Nothing, Drop::Nothing, Drop::Nothing];
        let want = RowDeltas { weights: each, drops, elect: false, normalize, lambda: 1.0 };
        let got = values(&merge(&(text + "dtype: float32\n"))[EMBEDDING]);
        assert_near(&got, &want.merge_near(&set.base_values, &set.model_values, &got))?;
    }
}

/// Beside embeddings it is the mean; models that have a number of their own take no part.
#[test]
fn other_tensors_get_the_mean() {
    let set = set(3, NAME, &[5, 7], 3);
    let folder = count_files(&set, &[vec![1, 2], vec![3, 0], vec![1, 1]]);
    let by_tokens = words(&folder, ", scale: 0.6");
    let text = recipe(
        "task_arithmetic",
        Some(&set.base),
        &set.models,
        &[by_tokens.clone(), "2".into(), by_tokens],
        "",
        "",
    );
    let want = RowDeltas {
        weights: [0.3, 2.0, 0.3].map(|x| vec![x; 35]).into(),
        drops: vec![Drop::Nothing, Drop::Nothing, Drop::Nothing],
        elect: false,
        normalize: false,
        lambda: 1.0,
    };
    let got = values(&merge(&text)[NAME]);
    assert_near(&got, &want.merge_near(&set.base_values, &set.model_values, &got)).unwrap();
}

/// In the head's bias a token has one element; and a head that is stored counts like the embedding.
#[test]
fn heads_and_their_biases() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["lm_head.weight", "lm_head.bias"];
    let shapes: [&[usize]; 2] = [&[3, 2], &[3]];
    for (model, at) in [("base", 0.0), ("a", 1.0), ("b", 10.0)] {
        let tensor = |(name, shape): (&str, &[usize])| {
            (name.to_owned(), f32s(shape, vec![at; shape.iter().product()]))
        };
        write(&folder.path().join(model), &names.into_iter().zip(shapes).map(tensor).collect::<Tensors>());
    }
    let counts = folder.path().join("counts");
    save_counts(&counts, "a", "", &[3, 1, 0]);
    save_counts(&counts, "b", "", &[1, 0, 3]);
    let models = ["a", "b"].map(|m| folder.path().join(m));
    let text = plain(
        "task_arithmetic",
        Some(&folder.path().join("base")),
        &models,
        &format!("{{weight: {}}}", words(&counts, ", smoothing: 0")),
    );
    let merged = merge(&text);
    // 0.75 : 0.25, 1 : 0 and 0 : 1.
    let want = [0.75 + 2.5, 1.0, 10.0];
    assert_eq!(values(&merged["lm_head.bias"]), want);
    assert_eq!(values(&merged["lm_head.weight"]), want.map(|x| [x, x]).concat());
}

/// One folder, one file for all, and one file for each.
#[test]
fn a_language_may_be_named() {
    let set = set(3, EMBEDDING, &[4, 3], 2);
    let counts = set.folder.path().join("counts");
    save_counts(&counts, "et", "", &[1, 2, 3, 4]);
    save_counts(&counts, "m1", "", &[4, 3, 2, 1]);
    let file = counts.join("et.safetensors");
    let of = |first: String, second: String| {
        merge(&recipe("linear", None, &set.models, &[first, second], "", "normalize: false"))[EMBEDDING]
            .bytes
            .clone()
    };
    let named = of(words(&counts, ", language: et"), words(&counts, ""));
    assert_eq!(named, of(words(&file, ""), words(&counts, ", language: m1")));
    assert_ne!(named, of(words(&counts, ", language: m1"), words(&counts, ", language: et")));
}

/// A recipe with rules of every kind on models with a tokenizer, written and verified without the counts.
#[test]
fn rules_of_every_kind_on_the_quickstart() {
    let folder = tempfile::tempdir().unwrap();
    let counts = folder.path().join("counts");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tokenizer = growmerge::write::sha256_hex(
        &std::fs::read(root.join("recipes/quickstart/en/tokenizer.json")).unwrap(),
    );
    let list = |seed: u64| {
        let mut noise = super::Noise(seed);
        (0..2048).map(|_| ((noise.next() + 0.5).max(0.0) * 100.0) as u64).collect::<Vec<u64>>()
    };
    save_counts(&counts, "et", &tokenizer, &list(1));
    save_counts(&counts, "fo", &tokenizer, &list(2));
    let text = format!(
        "merge_method: ties\nbase_model: {root}/recipes/quickstart/en\nmodels:\n  - model: {root}/recipes/quickstart/et\n  \
         - model: {root}/recipes/quickstart/fo\nparameters:\n  density: 0.5\n  weight:\n    - filter: embed\n      value: \
         {{tokens: {counts}, power: 0.5, scale: 0.8}}\n    - filter: norm\n      value: {{norms: rows, scale: 2}}\n    - value: [0.2, 0.7]\n",
        root = root.display(),
        counts = counts.display()
    );
    let planned = plan(&text);
    assert!(planned.warnings.is_empty(), "{}", planned.warnings);
    assert_eq!(planned.coefficient_files.len(), 2);
    let recipe = folder.path().join("r.yaml");
    std::fs::write(&recipe, &text).unwrap();
    let out = folder.path().join("out");
    let mut command = super::support::command();
    command.args(["merge", "--quiet"]).arg(&recipe).arg(&out).assert().success();
    assert_eq!(read(&out)[EMBEDDING].bytes, run(&planned, &Cpu::new(), 3).unwrap()[EMBEDDING].bytes);
    std::fs::remove_dir_all(&counts).unwrap();
    let mut command = super::support::command();
    command.arg("verify").arg(&out).assert().success();
}
