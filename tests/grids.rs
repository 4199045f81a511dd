//! Grids: what a matrix expands to, against expansions written out here; what is refused; members as people run them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use growmerge::checkpoint::DType;
use growmerge::device::cpu::Cpu;
use growmerge::plan::{Library, Plan, PlanOptions};
use growmerge::recipe::{Assembly, Contents, Grid, Recipe, Settings};
use support::{command, f32s, read, values};

fn grid(text: &str) -> Grid {
    match Contents::parse("grid.yaml", text) {
        Ok(Contents::Grid(grid)) => grid,
        Ok(Contents::Recipe(_)) => panic!("no grid"),
        Err(problems) => panic!("{problems}"),
    }
}

fn recipe_file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(name)).unwrap()
}

fn names(grid: &Grid) -> Vec<&str> {
    grid.members.iter().map(|m| m.name.as_str()).collect()
}

/// The recipe of a member that is right.
fn recipe(grid: &Grid, name: &str) -> Recipe {
    let member = grid.members.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("no {name}"));
    assert!(member.reading.problems.is_empty(), "{}", member.reading.problems);
    member.reading.book.as_ref().unwrap().result().unwrap().clone()
}

/// What a recipe says, places aside.
fn essence(recipe: &Recipe) -> String {
    let settings = |s: &Settings| -> BTreeSet<String> {
        s.iter().map(|(name, setting)| format!("{name} {:?}", setting.value)).collect()
    };
    let mut text = format!(
        "{} {:?} {:?}\n",
        recipe.method.value,
        recipe.dtype.as_ref().map(|d| d.value),
        settings(&recipe.parameters)
    );
    let _ = writeln!(text, "base {:?}", recipe.base_model.as_ref().map(|m| &m.value));
    match &recipe.assembly {
        Assembly::Models(entries) => {
            for entry in entries {
                let _ = writeln!(text, "{:?} {:?}", entry.model.value, settings(&entry.parameters));
            }
        }
        Assembly::Modules(_) => panic!("no grid of the tests has modules"),
        Assembly::Slices(slices) => {
            for source in slices.iter().flat_map(|s| &s.sources) {
                let _ = writeln!(
                    text,
                    "{:?} {:?} {:?}",
                    source.model.value,
                    source.layers,
                    settings(&source.parameters)
                );
            }
        }
    }
    text
}

/// Every member's text is a recipe of its own that says the same.
fn check_texts(grid: &Grid) {
    for member in &grid.members {
        let recipe = recipe(grid, &member.name);
        let again = Recipe::parse("again", &recipe.text).unwrap_or_else(|p| panic!("{p}\n{}", recipe.text));
        assert_eq!(essence(&again), essence(&recipe), "{}", recipe.text);
        assert_eq!(again.name.unwrap().value, member.name);
        assert!(!recipe.text.contains(['{', '}']) && !recipe.text.contains("matrix"), "{}", recipe.text);
    }
}

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

const SMALL: &str = "name: '{method}-{languages}'
merge_method: '{method}'
models:
  - model: common
  - for: l in languages
    model: m/{l}
parameters: {weight: 1}
matrix:
  method: [linear, karcher]
  languages: {subsets: [et, fo, sv], at_least: 2}
";

#[test]
fn a_member_has_its_values_in_its_recipe() {
    let text = SMALL.to_owned()
        + "  weights:
    - {name: few, set: {parameters: {weight: '{weights.w}', scale: null}}, w: [0.5, 1]}
    - {name: many, set: {parameters: {weight: '{weights.w}'}}, w: {nested: true}}
";
    let text = text.replace("{weight: 1}", "{weight: 1, scale: 2}").replace("'{method}-{languages}'", "null");
    let grid = grid(&text.replace("w: {nested: true}", "w: -1.5e-3"));
    assert_eq!(grid.members.len(), 16);
    check_texts(&grid);
    let few = recipe(&grid, "linear-et-sv-few");
    let models: Vec<String> = few.models().iter().map(|m| m.value.path.clone()).collect();
    assert_eq!(models, ["common", "m/et", "m/sv"]);
    assert!(few.text.contains("weight: [0.5, 1]") && !few.text.contains("scale"), "{}", few.text);
    assert!(recipe(&grid, "karcher-et-fo-sv-many").text.contains("weight: -0.0015\n  scale: 2\n"));
}

