//! What was learned, to look at: the loss on the way, and of each model a coefficient for each layer and role.

use std::collections::{BTreeMap, BTreeSet};

use super::aims::{Aims, Measure};
use super::objective::Goal;
use super::run::Tuned;
use super::search::Found;
use crate::arch::Family;
use crate::plan::Plan;
use crate::report::svg::{Heat, Line, heat, lines};
use crate::report::{Part, Table};

/// Numbers and pictures of a run, for a page.
pub fn parts(plan: &Plan, goal: &Goal, tuned: &Tuned) -> Vec<Part> {
    let lead = format!(
        "{} coefficients ({} of each model), learned on {} tokens; what is told is bits per byte of documents that were held \
         out. The lowest objective was at step {}.",
        tuned.space.len(),
        tuned.space.groups.describe(),
        goal.languages.iter().map(|l| l.tokens).sum::<usize>(),
        tuned.step
    );
    page(plan, lead, &goal.measures(), "step", tuned)
}

/// The same of a search.
pub fn search_parts(plan: &Plan, aims: &Aims, found: &Found) -> Vec<Part> {
    let Found { tuned, tried } = found;
    let measures = aims.measures();
    let lead = format!(
        "{} coefficients ({} of each model), searched for by trying {} points; what is told is of what was held out, {}, at \
         the points that were the best so far. The lowest objective was at point {}.",
        tuned.space.len(),
        tuned.space.groups.describe(),
        tried.len(),
        unit(&measures),
        tuned.step
    );
    page(plan, lead, &measures, "point", tuned)
}

/// What measures are in.
pub fn unit(measures: &[Measure]) -> &'static str {
    match (measures.iter().any(|m| !m.of_pairs), measures.iter().any(|m| m.of_pairs)) {
        (true, true) => "bits per byte, and the part of pairs judged wrong",
        (false, true) => "the part of pairs judged wrong",
        (_, false) => "bits per byte",
    }
}

fn page(plan: &Plan, lead: String, measures: &[Measure], axis: &str, tuned: &Tuned) -> Vec<Part> {
    let mut parts = vec![
        Part::Text(lead),
        Part::Table(losses(measures, tuned)),
        Part::Picture(curves(measures, axis, tuned)),
    ];
    for (input, entry) in tuned.space.entries.iter().enumerate() {
        let means = means(plan, tuned, input);
        if means.is_empty() {
            continue;
        }
        parts.push(Part::Heading(format!("Coefficients of {entry}")));
        parts.extend(pictures(plan, &means));
    }
    parts
}

/// Before and after, by language.
pub fn losses(measures: &[Measure], tuned: &Tuned) -> Table {
    let pairs = measures.iter().any(|m| m.of_pairs);
    let amount = if pairs { ">bytes or pairs" } else { ">bytes" };
    let columns = ["language", ">share", amount, ">recipe", ">tuned", ">change"];
    let mut table = Table::new(&columns, Vec::new());
    let Some((best, first)) = tuned.gain() else { return table };
    let row = |name: &str, share: String, amount: String, before: f64, after: f64| {
        let number = |x: f64| format!("{x:.4}");
        vec![name.to_owned(), share, amount, number(before), number(after), format!("{:+.4}", after - before)]
    };
    let languages = measures.iter().zip(first.bits.iter().zip(&best.bits));
    table.rows = languages
        .map(|(m, (a, b))| row(&m.name, format!("{:.3}", m.weight), m.amount.to_string(), *a, *b))
        .collect();
    let (share, amount) = match pairs {
        true => (String::new(), String::new()),
        false => ("1.000".to_owned(), measures.iter().map(|m| m.amount).sum::<usize>().to_string()),
    };
    table.rows.push(row("objective", share, amount, first.value, best.value));
    table
}

fn curves(measures: &[Measure], axis: &str, tuned: &Tuned) -> String {
    let line = |(i, measure): (usize, &Measure)| Line {
        name: measure.name.clone(),
        points: tuned.looks.iter().map(|look| (look.step as f64, look.bits[i], None)).collect(),
    };
    let all: Vec<Line> = measures.iter().enumerate().map(line).collect();
    lines(&all, axis, &format!("{}, held out", unit(measures)))
}

/// Of each tensor the mean coefficient that a model has in it.
fn means(plan: &Plan, tuned: &Tuned, input: usize) -> BTreeMap<String, f64> {
    let mean = |x: &[f64]| if x.is_empty() { 1.0 } else { x.iter().sum::<f64>() / x.len() as f64 };
    let mut found = BTreeMap::new();
    for tensor in &tuned.space.tensors {
        for part in tensor.parts.iter().filter(|part| part.input == input) {
            let (rows, columns) = part.factors(tensor, &tuned.best);
            found.insert(plan.jobs[tensor.job].name.clone(), mean(&rows) * mean(&columns));
        }
    }
    found
}

/// A map of layers and roles for each tower, and a table of what stands beside the layers.
fn pictures(plan: &Plan, means: &BTreeMap<String, f64>) -> Vec<Part> {
    let config = plan.inputs[plan.donor].config();
    let family = Family::of(config.and_then(|c| c.get("model_type")?.as_str()));
    let mut towers: BTreeMap<String, BTreeMap<(String, usize), f64>> = BTreeMap::new();
    let mut beside = Table::new(&["tensor", ">mean coefficient"], Vec::new());
    for (name, mean) in means {
        match family.locate(name).layer_name {
            Some((prefix, layer, suffix)) => {
                let role = suffix.trim_start_matches('.').trim_end_matches(".weight").to_owned();
                towers.entry(prefix).or_default().insert((role, layer), *mean);
            }
            None => beside.rows.push(vec![name.clone(), format!("{mean:.3}")]),
        }
    }
    let picture = |cells: &BTreeMap<(String, usize), f64>| {
        let roles: BTreeSet<&String> = cells.keys().map(|(role, _)| role).collect();
        let layers: BTreeSet<usize> = cells.keys().map(|(_, layer)| *layer).collect();
        let cell =
            |role: &String, layer: usize| cells.get(&(role.clone(), layer)).copied().unwrap_or(f64::NAN);
        let map = Heat {
            rows: roles.iter().map(|role| (*role).clone()).collect(),
            columns: layers.iter().map(|layer| format!("layer {layer}")).collect(),
            values: roles.iter().map(|role| layers.iter().map(|l| cell(role, *l)).collect()).collect(),
        };
        Part::Picture(heat(&map, "mean coefficient"))
    };
    towers.values().map(picture).chain((!beside.rows.is_empty()).then_some(Part::Table(beside))).collect()
}
