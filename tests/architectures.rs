//! Names of tensors as `transformers` saves them (`tests/architectures`), against what they mean, which is written by
//! hand in `expected.yaml`: roles, towers, places, ties, other names; and merges of two such models, planned from
//! headers over files without a byte in them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use growmerge::arch::{Family, Modules, Position};
use growmerge::plan::Plan;
use serde_json::{Value, json};
use support::lists::{Case, List, Tie, Tower, cases};
use support::{plan, refusal};

/// `.weight` and `.bias` cut off, numbers of experts starred.
fn stem(name: &str) -> String {
    let name = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")).unwrap_or(name);
    let parts: Vec<&str> = name.split('.').collect();
    let star = |i: usize| i > 0 && ["experts", "norms"].contains(&parts[i - 1]);
    let starred =
        parts.iter().enumerate().map(|(i, p)| if star(i) && p.parse::<u32>().is_ok() { "*" } else { p });
    starred.collect::<Vec<_>>().join(".")
}

fn word(role: growmerge::arch::Role) -> String {
    serde_json::to_value(role).unwrap().as_str().unwrap().to_owned()
}

fn value<'v>(config: &'v Value, key: &str) -> &'v Value {
    key.split('.').fold(config, |value, key| &value[key])
}

#[test]
fn every_tensor_has_the_role_and_the_place_that_it_should() {
    for case in cases() {
        let family = case.family();
        let loose = case.loose();
        let mut wrong = Vec::new();
        let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for name in case.tensors.keys() {
            let found = family.locate(name);
            let expected = match (loose.get(name.as_str()), case.layer(name)) {
                (Some((place, role)), _) => Some((*place, (*role).to_owned())),
                (None, Some((module, number, rest))) => {
                    let stem = stem(&rest);
                    seen.entry(module).or_default().insert(stem.clone());
                    let roles = &case.expected.layer[module];
                    let role =
                        roles.iter().find(|(_, stems)| stems.contains(&stem)).map(|(role, _)| role.clone());
                    role.map(|role| (Position::Layer(number), role))
                }
                (None, None) => None,
            };
            if expected != Some((found.position, word(found.role))) {
                wrong.push(format!("{name}: {expected:?}, not {:?} {:?}", found.position, found.role));
            }
        }
        assert!(wrong.is_empty(), "{}:\n{}", case.name, wrong.join("\n"));
        for name in loose.keys() {
            assert!(case.tensors.contains_key(*name), "{}: expected.yaml invents {name}", case.name);
        }
        for (module, roles) in &case.expected.layer {
            let stems: BTreeSet<String> = roles.values().flatten().cloned().collect();
            assert_eq!(seen[module.as_str()], stems, "{}, {module}", case.name);
        }
    }
}

#[test]
fn every_tower_is_found_with_its_layers() {
    for case in cases() {
        let modules = Modules::of(&case.family(), case.tensors.keys().map(String::as_str));
        let found: BTreeMap<String, Option<(String, usize)>> =
            modules.iter().map(|m| (m.name.clone(), m.tower.clone().map(|t| (t.prefix, t.layers)))).collect();
        let tower = |t: &Option<Tower>| t.as_ref().map(|t| (t.prefix.clone(), t.layers));
        let expected = case.expected.towers.iter().map(|(name, t)| (name.clone(), tower(t))).collect();
        assert_eq!(found, expected, "{}", case.name);
        assert!(Family::known().any(|known| case.config["model_type"] == known), "{} is tested", case.name);
    }
}

#[test]
fn two_models_are_merged_without_a_tensor_dropped() {
    for case in cases() {
        let world = case.world();
        let plan = world.linear();
        let jobs: List =
            plan.jobs.iter().map(|j| (j.name.clone(), (j.dtype.name().into(), j.shape.clone()))).collect();
        assert_eq!(jobs, case.tensors, "{}", case.name);
        assert!(plan.jobs.iter().all(|j| j.models.len() == 2), "{}", case.name);
        assert!(plan.left_out.is_empty() && plan.warnings.is_empty(), "{}: {}", case.name, plan.warnings);
        let mut config = case.config.clone();
        config["dtype"] = json!("bfloat16");
        assert_eq!(plan.config.unwrap(), config, "{}", case.name);
    }
}