/// A subset is a set: what is taken out or changed does not depend on the order in which its members are written.
#[test]
fn subsets_are_taken_out_in_any_order() {
    let with = |more: &str| grid(&format!("{SMALL}{more}"));
    let all = with("");
    for excluded in ["[sv, et]", "[et, sv]", "et-sv"] {
        let grid = with(&format!("  exclude: [{{languages: {excluded}}}]\n"));
        let left: Vec<&str> = names(&all).into_iter().filter(|n| !n.ends_with("-et-sv")).collect();
        assert_eq!((left.len(), left), (6, names(&grid)), "{excluded}");
    }
    let changed = with("  include: [{method: karcher, languages: [sv, fo, et], set: {dtype: float16}}]\n");
    assert_eq!(names(&changed), names(&all), "no member is added");
    let of_type = |name: &&str| recipe(&changed, name).dtype.is_some();
    assert_eq!(names(&changed).into_iter().filter(of_type).collect::<Vec<_>>(), ["karcher-et-fo-sv"]);
    // Half of one, and one with a member twice, are others.
    for other in ["[et]", "[et, et, sv]"] {
        let said = Contents::parse("grid.yaml", &format!("{SMALL}  exclude: [{{languages: {other}}}]\n"));
        assert!(said.unwrap_err().to_string().contains("excludes nothing"), "{other}");
    }
}

