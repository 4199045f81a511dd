use std::sync::atomic::AtomicBool;

use super::*;
use crate::plan::PlanOptions;
use crate::recipe::Recipe;
use crate::tune::Groups;

const GROUPS: [Groups; 5] = [Groups::Model, Groups::Layer, Groups::Tensor, Groups::Row, Groups::RowColumn];

fn plan() -> Plan {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/quickstart");
    let text = format!(
        "merge_method: task_arithmetic\nbase_model: {folder}/en\nmodels:\n  - model: {folder}/et\n    parameters: \
         {{weight: [{{filter: mlp, value: 0.5}}, {{value: 0.25}}]}}\n  - model: {folder}/fo\nparameters: {{weight: 0.75, \
         normalize: true, lambda: 2}}\n"
    );
    Plan::build(&Recipe::parse("r.yaml", &text).unwrap(), &PlanOptions::default()).unwrap()
}

/// Numbers that look random.
fn noise(len: usize, seed: u64) -> Vec<f64> {
    let value =
        |i: u64| ((i + seed * 7919).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1u32 << 24);
    (0..len as u64).map(|i| value(i) - 0.5).collect()
}

/// All elements of a tensor of a plan's input.
fn read(plan: &Plan, source: Source) -> Vec<f64> {
    let info = source.info(&plan.inputs);
    let (host, cancel) = (Cpu::new(), AtomicBool::new(false));
    let mut values = vec![0.0f32; info.elements()];
    let options = Options { threads: 1, cancel: &cancel };
    Reader::open(&host, &options, plan, source).unwrap().read(0, &mut Room::default(), &mut values).unwrap();
    values.into_iter().map(f64::from).collect()
}

/// The coefficient of an element by the definition.
fn coefficient(space: &Space, tensor: usize, model: usize, element: usize, x: &[f64]) -> f64 {
    let tensor = &space.tensors[tensor];
    let (rows, columns) = tensor.parts[model].factors(tensor, x);
    let column = columns.get(element % tensor.columns).copied().unwrap_or(1.0);
    rows[element / tensor.columns] * column
}

#[test]
fn merging_and_its_gradient_follow_the_definition() {
    let plan = plan();
    let (host, cancel) = (Cpu::new(), AtomicBool::new(false));
    let options = Options { threads: 2, cancel: &cancel };
    for groups in GROUPS {
        let space = Space::new(&plan, groups).unwrap();
        let mut merged = Merged::new(&plan);
        let sources = Sources::open(&host, &options, &plan, &space, &mut merged, 0).unwrap();
        let x: Vec<f64> = space.start.iter().zip(noise(space.len(), 1)).map(|(x, n)| x + n).collect();
        sources.merge(&x, &mut merged).unwrap();
        let mut gradients = Gradients::new(&merged);
        let g = noise(gradients.values().len(), 2);
        gradients.values_mut().iter_mut().zip(&g).for_each(|(to, from)| *to = *from as f32);
        let pulled = sources.pull(&x, &gradients).unwrap();
        let (mut again, most) = (Merged::new(&plan), sources.bytes());
        let kept = Sources::open(&host, &options, &plan, &space, &mut again, most).unwrap();
        kept.merge(&x, &mut again).unwrap();
        assert!(kept.pieces.iter().all(|piece| !piece.kept.is_empty()), "all of it fits");
        assert!(again.values == merged.values, "{groups:?}: in memory or not");
        assert!(kept.pull(&x, &gradients).unwrap() == pulled, "{groups:?}: in memory or not");
        // The merge is linear in each coefficient: a step along one changes <g, W> by its gradient.
        let inner = |merged: &Merged| -> f64 {
            let pairs = merged.values.iter().zip(gradients.values());
            pairs.map(|(w, g)| f64::from(*w) * f64::from(*g)).sum()
        };
        for at in (0..space.len()).step_by((space.len() / 23).max(1)) {
            let moved = |by: f64| {
                let (mut x, mut merged) = (x.clone(), Merged::new(&plan));
                x[at] += by;
                sources.merge(&x, &mut merged).unwrap();
                inner(&merged)
            };
            let slope = (moved(0.5) - moved(-0.5)) / 1.0;
            let tolerance = 1e-5 + 1e-4 * slope.abs().max(pulled[at].abs());
            assert!((slope - pulled[at]).abs() < tolerance, "{groups:?} {at}: {slope} for {}", pulled[at]);
        }
        for (at, tensor) in space.tensors.iter().enumerate().step_by(5) {
            let job = &plan.jobs[tensor.job];
            let base = read(&plan, job.base.unwrap());
            let models: Vec<Vec<f64>> = job.models.iter().map(|m| read(&plan, *m)).collect();
            let slot = merged.layout.slot(&job.name).unwrap().range.clone();
            for (i, got) in merged.values[slot].iter().enumerate().step_by(97) {
                let of =
                    |(m, model): (usize, &Vec<f64>)| coefficient(&space, at, m, i, &x) * (model[i] - base[i]);
                let want = base[i] + models.iter().enumerate().map(of).sum::<f64>();
                assert!((f64::from(*got) - want).abs() < 1e-6 * (1.0 + want.abs()), "{} {i}", job.name);
            }
        }
    }
}

#[test]
fn coefficients_begin_with_the_recipe() {
    let plan = plan();
    for groups in GROUPS {
        let space = Space::new(&plan, groups).unwrap();
        assert_eq!(space.entries, ["et", "fo", "en"]);
        let tensor = |name: &str| {
            let at = space.tensors.iter().position(|t| plan.jobs[t.job].name.ends_with(name)).unwrap();
            (0..2).map(|model| coefficient(&space, at, model, 5, &space.start)).collect::<Vec<_>>()
        };
        let near = |a: Vec<f64>, b: [f64; 2]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        // lambda 2, over the sum of weights.
        assert!(near(tensor("layers.1.mlp.up_proj.weight"), [0.8, 1.2]), "{groups:?}");
        assert!(near(tensor("layers.1.self_attn.q_proj.weight"), [0.5, 1.5]), "{groups:?}");
    }
    let sizes: Vec<usize> = GROUPS.iter().map(|g| Space::new(&plan, *g).unwrap().len()).collect();
    // Of two models: 1; 4 layers with three kinds and two tensors; 38 tensors; rows; rows and columns.
    assert_eq!(sizes[..3], [2, 2 * 14, 2 * 38]);
    let rows = 2048 + 4 * (64 + 32 + 32 + 64 + 176 + 176 + 64 + 2) + 1;
    let columns = 64 + 4 * (6 * 64 + 176 + 2 * 64) + 64;
    assert_eq!(sizes[3..], [2 * rows, 2 * (rows + columns)]);
}

#[test]
fn other_methods_are_refused() {
    let text = "merge_method: linear\nmodels: [{model: recipes/quickstart/et}]\nparameters: {weight: 1}\n";
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/quickstart");
    let recipe = Recipe::parse("r.yaml", &text.replace("recipes/quickstart", folder)).unwrap();
    let plan = Plan::build(&recipe, &PlanOptions::default()).unwrap();
    let told = Space::new(&plan, Groups::Row).unwrap_err().to_string();
    assert!(
        told.contains("`linear` is not a sum of differences") && told.contains("task_arithmetic"),
        "{told}"
    );
}