/// `expected.also`: a second checkpoint with other names is the same model.
#[test]
fn the_other_names_of_a_tensor_are_known() {
    let mut tested = 0;
    for case in cases() {
        for reversed in [false, true] {
            if case.expected.also.is_empty() {
                continue;
            }
            let world = case.world();
            let renamed = case.renamed(&case.expected.also);
            assert_ne!(renamed, case.tensors, "{}", case.name);
            let (target, names) = if reversed { ("a", &renamed) } else { ("b", &case.tensors) };
            case.write(&world.0.path().join(target), &renamed);
            let plan = world.linear();
            let jobs: Vec<&String> = plan.jobs.iter().map(|j| &j.name).collect();
            assert_eq!(
                jobs,
                names.keys().collect::<Vec<_>>(),
                "{}: named as the first model does",
                case.name
            );
            assert!(plan.jobs.iter().all(|j| j.models.len() == 2), "{}", case.name);
            assert!(plan.left_out.is_empty() && plan.warnings.is_empty(), "{}: {}", case.name, plan.warnings);
            tested += 1;
        }
    }
    assert!(tested > 10, "{tested}");
}

/// `expected.tie`: one model stores both names, the other one of them.
#[test]
fn a_tied_tensor_stands_for_the_one_that_is_not_stored() {
    let mut tested = 0;
    for case in cases() {
        let Some(Tie { name, other }) = &case.expected.tie else { continue };
        let world = case.world();
        let mut both = case.tensors.clone();
        assert!(both.insert(name.clone(), both[other].clone()).is_none(), "{}", case.name);
        case.write(&world.0.path().join("b"), &both);
        let plan = world.linear();
        let job =
            plan.jobs.iter().find(|j| j.name == *name).unwrap_or_else(|| panic!("{}: {name}", case.name));
        let sources: Vec<&str> = job.models.iter().map(|s| s.origin_name(&plan.inputs)).collect();
        assert_eq!(sources, [other.as_str(), name.as_str()], "{}", case.name);
        assert!(plan.left_out.is_empty(), "{}", case.name);
        tested += 1;

        // If the config says that they are two, a head is missing.
        let mut untied = Case {
            config: case.config.clone(),
            expected: case.expected.clone(),
            tensors: case.tensors.clone(),
            name: case.name.clone(),
        };
        untied.config["tie_word_embeddings"] = json!(false);
        untied.write(&world.0.path().join("a"), &case.tensors);
        let head = word(case.family().locate(name).role) == "head";
        let (a, b) = (world.path("a"), world.path("b"));
        let recipe = format!(
            "merge_method: linear\nmodels: [{{model: {a}}}, {{model: {b}}}]\nparameters: {{weight: 0.5}}\n"
        );
        if head {
            let refusal = refusal(&recipe);
            assert!(refusal.contains(&format!("{name}: missing in {a}")), "{}: {refusal}", case.name);
            assert!(refusal.contains("not tied"), "{}: {refusal}", case.name);
        }
    }
    assert!(tested > 15, "{tested}");
}

/// Layers 0..2 of `a` and then 1.. of `b`, in each tower in turn; the others as they are.
#[test]
fn layers_are_put_together_in_every_tower() {
    for case in cases() {
        let world = case.world();
        let (a, b) = (world.path("a"), world.path("b"));
        let towers: Vec<_> =
            case.expected.towers.iter().filter_map(|(m, t)| Some((m, t.as_ref()?))).collect();
        for (module, tower) in &towers {
            let n = tower.layers;
            let slices = format!(
                "[{{sources: [{{model: {a}, layer_range: [0, 2]}}]}}, {{sources: [{{model: {b}, layer_range: [1, {n}]}}]}}]"
            );
            let whole = format!("merge_method: passthrough\nslices: {slices}\n");
            let recipe = if towers.len() == 1 {
                whole
            } else {
                let refusal = refusal(&whole);
                assert!(refusal.contains("`modules:`"), "{}: {refusal}", case.name);
                let mut text = String::from("merge_method: passthrough\nmodules:\n");
                for other in case.expected.towers.keys() {
                    text += &match other == *module {
                        true => format!("  {other}: {{slices: {slices}}}\n"),
                        false => format!("  {other}: {{models: [{{model: {a}}}]}}\n"),
                    };
                }
                text
            };
            check_stack(&case, module, tower, &plan(&recipe), (&a, &b));
        }
    }
}

