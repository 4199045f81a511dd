//! Files of coefficients: which name counts for which tensor.

use std::path::{Path, PathBuf};

use growmerge::coefficients::{Written, write as write_coefficients};
use growmerge::method::Arg;
use growmerge::plan::Plan;

use super::support::{Noise, Tensors, f32s, merge, plan, values, write};
use super::{key, recipe};

/// A model with layers, a norm in one dimension among its tensors.
fn models(folder: &Path) -> (PathBuf, Vec<PathBuf>) {
    let shapes: [(&str, &[usize]); 5] = [
        ("model.embed_tokens.weight", &[6, 4]),
        ("model.layers.0.mlp.up_proj.weight", &[3, 4]),
        ("model.layers.1.mlp.up_proj.weight", &[3, 4]),
        ("model.layers.1.norm.weight", &[4]),
        ("model.norm.weight", &[4]),
    ];
    let mut noise = Noise(5);
    let paths = ["base", "et", "fo"].map(|name| folder.join(name));
    for path in &paths {
        let tensor = |(name, shape): &(&str, &[usize])| {
            let len = shape.iter().product();
            ((*name).to_owned(), f32s(shape, (0..len).map(|_| noise.next()).collect::<Vec<_>>()))
        };
        write(path, &shapes.iter().map(tensor).collect::<Tensors>());
    }
    let [base, et, fo] = paths;
    (base, vec![et, fo])
}

fn weights(plan: &Plan, tensor: &str) -> Vec<Arg> {
    let job = plan.jobs.iter().find(|j| j.name == tensor).unwrap();
    let weight =
        |args: &growmerge::method::Args| args.iter().find(|(name, _)| *name == "weight").unwrap().1.clone();
    job.per_model.iter().map(weight).collect()
}

#[test]
fn layers_tensors_rows_and_columns() {
    let folder = tempfile::tempdir().unwrap();
    let (base, models) = models(folder.path());
    let file = folder.path().join("c.safetensors");
    let of = |entry, tensor, rows| Written { key: key(entry, tensor), rows, columns: &[] };
    let all = [
        of("et", "*", &[0.5]),
        of("et", "model.layers.1", &[0.25]),
        of("et", "model.embed_tokens.weight", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        of("F", "model", &[1.0]),
        Written { key: key("F", "model.layers.1.norm.weight"), rows: &[], columns: &[1.0, 0.0, 2.0, -1.0] },
    ];
    write_coefficients(&file, &[], &all).unwrap();
    let words = [format!("{{file: {}}}", file.display()), format!("{{file: {}, entry: F}}", file.display())];
    let text = recipe("task_arithmetic", Some(&base), &models, &words, "", "lambda: 1.0");
    let planned = plan(&text);
    assert!(planned.warnings.is_empty(), "{}", planned.warnings);
    let numbers = |tensor: &str| -> Vec<Option<f64>> {
        let number = |arg: Arg| if let Arg::Number(x) = arg { Some(x) } else { None };
        weights(&planned, tensor).into_iter().map(number).collect()
    };
    assert_eq!(numbers("model.norm.weight"), [Some(0.5), Some(1.0)]);
    assert_eq!(numbers("model.layers.0.mlp.up_proj.weight"), [Some(0.5), Some(1.0)]);
    assert_eq!(numbers("model.layers.1.mlp.up_proj.weight"), [Some(0.25), Some(1.0)]);
    assert_eq!(numbers("model.embed_tokens.weight"), [None, Some(1.0)]);
    assert_eq!(numbers("model.layers.1.norm.weight"), [Some(0.25), None]);
    let merged = merge(&text);
    let read = |path: &Path, tensor: &str| values(&super::support::read(path)[tensor]);
    let want = |tensor: &str, weight: &dyn Fn(usize) -> [f64; 2]| -> Vec<f64> {
        let [b, x, y] = [&base, &models[0], &models[1]].map(|path| read(path, tensor));
        (0..b.len()).map(|i| b[i] + weight(i)[0] * (x[i] - b[i]) + weight(i)[1] * (y[i] - b[i])).collect()
    };
    let embedding = want("model.embed_tokens.weight", &|i| [(1 + i / 4) as f64, 1.0]);
    super::assert_near(&values(&merged["model.embed_tokens.weight"]), &embedding).unwrap();
    let norm = want("model.layers.1.norm.weight", &|i| [0.25, [1.0, 0.0, 2.0, -1.0][i]]);
    super::assert_near(&values(&merged["model.layers.1.norm.weight"]), &norm).unwrap();
}

/// A file for one model needs no label.
#[test]
fn a_file_for_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let (base, models) = models(folder.path());
    let files: Vec<PathBuf> = ["a", "b"].map(|name| folder.path().join(format!("{name}.safetensors"))).into();
    for (file, x) in files.iter().zip([0.5f32, 0.75]) {
        let all = [Written { key: key("", "*"), rows: &[x], columns: &[] }];
        write_coefficients(file, &[], &all).unwrap();
    }
    let words: Vec<String> = files.iter().map(|f| format!("{{file: {}}}", f.display())).collect();
    let text = recipe("task_arithmetic", Some(&base), &models, &words, "", "");
    assert_eq!(weights(&plan(&text), "model.norm.weight"), [Arg::Number(0.5), Arg::Number(0.75)]);
    // One number for all is the number, to the byte.
    let numbers = recipe("task_arithmetic", Some(&base), &models, &["0.5".into(), "0.75".into()], "", "");
    let (a, b) = (merge(&text), merge(&numbers));
    assert!(a.iter().all(|(name, tensor)| tensor.bytes == b[name].bytes));
}

