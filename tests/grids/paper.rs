//! `recipes/grow-up-and-merge.yaml`: the paper's merges, and what its comments say of them.

use std::collections::BTreeSet;
use std::path::Path;

use growmerge::checkpoint::DType;
use growmerge::device::cpu::Cpu;
use growmerge::plan::{Library, Plan, PlanOptions};
use growmerge::recipe::Recipe;

use super::support::{self, f32s, read, values};
use super::{check_texts, essence, grid, names, recipe, recipe_file};

const CODES: [(&str, &str); 5] =
    [("ekk", "estonian"), ("fao", "faroese"), ("fas", "persian"), ("isl", "icelandic"), ("swe", "swedish")];

/// The paper's merges with plain loops: names, and recipes as one would write them by hand.
fn paper() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for method in ["linear", "multislerp", "task_arithmetic", "ties", "dare_ties"] {
        for (setup, size) in [("1x", "180M"), ("1x-cloned", "572M"), ("2x", "572M")] {
            for bits in 0u32..32 {
                let set: Vec<usize> = (0..5).filter(|i| bits >> i & 1 == 1).collect();
                if set.len() < 2 {
                    continue;
                }
                let codes: Vec<&str> = set.iter().map(|i| CODES[*i].0).collect();
                let mut text = format!("merge_method: {method}\ndtype: float16\nmodels:\n");
                for i in set {
                    let model = format!("liu-nlp/HyperLlama-{size}-{}-{setup}", CODES[i].1);
                    text += &format!("  - model: {model}\n    parameters: {{weight: 1.0}}\n");
                }
                if method.contains('t') && method != "multislerp" && method != "linear" {
                    text += &format!("base_model: liu-nlp/HyperLlama-{size}-english-{setup}\n");
                    text += "parameters: {density: 0.5, normalize: true}\n";
                }
                if method == "linear" {
                    text += "parameters: {normalize: true}\n";
                }
                all.push((format!("{method}_{setup}_{}", codes.join("-")), text));
            }
        }
    }
    all
}

#[test]
fn the_papers_grid_is_its_390_merges() {
    let grid = grid(&recipe_file("grow-up-and-merge.yaml"));
    let mut want = paper();
    assert_eq!((grid.members.len(), want.len()), (390, 390));
    for (name, text) in &want {
        let by_hand = Recipe::parse("by hand", text).unwrap();
        assert_eq!(essence(&recipe(&grid, name)), essence(&by_hand), "{name}");
    }
    check_texts(&grid);
    let order = |name: &str| grid.members.iter().position(|m| m.name == name);
    want.sort_by_key(|(name, _)| order(name));
    assert_eq!(want.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names(&grid), "each once");
    assert_eq!(order("linear_1x_ekk-fao"), Some(0));
    assert_eq!(order("linear_1x-cloned_ekk-fao"), Some(26));
    assert_eq!(order("dare_ties_2x_ekk-fao-fas-isl-swe"), Some(389));
}

/// What the recipe's comments say to add for the files as they were released.
#[test]
fn the_papers_grid_can_have_the_bases_of_the_released_files() {
    let text = recipe_file("grow-up-and-merge.yaml");
    let lines = text.lines().skip_while(|l| !l.contains("#     include:")).take(3);
    let include: String = lines.map(|l| l.strip_prefix("#   ").unwrap().to_owned() + "\n").collect();
    let grid = grid(&(text.clone() + &include));
    assert_eq!(grid.members.len(), 390);
    let count = |method: &str, base: &str| {
        let of = grid.members.iter().filter(|m| m.name.starts_with(&format!("{method}_2x_")));
        of.filter(|m| recipe(&grid, &m.name).base_model.is_some_and(|b| b.value.path.ends_with(base))).count()
    };
    for (method, cloned, own) in
        [("task_arithmetic", 26, 0), ("ties", 25, 1), ("dare_ties", 25, 1), ("linear", 0, 0)]
    {
        assert_eq!(
            (count(method, "english-1x-cloned"), count(method, "english-2x")),
            (cloned, own),
            "{method}"
        );
    }
}

/// The same file with its names pointed at small checkpoints: all of it is planned, some of it merged.
#[test]
fn the_papers_grid_runs_on_models_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("liu-nlp");
    let mut noise = support::Noise(7);
    for (setup, size) in [("1x", "180M"), ("1x-cloned", "572M"), ("2x", "572M")] {
        let base: Vec<f32> = (0..48).map(|_| noise.next()).collect();
        for language in CODES.iter().map(|(_, english)| *english).chain(["english"]) {
            let tuned = noise.tuned(&base);
            let tensor = f32s(&[8, 6], if language == "english" { base.clone() } else { tuned });
            let tensors = [("model.layers.0.mlp.up_proj.weight".to_owned(), tensor)].into();
            support::write(&at.join(format!("HyperLlama-{size}-{language}-{setup}")), &tensors);
        }
    }
    let text =
        recipe_file("grow-up-and-merge.yaml").replace("liu-nlp/Hyper", &format!("{}/Hyper", at.display()));
    let grid = grid(&text);
    let mut library = Library::new();
    let mut models = BTreeSet::new();
    for member in &grid.members {
        let plan = Plan::from_reading_with(member.reading.clone(), &PlanOptions::default(), &mut library);
        let plan = plan.unwrap_or_else(|p| panic!("{}: {p}", member.name));
        assert!(plan.warnings.is_empty(), "{}", plan.warnings);
        assert_eq!(plan.name.as_deref(), Some(member.name.as_str()));
        models.extend(plan.inputs.iter().map(|i| i.name().to_owned()));
        if member.name.ends_with("2x_ekk-fao-swe") {
            let merged = support::run(&plan, &Cpu::new(), 1).unwrap();
            assert_eq!(merged.len(), 1);
            assert!(merged.values().all(|t| t.dtype == safetensors::Dtype::F16));
        }
    }
    assert_eq!(models.len(), 18);
}

