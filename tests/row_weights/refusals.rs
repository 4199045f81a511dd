//! What is refused, where, and with which hint.

use std::path::Path;

use growmerge::coefficients::{Written, write as write_coefficients};

use super::support::{plan, refusal};
use super::{EMBEDDING, NAME, Set, key, recipe, save_counts, set};

fn with(set: &Set, method: &str, weight: &str, all: &str) -> String {
    let base = (method == "task_arithmetic").then_some(set.base.as_path());
    let weights: Vec<String> = set.models.iter().map(|_| weight.to_owned()).collect();
    recipe(method, base, &set.models, &weights, "", all)
}

fn assert_told(told: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(told.contains(part), "wanted: {part}\n{told}");
    }
}

#[test]
fn words_that_say_nothing() {
    let set = set(1, NAME, &[3, 4], 2);
    for (weight, wanted) in [
        ("{}", "does not say where the weights come from"),
        ("{tokens: x, file: y}", "`tokens` and `file` exclude each other"),
        ("{tokns: x}", "did you mean `tokens`?"),
        ("{nonsense: x}", "unknown key `nonsense`"),
        ("{norms: columns}", "weight.norms: must be `rows`"),
        ("{norms: rows, smoothing: 1e-6}", "`smoothing` has no effect beside `norms`"),
        ("{norms: rows, power: 9}", "weight.power: must be from 0 to 8, not 9"),
        ("{norms: rows, power: -1}", "must be from 0 to 8"),
        ("{norms: rows, power: much}", "weight.power: must be a number, not text"),
        ("{tokens: x, smoothing: 2}", "weight.smoothing: must be from 0 to 1, not 2"),
        ("{norms: rows, scale: .inf}", "weight.scale: must be from"),
        ("{tokens: }", "weight.tokens: there is nothing under this key"),
        ("{tokens: 5}", "weight.tokens: must be text"),
        ("{file: ''}", "weight.file: is empty"),
        ("{filter: mlp, value: 1}", "put a rule into a list"),
        ("[0.5, {norms: rows}]", "numbers and rules cannot be mixed"),
        ("[{value: [1, {norms: rows}]}]", "a list over the layers holds numbers, not mappings"),
        ("{file: /not/there.safetensors}", "/not/there.safetensors is not there"),
        ("{tokens: /not/there}", "`growmerge count` makes counts"),
    ] {
        assert_told(&refusal(&with(&set, "task_arithmetic", weight, "")), &[wanted]);
    }
    // Both models' mistakes, and another one, at once.
    let both = ["{tokns: x}".to_owned(), "{norms: rows, power: 9}".to_owned()];
    let told = refusal(&recipe("task_arithmetic", Some(&set.base), &set.models, &both, "", "lamda: 1"));
    assert_told(&told, &["tokns", "from 0 to 8", "recipe.yaml:4:", "recipe.yaml:6:"]);
}

#[test]
fn methods_that_weigh_otherwise() {
    let set = set(1, NAME, &[3, 4], 2);
    for method in ["nuslerp", "multislerp"] {
        let told = refusal(&with(&set, method, "{norms: rows}", ""));
        let wanted = format!("`weight` of method `{method}` must be a number");
        assert_told(&told, &[&wanted, "linear, task_arithmetic, ties"]);
    }
    let told = refusal(&with(&set, "linear", "{norms: rows}", ""));
    assert_told(&told, &["which method `linear` does not take", "use task_arithmetic, ties"]);
    let told = refusal(&with(&set, "task_arithmetic", "1", "lambda: {norms: rows}"));
    assert_told(&told, &["must be a number, a list of numbers, or a list of rules"]);
}

#[test]
fn counts_that_do_not_fit() {
    let set = set(1, EMBEDDING, &[3, 4], 2);
    let counts = set.folder.path().join("counts");
    save_counts(&counts, "m0", "", &[1, 2, 3, 0, 0]);
    let weight = format!("{{tokens: {}}}", counts.display());
    let told = refusal(&with(&set, "task_arithmetic", &weight, ""));
    // Both are one typing slip away from the one that is there.
    assert_told(&told, &["there are no counts of `m1`", "m1.safetensors is not there", "did you mean `m0`?"]);
    save_counts(&counts, "m1", "", &[1, 2, 3, 1]);
    let told = refusal(&with(&set, "task_arithmetic", &weight, ""));
    assert_told(&told, &["m1.safetensors has counts of 4 tokens, but here are 3 rows", EMBEDDING]);
    save_counts(&counts, "m1", "", &[0, 1]);
    let warned = plan(&with(&set, "task_arithmetic", &weight, "")).warnings.to_string();
    assert_told(&warned, &["the output has no tokenizer.json to compare with"]);
    std::fs::copy(counts.join("m0.safetensors"), counts.join("m1.safetensors")).unwrap();
    let warned = plan(&with(&set, "task_arithmetic", &weight, "")).warnings.to_string();
    assert_told(&warned, &["m1.safetensors says that it has the counts of `m0`"]);
    let alike = format!("{{tokens: {}, language: m0}}", counts.display());
    let warned = plan(&with(&set, "task_arithmetic", &alike, "")).warnings.to_string();
    assert_told(&warned, &["all models are weighed by", "and so alike"]);
    let coefficients = set.folder.path().join("c.safetensors");
    write_coefficients(&coefficients, &[], &[Written { key: key("", "*"), rows: &[1.0], columns: &[] }])
        .unwrap();
    let told =
        refusal(&with(&set, "task_arithmetic", &format!("{{tokens: {}}}", coefficients.display()), ""));
    assert_told(&told, &["its format is `growmerge coefficients 1`, not `growmerge counts 1`"]);
}

