//! `growmerge explain`: what it shows of the recipes, and that it is what the plan does.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::fmt::Write;
use std::path::Path;

use growmerge::explain::Explanation;
use proptest::prelude::*;
use serde_json::Value;
use support::{Tensors, command, f32s, plan, write};

fn prints(args: &[&str]) -> String {
    let run = command().args(args).assert().success();
    String::from_utf8(run.get_output().stdout.clone()).unwrap()
}

/// A recorded recipe, with paths from the repository's folder on.
fn recorded(name: &str) -> tempfile::NamedTempFile {
    let text = std::fs::read_to_string(format!("tests/golden/recipes/{name}.yaml")).unwrap();
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), text.replace("@IN@", "tests/golden/inputs")).unwrap();
    file
}

#[test]
fn recipes_of_constants_are_a_few_lines_and_gradients_a_row_for_each_layer() {
    let mut text = String::new();
    for name in ["quickstart", "passthrough", "slerp", "grow"] {
        let _ = writeln!(text, "$ growmerge explain recipes/{name}.yaml");
        text += &prints(&["explain", &format!("recipes/{name}.yaml")]);
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[test]
fn levels_filters_gradients_and_moved_layers() {
    let mut text = String::new();
    for name in ["levels_filters_gradients", "frankenmerge", "task_arithmetic_gradient"] {
        let recipe = recorded(name);
        let _ = writeln!(text, "$ growmerge explain {name}.yaml");
        text += &prints(&["explain", recipe.path().to_str().unwrap()]);
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[test]
fn stages_come_before_what_is_made_of_them() {
    let recipe = recorded("two_stages");
    let path = recipe.path().to_str().unwrap();
    insta::assert_snapshot!(prints(&["explain", path]));
    let json: Value =
        serde_json::from_str(&prints(&["explain", path, "--json", "--tensor", "*norm.weight"])).unwrap();
    assert_eq!(json["stages"][0]["name"], "north");
    assert_eq!(json["stages"][0]["explained"]["method"], "linear");
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    prints(&["explain", path, "--html", page.to_str().unwrap()]);
    let html = std::fs::read_to_string(&page).unwrap();
    let (stage, result) = (html.find("<h2>stage north</h2>").unwrap(), html.find("<h2>result</h2>").unwrap());
    assert!(stage < result && html[stage..result].contains("<svg"));
}

#[test]
fn single_tensors_with_the_line_that_set_each_value() {
    let recipe = recorded("levels_filters_gradients");
    let path = recipe.path().to_str().unwrap();
    insta::assert_snapshot!(prints(&["explain", path, "--tensor", "model.layers.1.mlp.*"]));

    let run =
        command().args(["explain", path, "--tensor", "model.layers.1.mlp.up_prj.weight"]).assert().code(2);
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.contains("did you mean `model.layers.1.mlp.up_proj.weight`?"), "{said}");
    let run = command().args(["explain", path, "--json", "--tensor", "nothing*"]).assert().code(2);
    assert!(String::from_utf8_lossy(&run.get_output().stderr).contains("no output tensor"));

    let json: Value =
        serde_json::from_str(&prints(&["explain", path, "--json", "--tensor", "*.1.mlp.up_proj.weight"]))
            .unwrap();
    let tensor = &json["tensors"][0];
    assert_eq!(json["tensors"].as_array().unwrap().len(), 1);
    assert_eq!((&tensor["layer"], &tensor["role"], &tensor["slice"]), (&1.into(), &"up".into(), &0.into()));
    let et = &tensor["made_of"][0];
    assert_eq!(et["tensor"], "model.layers.2.mlp.up_proj.weight");
    assert_eq!(
        et["parameters"]["weight"],
        serde_json::json!({"value": 0.35, "set_by": {"model": {"line": 11}}})
    );
    assert_eq!(tensor["parameters"]["int8_mask"], serde_json::json!({"value": false, "set_by": "default"}));
}

#[test]
fn a_page_draws_what_varies_and_loads_nothing() {
    let recipe = recorded("levels_filters_gradients");
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let path = recipe.path().to_str().unwrap();
    prints(&["explain", path, "--html", page.to_str().unwrap()]);
    let html = std::fs::read_to_string(&page).unwrap();
    for wanted in
        ["weight by layer", "density by layer", "lambda by layer", "Where layers come from", "et: attention"]
    {
        assert!(html.contains(wanted), "{wanted}");
    }
    assert!(!html.contains("normalize by layer"), "what is constant is no picture");
    for foreign in ["<script", "<link", "http://", "https://", "src="] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    prints(&["explain", "recipes/quickstart.yaml", "--html", page.to_str().unwrap()]);
    assert!(!std::fs::read_to_string(&page).unwrap().contains("<svg"));
}

/// A model of so many layers, with a tensor before and one after them.
fn model(folder: &Path, layers: usize) {
    let tensor = || f32s(&[2], [0.5, 1.0]);
    let mut tensors = Tensors::new();
    tensors.insert("model.embed_tokens.weight".into(), tensor());
    tensors.insert("model.norm.weight".into(), tensor());
    for layer in 0..layers {
        tensors.insert(format!("model.layers.{layer}.mlp.up_proj.weight"), tensor());
        tensors.insert(format!("model.layers.{layer}.self_attn.q_proj.weight"), tensor());
    }
    write(folder, &tensors);
}

/// The value of a list at depth `t`, as mergekit defines it.
fn gradient(list: &[f64], t: f64) -> f64 {
    let scaled = t * (list.len() - 1) as f64;
    let below = scaled.trunc();
    let above = (below + 1.0).min((list.len() - 1) as f64);
    let fraction = scaled - below;
    (1.0 - fraction) * list[below as usize] + fraction * list[above as usize]
}

#[derive(Clone, Debug)]
struct Slice {
    start: usize,
    layers: usize,
    /// The gradient over attention, and over all else.
    attention: Vec<f64>,
    others: Vec<f64>,
}

fn slice() -> impl Strategy<Value = Slice> {
    let list = || proptest::collection::vec(-2.0..2.0f64, 1..7);
    (0usize..4, 1usize..9, list(), list()).prop_map(|(start, layers, attention, others)| Slice {
        start,
        layers,
        attention,
        others,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the gradients and the slices: the value that is shown is the one that the formula gives, and the
    /// line that is named is the one that it stands in.
    #[test]
    fn the_value_of_each_layer_is_that_of_the_formula(slices in proptest::collection::vec(slice(), 1..4)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        model(&path, 12);
        let mut text = String::from("merge_method: passthrough\nslices:\n");
        for s in &slices {
            let (from, to) = (s.start, s.start + s.layers);
            let _ = write!(
                text,
                "  - sources:\n      - model: {}\n        layer_range: [{from}, {to}]\n        parameters:\n          scale:\n            \
                 - {{filter: self_attn, value: {:?}}}\n            - value: {:?}\n",
                path.display(), s.attention, s.others,
            );
        }
        let plan = plan(&text);
        let explanation = Explanation::new(&plan);
        let json = explanation.json(None).unwrap();
        let tensors = json["tensors"].as_array().unwrap();
        let find = |name: &str| tensors.iter().find(|t| t["tensor"] == name).unwrap();
        let scale = |name: &str| find(name)["made_of"][0]["parameters"]["scale"].clone();
        let mut layer = 0;
        for (number, s) in slices.iter().enumerate() {
            for i in 0..s.layers {
                let t = if s.layers == 1 { 1.0 } else { i as f64 / (s.layers - 1) as f64 };
                for (part, list) in [("self_attn.q_proj", &s.attention), ("mlp.up_proj", &s.others)] {
                    let name = format!("model.layers.{layer}.{part}.weight");
                    let shown = scale(&name);
                    prop_assert_eq!(shown["value"].as_f64().unwrap(), gradient(list, t), "{}", name);
                    prop_assert_eq!(&shown["set_by"]["model"]["line"], &Value::from(3 + 7 * number + 4));
                    prop_assert_eq!(find(&name)["depth"].as_f64(), Some(t));
                    prop_assert_eq!(&find(&name)["slice"], &Value::from(number));
                    prop_assert_eq!(&find(&name)["made_of"][0]["layer"], &Value::from(s.start + i));
                }
                layer += 1;
            }
        }
        let (first, last) = (&slices[0], &slices[slices.len() - 1]);
        prop_assert_eq!(scale("model.embed_tokens.weight")["value"].as_f64(), Some(first.others[0]));
        prop_assert_eq!(scale("model.norm.weight")["value"].as_f64(), Some(last.others[0]));
        prop_assert_eq!(tensors.len(), 2 * layer + 2);

        // The table says the same, however its rows are put together.
        let tables = explanation.tables();
        let (_, table) = tables.iter().find(|(heading, _)| heading == "layers").unwrap();
        let mut covered = 0;
        for row in &table.rows {
            covered += row[0].split('-').rev().map(|n| n.parse::<usize>().unwrap()).reduce(|to, from| to - from + 1).map_or(0, |n| if row[0].contains('-') { n } else { 1 });
        }
        prop_assert_eq!(covered, layer);
        for (column, header) in table.header.iter().enumerate().skip(3) {
            let parts: &[&str] = match header.rsplit_once(": ") {
                Some((_, "attention" | "query")) => &["self_attn.q_proj"],
                Some((_, "up" | "mlp")) => &["mlp.up_proj"],
                None => &["self_attn.q_proj", "mlp.up_proj"],
                other => panic!("{other:?}"),
            };
            let mut covered = 0;
            for row in &table.rows {
                let ends: Vec<usize> = row[0].split('-').map(|n| n.parse().unwrap()).collect();
                for layer in ends[0]..=ends[ends.len() - 1] {
                    for part in parts {
                        let exact = scale(&format!("model.layers.{layer}.{part}.weight"))["value"].as_f64().unwrap();
                        let shown: f64 = row[column].parse().unwrap();
                        prop_assert!((shown - exact).abs() <= 5.1e-5, "{header} of {layer}: {shown} is {exact}");
                    }
                    covered += 1;
                }
            }
            prop_assert_eq!(covered, layer);
        }
    }
}