/// The quickstart's models in the paper's grid, in float32.
fn merged(method: &str, languages: &str, base: &str) -> support::Tensors {
    let text = recipe_file("grow-up-and-merge.yaml")
        .replace("liu-nlp/HyperLlama-{setup.size}-english-{setup}", &format!("recipes/quickstart/{base}"))
        .replace(
            "liu-nlp/HyperLlama-{setup.size}-{language.english}-{setup}",
            "recipes/quickstart/{language.here}",
        )
        .replace("{name: fao, english: faroese}", "{name: fao, here: fo}")
        .replace("{name: ekk, english: estonian}", "{name: ekk, here: et}")
        .replace("{name: fas, english: persian}", "{name: fas, here: fa}")
        .replace("{name: isl, english: icelandic}", "{name: isl, here: is}")
        .replace("{name: swe, english: swedish}", "{name: swe, here: sv}");
    let grid = grid(&text);
    let member = grid.members.iter().find(|m| m.name == format!("{method}_2x_{languages}")).unwrap();
    let options = PlanOptions { dtype: Some(DType::F32), ..PlanOptions::default() };
    let plan = Plan::from_reading(member.reading.clone(), &options).unwrap_or_else(|p| panic!("{p}"));
    support::run(&plan, &Cpu::new(), 2).unwrap()
}

/// Largest difference of two models' tensors, against the tensor's norm.
fn apart(a: &support::Tensors, b: &support::Tensors) -> f64 {
    let of = |name: &String| {
        let (a, b) = (values(&a[name]), values(&b[name]));
        let difference: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
        (difference / a.iter().map(|x| x * x).sum::<f64>()).sqrt()
    };
    a.keys().map(of).fold(0.0, f64::max)
}

/// What the comments of `grow-up-and-merge.yaml` say of its methods.
#[test]
fn the_papers_methods_are_three_by_algebra() {
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart");
    for (languages, folders) in
        [("ekk-fao", vec!["et", "fo"]), ("ekk-fao-fas-isl-swe", vec!["et", "fo", "fa", "is", "sv"])]
    {
        let linear = merged("linear", languages, "en");
        // Whatever the base is.
        assert!(apart(&linear, &merged("task_arithmetic", languages, "en")) < 1e-6);
        if languages == "ekk-fao" {
            assert!(apart(&linear, &merged("task_arithmetic", languages, "sv")) < 1e-6);
        }

        let sphere = merged("multislerp", languages, "en");
        let models: Vec<support::Tensors> = folders.iter().map(|f| read(&quickstart.join(f))).collect();
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (name, tensor) in &sphere {
            let all: Vec<Vec<f64>> = models.iter().map(|m| values(&m[name])).collect();
            let norms: Vec<f64> = all.iter().map(|x| norm(x)).collect();
            let of_units = |i: usize| all.iter().zip(&norms).map(|(x, n)| x[i] / n).sum::<f64>();
            let direction: Vec<f64> = (0..all[0].len()).map(of_units).collect();
            let length = norms.iter().sum::<f64>() / norms.len() as f64 / norm(&direction);
            let got = values(tensor);
            let off: Vec<f64> = got.iter().zip(&direction).map(|(x, d)| x - d * length).collect();
            assert!(norm(&off) < 1e-6 * norm(&got), "{name}: {}", norm(&off) / norm(&got));
            // One factor for each tensor, as far as norms are equal.
            let (mean, spread) = (
                values(&linear[name]),
                norms.iter().fold(0.0, |a: f64, n| a.max((n / norms[0] - 1.0).abs())),
            );
            let cosine = mean.iter().zip(&got).map(|(a, b)| a * b).sum::<f64>() / norm(&mean) / norm(&got);
            assert!(1.0 - cosine <= spread * spread, "{name}: 1 - {cosine}, norms {spread} apart");
        }
        assert!(apart(&linear, &sphere) > 1e-3, "the factor is not one");
        // The others are neither, nor independent of the base.
        for method in ["ties", "dare_ties"] {
            let merge = merged(method, languages, "en");
            assert!(apart(&linear, &merge) > 1e-3, "{method}");
            assert!(apart(&merge, &merged(method, languages, "sv")) > 1e-3, "{method}");
        }
    }
}