#[test]
fn counts_of_another_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    save_counts(folder.path(), "et", &"ab".repeat(32), &[1, 2, 3]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).display().to_string();
    let text = format!(
        "merge_method: task_arithmetic\nbase_model: {root}/recipes/quickstart/en\nmodels: [{{model: \
         {root}/recipes/quickstart/et}}]\nparameters: {{weight: {{tokens: {}}}}}\n",
        folder.path().display()
    );
    let told = refusal(&text);
    assert_told(&told, &["has counts of another tokenizer: abababababababab there, ", "growmerge count"]);
}

#[test]
fn coefficients_that_do_not_fit() {
    let set = set(1, NAME, &[3, 4], 2);
    let file = set.coefficients();
    let weight = format!("{{file: {}}}", file.display());
    let save = |all: &[(&str, &str, &[f32], &[f32])]| {
        let written: Vec<Written<'_>> =
            all.iter().map(|(e, t, rows, columns)| Written { key: key(e, t), rows, columns }).collect();
        write_coefficients(&file, &[], &written).unwrap();
    };
    let told = |weight: &str| refusal(&with(&set, "task_arithmetic", weight, ""));
    save(&[("m0", "*", &[1.0], &[]), ("m1", "model.layers.1", &[1.0], &[])]);
    assert_told(&told(&weight), &["has no coefficient under `m1` for", NAME, "add one under its name"]);
    save(&[("m0", NAME, &[1.0, 2.0], &[]), ("m1", NAME, &[1.0], &[1.0, 2.0])]);
    assert_told(
        &told(&weight),
        &[
            "has 2 coefficients under `m0/",
            "for 3 rows",
            "has 2 factors under `m1/",
            "/columns` for 4 columns",
        ],
    );
    save(&[("m0", "*", &[1.0], &[]), ("et", "*", &[1.0], &[])]);
    assert_told(&told(&weight), &["has no entry `m1`", "did you mean `m0`?"]);
    let named = format!("{{file: {}, entry: est}}", file.display());
    assert_told(&told(&named), &["has no entry `est`", "did you mean `et`?"]);
    save(&[("", "*", &[1.0], &[])]);
    assert_told(&told(&named), &["has no entry `est`", "without a label: leave `entry` out"]);
    save(&[("m0", "*", &[f32::INFINITY], &[]), ("m1", "*", &[1.0], &[])]);
    assert_told(&told(&weight), &["`m0/*` has inf at 0"]);
    save(&[("m0", "*", &[2e38], &[]), ("m1", "*", &[2e38], &[])]);
    assert_told(&told(&weight), &["the weights add up to", "beyond float32"]);
    save(&[("m0", "*", &[1.0], &[]), ("m1", "*", &[1.0], &[]), ("m1", "model.layer.0", &[3.0], &[])]);
    let warned = plan(&with(&set, "task_arithmetic", &weight, "")).warnings.to_string();
    assert_told(&warned, &["has coefficients for `model.layer.0`, of which there is no tensor"]);
    std::fs::write(&file, "no safetensors file").unwrap();
    assert_told(&told(&weight), &["coefficients.safetensors: ", "recipe.yaml:4"]);
}

/// A vector is one row.
#[test]
fn rows_of_a_vector() {
    let set = set(1, "model.norm.weight", &[4], 1);
    let all = [Written { key: key("m0", "model.norm.weight"), rows: &[1.0; 4], columns: &[] }];
    write_coefficients(&set.coefficients(), &[], &all).unwrap();
    let told =
        refusal(&with(&set, "task_arithmetic", &format!("{{file: {}}}", set.coefficients().display()), ""));
    assert_told(&told, &["has 4 coefficients", "for 1 rows", "a vector is one row", "/columns`"]);
}

/// As with numbers: an average of nothing is refused, a difference of nothing is none.
#[test]
fn rows_that_sum_to_zero() {
    let set = set(1, NAME, &[3, 4], 2);
    let rows: [&[f32]; 2] = [&[1.0, 1.0, 0.0], &[1.0, -1.0, 0.0]];
    let all = [("m0", rows[0]), ("m1", rows[1])];
    let written: Vec<Written<'_>> =
        all.iter().map(|(entry, rows)| Written { key: key(entry, NAME), rows, columns: &[] }).collect();
    write_coefficients(&set.coefficients(), &[], &written).unwrap();
    let weight = format!("{{file: {}}}", set.coefficients().display());
    let told = refusal(&with(&set, "linear", &weight, ""));
    assert_told(&told, &["the weights of row 1 sum to zero", "set `normalize: false`"]);
    plan(&with(&set, "linear", &weight, "normalize: false"));
    plan(&with(&set, "task_arithmetic", &weight, "normalize: true"));
}

/// Where columns have factors of their own it is an element that is divided: here the one in row 1 and column 2.
#[test]
fn elements_that_sum_to_zero() {
    let set = set(1, NAME, &[3, 4], 2);
    let save = |columns: &[f32]| {
        let other = Written { key: key("m0", NAME), rows: &[1.5, 1.0, 1.0], columns: &[1.0, 1.0, 2.0, 1.0] };
        let written = [other, Written { key: key("m1", NAME), rows: &[1.0, 2.0, 4.0], columns }];
        write_coefficients(&set.coefficients(), &[], &written).unwrap();
    };
    let weight = format!("{{file: {}}}", set.coefficients().display());
    save(&[1.0, 1.0, -1.0, 1.0]);
    let told = refusal(&with(&set, "linear", &weight, ""));
    assert_told(&told, &["the weights of row 1, column 2, sum to zero", "set `normalize: false`"]);
    plan(&with(&set, "linear", &weight, "normalize: false"));
    save(&[1.0, 1.0, -1.5, 1.0]);
    plan(&with(&set, "linear", &weight, ""));
}