#[test]
fn slices_modules_and_rules_may_have_them() {
    let folder = tempfile::tempdir().unwrap();
    let (base, models) = models(folder.path());
    let file = folder.path().join("c.safetensors");
    let all = [
        Written { key: key("et", "*"), rows: &[0.5], columns: &[] },
        Written { key: key("fo", "*"), rows: &[0.25], columns: &[] },
    ];
    write_coefficients(&file, &[], &all).unwrap();
    let weight = format!(
        "[{{filter: layers.0, value: 3}}, {{filter: norm, value: {{norms: rows}}}}, {{value: {{file: {}}}}}]",
        file.display()
    );
    let [et, fo, base] = [&models[0], &models[1], &base].map(|p| p.display().to_string());
    let text = format!(
        "merge_method: task_arithmetic\nbase_model: {base}\nmodels: [{{model: {et}}}, {{model: {fo}}}]\n\
         parameters: {{weight: {weight}}}\n"
    );
    let planned = plan(&text);
    let norms = Arg::Norms { norms: growmerge::method::NormShare { power: 1.0, scale: 1.0 } };
    assert_eq!(weights(&planned, "model.embed_tokens.weight"), [Arg::Number(0.5), Arg::Number(0.25)]);
    assert_eq!(weights(&planned, "model.layers.0.mlp.up_proj.weight"), [Arg::Number(3.0), Arg::Number(3.0)]);
    assert_eq!(weights(&planned, "model.norm.weight"), [norms.clone(), norms]);
    let slice = |weight: &str| {
        format!(
            "merge_method: task_arithmetic\nbase_model: {base}\nslices:\n  - sources: [{{model: {et}, layer_range: [0, 2]}}, \
             {{model: {fo}, layer_range: [0, 2]}}, {{model: {base}, layer_range: [0, 2]}}]\n    parameters: {{weight: {weight}}}\n"
        )
    };
    assert_eq!(
        weights(&plan(&slice(&format!("{{file: {}}}", file.display()))), "model.layers.1.mlp.up_proj.weight"),
        [Arg::Number(0.5), Arg::Number(0.25)]
    );
}