/// Against plain loops, for grids of any shape.
#[test]
fn members_are_those_of_plain_loops() {
    let mut noise = support::Noise(3);
    let mut below = |n: usize| ((noise.next() + 1.0) / 2.0 * n as f32) as usize;
    for _ in 0..60 {
        let (a, n, b) = (1 + below(4), 1 + below(5), 1 + below(3));
        let least = 1 + below(n);
        let most = least + below(n - least + 1);
        let (excluded, other) = (below(a), below(b));
        let mut text = "merge_method: linear\nmodels: [{model: x}, {for: 'm in s', model: '{a}{m}{b.f}'}]\n\
            name: 'a{a}_{s}_{b}'\nmatrix:\n"
            .to_owned();
        let _ = writeln!(text, "  a: {:?}", (0..a).collect::<Vec<_>>());
        let things: Vec<String> = (0..n).map(|i| format!("t{i}")).collect();
        let _ =
            writeln!(text, "  s: {{subsets: [{}], at_least: {least}, at_most: {most}}}", things.join(", "));
        let _ = writeln!(
            text,
            "  b: [{}]",
            (0..b).map(|i| format!("{{name: b{i}, f: {}}}", i * i)).collect::<Vec<_>>().join(", ")
        );
        let _ = writeln!(text, "  exclude: [{{a: {excluded}, b: b{other}}}]");
        let _ = writeln!(text, "  include: [{{a: 77, s: [t0, zz], b: b{other}}}]");
        let mut want = Vec::new();
        for i in 0..a {
            let mut sets: Vec<Vec<usize>> =
                (0u32..1 << n).map(|bits| (0..n).filter(|j| bits >> j & 1 == 1).collect()).collect();
            sets.retain(|s| (least..=most).contains(&s.len()));
            sets.sort_by_key(|s| (s.len(), s.clone()));
            for set in sets {
                for j in (0..b).filter(|j| (i, *j) != (excluded, other)) {
                    let parts: Vec<&str> = set.iter().map(|k| things[*k].as_str()).collect();
                    let models: Vec<String> = parts.iter().map(|t| format!("{i}{t}{}", j * j)).collect();
                    want.push((format!("a{i}_{}_b{j}", parts.join("-")), models));
                }
            }
        }
        let f = other * other;
        want.push((format!("a77_t0-zz_b{other}"), vec![format!("77t0{f}"), format!("77zz{f}")]));
        let grid = grid(&text);
        let got: Vec<(String, Vec<String>)> = grid
            .members
            .iter()
            .map(|m| {
                let models = recipe(&grid, &m.name);
                let models = models.models().iter().skip(1).map(|m| m.value.path.clone()).collect();
                (m.name.clone(), models)
            })
            .collect();
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn lines_are_those_of_the_grid() {
    let text = SMALL.replace("weight: 1}", "weight: 1, wieght: 2}");
    let grid = grid(&text);
    let place = &recipe(&grid, "linear-et-fo").parameters.get("wieght").unwrap().place.clone();
    assert_eq!(place.spot.as_ref().unwrap().line, 7);
    let mut gathering = growmerge::problem::Gathering::new(grid.members.len());
    for member in &grid.members {
        let problems = Plan::from_reading(member.reading.clone(), &PlanOptions::default()).unwrap_err();
        gathering.add(&member.name, &problems);
    }
    insta::assert_snapshot!(gathering.problems());
}

/// A matrix that is wrong, what stands above it, and what is said.
#[test]
fn what_is_refused() {
    let above = SMALL.split("matrix:").next().unwrap();
    let axes = SMALL.split("matrix:\n").nth(1).unwrap();
    let wrong = |name: &str, text: &str| {
        let said = match Contents::parse("grid.yaml", text) {
            Err(problems) => problems.to_string(),
            Ok(Contents::Grid(grid)) => {
                let mut gathering = growmerge::problem::Gathering::new(grid.members.len());
                grid.members.iter().for_each(|m| gathering.add(&m.name, &m.reading.problems));
                assert!(grid.members.iter().any(|m| m.reading.book.is_none()), "{name}: accepted\n{text}");
                gathering.problems().to_string()
            }
            Ok(Contents::Recipe(reading)) => {
                assert!(reading.book.is_none(), "{name}: accepted\n{text}");
                reading.problems.to_string()
            }
        };
        assert!(said.contains("error: "), "{name}: {said}");
        format!("## {name}\n{said}\n\n")
    };
    let mut said = String::new();
    for (name, matrix) in [
        ("no mapping", "  - linear\n"),
        ("no axis", "  exclude: []\n"),
        ("an axis that is a word", "  method: linear\n  languages: [[a, b]]\n"),
        ("an empty axis", "  method: []\n  languages: [[a, b]]\n"),
        ("an odd name for an axis", "  'a b': [1]\n"),
        ("a value without a name", "  method: [{set: {}}]\n  languages: [[a, b]]\n"),
        ("no value", "  method: [~]\n  languages: [[a, b]]\n"),
        ("a value twice", "  method: [linear, linear]\n  languages: [[a, b]]\n"),
        ("a subset of too many", "  method: [linear]\n  languages: {subsets: [a, b], at_most: 3}\n"),
        ("a misspelt size", "  method: [linear]\n  languages: {subsets: [a, b], atleast: 2}\n"),
        ("half a member", "  method: [linear]\n  languages: {subsets: [a, b], at_least: 1.5}\n"),
        ("a mapping that is no subset", "  method: {a: linear}\n  languages: [[a, b]]\n"),
        (
            "set in a subset",
            "  method: [linear]\n  languages: {subsets: [{name: a, set: {dtype: float32}}]}\n",
        ),
        ("a name that is set", "  method: [{name: linear, set: {name: x}}]\n  languages: [[a, b]]\n"),
        (
            "2^60 members",
            &format!(
                "  method: [linear]\n  languages: {{subsets: [{}]}}\n",
                (0..60).map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
            ),
        ),
        (
            "more than can be counted",
            &format!(
                "  method: [linear]\n  languages: {{subsets: [{}]}}\n",
                (0..300).map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
            ),
        ),
    ] {
        said += &wrong(name, &format!("{above}matrix:\n{matrix}"));
    }
    for (name, more) in [
        ("an axis that is not there", "  exclude: [{methode: linear}]\n"),
        ("an exclusion of nothing", "  exclude: [{method: linear, languages: [et, se]}]\n"),
        ("everything excluded", "  exclude: [{method: [linear, karcher]}]\n"),
        ("an inclusion of what is there", "  include: [{method: linear}]\n"),
        ("an inclusion of half a member", "  include: [{method: ties}]\n"),
        ("an inclusion that is no list", "  include: [{method: ties, languages: et}]\n"),
        ("set where nothing is set", "  exclude: [{method: linear, set: {}}]\n"),
    ] {
        said += &wrong(name, &format!("{above}matrix:\n{axes}{more}"));
    }
    for (name, from, to) in [
        ("an unknown placeholder", "m/{l}", "m/{ll}"),
        ("an unknown placeholder of the recipe", "{weight: 1}", "{weight: '{wight}'}"),
        ("a field that is not there", "m/{l}", "m/{l.path}"),
        ("no placeholder", "m/{l}", "m/{ l }"),
        ("a placeholder without quotes", "{weight: 1}", "{weight: {method}}"),
        ("a loop over no list", "l in languages", "l in method"),
        ("a loop that is none", "l in languages", "languages"),
        ("a loop over nothing", "l in languages", "l in language"),
        ("a loop with an axis's name", "for: l in", "for: method in"),
        ("a name that many have", "'{method}-{languages}'", "'{method}'"),
        ("a name that differs by case only", "[linear, karcher]", "[linear, Linear]"),
        ("a name that is a path", "'{method}-{languages}'", "'../{method}/{languages}'"),
        ("a placeholder in a name", "'{method}-{languages}'", "'{methods}'"),
        ("two documents", "name:", "merge_method: linear\n---\nname:"),
        ("no matrix", "matrix:", "matrices:"),
    ] {
        assert!(SMALL.contains(from), "{name}");
        said += &wrong(name, &SMALL.replace(from, to));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn limits_are_where_they_are_said_to_be() {
    let of = |n: usize, models: usize| {
        let numbers: Vec<String> = (0..n).map(|i| i.to_string()).collect();
        let models: String = (0..models).map(|i| format!("  - model: m{i}\n")).collect();
        format!(
            "merge_method: linear\nname: 'n{{a}}'\nmodels:\n{models}matrix:\n  a: [{}]\n",
            numbers.join(", ")
        )
    };
    assert_eq!(grid(&of(10_000, 1)).members.len(), growmerge::recipe::MAX_MEMBERS);
    let problems = |text: &str| match Contents::parse("grid.yaml", text) {
        Err(problems) => problems.to_string(),
        Ok(_) => panic!("accepted"),
    };
    assert!(problems(&of(10_001, 1)).contains("more than 10000 members: a has 10001"));
    assert!(problems(&of(9_000, 2_000)).contains("too large once it is expanded"));
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn members_are_listed_merged_and_skipped_when_complete() {
    let plan = command().args(["plan", "recipes/grid.yaml"]).assert().success();
    insta::assert_snapshot!(String::from_utf8_lossy(&plan.get_output().stdout));
    let plan =
        command().args(["plan", "recipes/grid.yaml", "--json", "--only", "*-et-is"]).assert().success();
    let json: serde_json::Value = serde_json::from_slice(&plan.get_output().stdout).unwrap();
    assert_eq!(json["members"].as_array().unwrap().len(), 3);
    assert_eq!(json["members"][2]["base"], "recipes/quickstart/en");

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = |args: &[&str], code: i32| {
        let mut merge = command();
        let run = merge.args(["merge", "recipes/grid.yaml"]).arg(&out).args(args).assert().code(code);
        let output = run.get_output();
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (said, _) = run(&["--only", "ties-*is", "--only", "linear-et-fo"], 0);
    assert_eq!(files(&out), ["linear-et-fo", "ties-et-fo-is", "ties-et-is", "ties-fo-is"]);
    assert!(said.lines().last().unwrap().contains(": 4 merged, "), "{said}");
    // What is there is in the way, before anything is merged.
    let (_, refused) = run(&["--only", "*-et-is"], 2);
    assert!(refused.contains("in: ties-et-is\n") && refused.contains("--resume skips"), "{refused}");
    assert_eq!(files(&out).len(), 4);
    // An unfinished member is continued, finished ones are left alone.
    std::fs::remove_file(out.join("ties-et-is/growmerge.json")).unwrap();
    std::fs::write(out.join("ties-et-is/growmerge.journal"), "").unwrap();
    let before = std::fs::metadata(out.join("ties-fo-is/model.safetensors")).unwrap().modified().unwrap();
    let (said, _) = run(&["--only", "ties-*", "--resume"], 0);
    assert!(said.contains(": 2 merged, 2 complete already, "), "{said}");
    assert_eq!(
        std::fs::metadata(out.join("ties-fo-is/model.safetensors")).unwrap().modified().unwrap(),
        before
    );
    command().arg("verify").arg(out.join("ties-et-is")).assert().success();

    // A member's folder has all that is needed to make it again, without the grid.
    let member = out.join("ties-et-fo-is");
    let again = folder.path().join("again");
    command().arg("merge").arg(member.join("recipe.yaml")).arg(&again).arg("--quiet").assert().success();
    for name in files(&member) {
        assert_eq!(
            std::fs::read(member.join(&name)).unwrap(),
            std::fs::read(again.join(&name)).unwrap(),
            "{name}"
        );
    }
    let card = std::fs::read_to_string(member.join("README.md")).unwrap();
    assert!(card.contains("# ties-et-fo-is") && card.contains("  - model: recipes/quickstart/fo"), "{card}");
    assert!(!card.contains("matrix"), "{card}");

    // Checkpoints of one architecture have the same headers; the same name over other models is another merge.
    let other = recipe_file("grid.yaml").replace("quickstart/{language}", "quickstart/{language.path}");
    let other =
        other.replace("[et, fo, is]", "[{name: et, path: sv}, {name: fo, path: fo}, {name: is, path: is}]");
    let file = folder.path().join("other.yaml");
    std::fs::write(&file, other).unwrap();
    let run_other = command()
        .arg("merge")
        .arg(&file)
        .arg(&out)
        .args(["--only", "ties-et-is", "--resume"])
        .assert()
        .code(2);
    let refused = String::from_utf8_lossy(&run_other.get_output().stderr).into_owned();
    assert!(
        refused.contains("ties-et-is: error:") && refused.contains("finished merge here is of another plan"),
        "{refused}"
    );

    let (said, _) = run(&["--only", "linear-fo-is", "--json"], 0);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((json["merged"].as_array().unwrap().len(), &json["left"]), (1, &serde_json::json!(0)));
}

/// One that fails does not keep the others from being merged, and decides the exit code.
#[test]
fn a_member_that_fails_is_told_and_the_rest_is_merged() {
    let folder = tempfile::tempdir().unwrap();
    for (name, x) in [("a", 1.0), ("b", 2.0), ("c", f32::NAN)] {
        let tensors = [("model.layers.0.mlp.up_proj.weight".to_owned(), f32s(&[2, 3], [x; 6]))].into();
        support::write(&folder.path().join(name), &tensors);
    }
    let text = "name: 'x-{set}'\nmerge_method: linear\nmodels: [{for: m in set, model: '{m}'}]\nparameters: {weight: 1}\n\
                matrix: {set: {subsets: [a, b, c], at_least: 2}}\n";
    std::fs::write(folder.path().join("grid.yaml"), text).unwrap();
    let mut merge = command();
    let run = merge.current_dir(folder.path()).args(["merge", "grid.yaml", "out"]).assert().code(2);
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(said.contains("out: 1 merged, 3 failed (x-a-b-c, x-a-c, x-b-c), "), "{said}");
    assert!(String::from_utf8_lossy(&run.get_output().stderr).contains("x-a-c: error: "));
    assert!(folder.path().join("out/x-a-b/growmerge.json").exists());
    assert!(!folder.path().join("out/x-a-c/growmerge.json").exists());
    // A misspelt model is found before anything is merged, and said once.
    std::fs::write(folder.path().join("grid.yaml"), text.replace("[a, b, c]", "[a, b, d]")).unwrap();
    let run = command().current_dir(folder.path()).args(["merge", "grid.yaml", "out2"]).assert().code(2);
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("in: x-a-d, x-b-d, x-a-b-d\n") && !folder.path().join("out2").exists(), "{said}");
}

/// `verify` of a grid's folder: each member, all of them whatever is wrong with one.
#[test]
fn all_members_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    command()
        .args(["merge", "recipes/grid.yaml", "--only", "linear-*", "--quiet"])
        .arg(&out)
        .assert()
        .success();
    let members = files(&out);
    assert!(members.len() > 2, "{members:?}");
    let verify = |code: i32, more: &[&str]| {
        let run = command().arg("verify").arg(&out).args(more).assert().code(code);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&run.get_output().stdout), text(&run.get_output().stderr))
    };
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    let (said, _) = verify(0, &[]);
    assert_eq!(said.matches("all as recorded").count(), members.len(), "{said}");
    assert!(said.starts_with(&format!("{}: ", members[0])), "{said}");
    assert!(said.ends_with(&format!("{0} of {0} members good\n", members.len())), "{said}");
    assert_eq!(verify(0, &["--quiet"]), Default::default());

    std::fs::write(out.join(&members[1]).join("tokenizer.json"), "{}").unwrap();
    let (said, _) = verify(1, &["--quiet"]);
    assert!(said.starts_with(&format!("{}: bad: tokenizer.json: ", members[1])), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    // One that cannot be checked keeps none from being checked, and decides the exit code.
    let first = out.join(&members[0]);
    std::fs::rename(first.join("growmerge.json"), first.join("growmerge.journal")).unwrap();
    let (said, told) = verify(2, &[]);
    assert!(told.contains(&members[0]) && told.contains("is unfinished"), "{told}");
    assert!(said.contains(&format!("{}: bad: tokenizer.json", members[1])), "{said}");
    assert!(said.ends_with(&format!("{} of {} members good\n", members.len() - 2, members.len())), "{said}");
    let json: serde_json::Value = serde_json::from_str(&verify(2, &["--json"]).0).unwrap();
    assert!(json["members"][0]["error"].is_string() && json["members"][1]["checks"].is_array(), "{json}");
    assert_eq!(json["members"].as_array().unwrap().len(), members.len());
}

#[test]
fn only_is_for_grids_and_must_match() {
    let refused = |args: &[&str]| {
        let run = command().args(args).assert().code(2);
        String::from_utf8_lossy(&run.get_output().stderr).into_owned()
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let mut said = String::new();
    for args in [
        &["plan", "recipes/quickstart.yaml", "--only", "x"][..],
        &["merge", "recipes/grid.yaml", out, "--only", "linear-et-fi"],
        &["merge", "recipes/grid.yaml", out, "--keep", "x"],
        &["eval", "recipes/grid.yaml", "--texts", "recipes/quickstart/texts"],
        &["eval", "recipes/grid.yaml", "--texts", "recipes/quickstart/texts", "--only", "linear*"],
        &["eval", "recipes/quickstart/fo", "--texts", "recipes/quickstart/texts", "--only", "linear"],
    ] {
        said += &refused(args);
    }
    insta::assert_snapshot!(said);
    assert!(!Path::new(out).exists());
}

#[test]
fn a_member_is_measured_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fo.txt"), "Hetta er ein stuttur setningur.\n").unwrap();
    let texts = folder.path().to_str().unwrap();
    let baseline = folder.path().join("b.json");
    let baseline = baseline.to_str().unwrap();
    let measure = |more: &[&str]| {
        let mut check = command();
        check.args([
            "check",
            "recipes/grid.yaml",
            "--only",
            "ties-et-fo",
            "--texts",
            texts,
            "--context",
            "64",
        ]);
        check.args(["--baseline", baseline]).args(more);
        let run = check.assert().success();
        String::from_utf8_lossy(&run.get_output().stdout).into_owned()
    };
    measure(&["--update"]);
    assert!(std::fs::read_to_string(baseline).unwrap().contains("\"ties-et-fo\""));
    assert!(measure(&[]).contains("no language became worse"));
}