fn check_stack(case: &Case, module: &str, tower: &Tower, plan: &Plan, (a, b): (&str, &str)) {
    let whose = format!("{}, {module}", case.name);
    let loose = case.loose();
    let modules = Modules::of(&case.family(), case.tensors.keys().map(String::as_str));
    let several = case.expected.towers.values().flatten().count() > 1;
    // Output name → model and name there, by hand.
    let mut expected: BTreeMap<String, (&str, String)> = BTreeMap::new();
    for name in case.tensors.keys() {
        let here = !several || modules.holding(name).unwrap().name == module;
        match case.layer(name) {
            Some((_, layer, rest)) if here => {
                let out = |layer: usize| format!("{}{layer}.{rest}", tower.prefix);
                if layer < 2 {
                    expected.insert(out(layer), (a, name.clone()));
                }
                if layer >= 1 {
                    expected.insert(out(layer + 1), (b, name.clone()));
                }
            }
            _ => {
                let from = if here && loose.get(name.as_str()).is_some_and(|l| l.0 == Position::After) {
                    b
                } else {
                    a
                };
                expected.insert(name.clone(), (from, name.clone()));
            }
        }
    }
    let found = plan.jobs.iter().map(|j| {
        let source = j.models[0];
        (j.name.clone(), (plan.inputs[source.input].name(), source.info(&plan.inputs).name.clone()))
    });
    let found: BTreeMap<String, (&str, String)> = found.collect();
    assert_eq!(found, expected, "{whose}");
    // Every tensor of both models is read, or named.
    let left: BTreeSet<(String, String)> =
        plan.left_out.iter().map(|l| (l.model.clone(), l.tensor.clone())).collect();
    let used: BTreeSet<(String, String)> =
        expected.values().map(|(m, t)| ((*m).to_owned(), t.clone())).collect();
    let all: BTreeSet<(String, String)> = [a, b]
        .iter()
        .flat_map(|m| case.tensors.keys().map(|t| ((*m).to_owned(), t.clone())))
        .filter(|(m, _)| plan.inputs.iter().any(|i| i.name() == m))
        .collect();
    assert_eq!(used.union(&left).cloned().collect::<BTreeSet<_>>(), all, "{whose}");
    assert!(used.is_disjoint(&left), "{whose}");
    let config = plan.config.as_ref().unwrap();
    for key in &tower.keys {
        assert_eq!(*value(config, key), json!(tower.layers + 1), "{whose}: {key}");
    }
    for other in case.expected.towers.values().flatten().filter(|t| t.prefix != tower.prefix) {
        assert!(other.keys.iter().all(|key| *value(config, key) == json!(other.layers)), "{whose}");
    }
    let section = tower.keys[0].rsplit_once('.').map_or(config, |(section, _)| value(config, section));
    let old =
        tower.keys[0].rsplit_once('.').map_or(&case.config, |(section, _)| value(&case.config, section));
    for list in ["layer_types", "no_rope_layers"] {
        let kinds = |section: &Value| section[list].as_array().cloned();
        if let Some(old) = kinds(old) {
            let order: Vec<usize> = (0..2).chain(1..tower.layers).collect();
            let follow: Vec<Value> = order.iter().map(|l| old[*l].clone()).collect();
            assert_eq!(kinds(section), Some(follow), "{whose}: {list}");
        }
    }
    assert!(plan.warnings.is_empty(), "{whose}: {}", plan.warnings);
}
