//! What was learned, as files that a merge reads: coefficients, and a recipe that names them.

use std::collections::HashSet;
use std::path::Path;

use super::space::{Space, TensorSpace};
use crate::coefficients::{Key, Written, write};
use crate::plan::Plan;
use crate::problem::{ExecError, Problem, Problems};
use crate::recipe::{Assembly, Reading, with_coefficients};

/// A label for each of a plan's inputs: the last part of its name, with a number where another has the same.
pub(super) fn entries(plan: &Plan) -> Vec<String> {
    let mut taken = HashSet::new();
    let label = |name: &str| {
        let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
        let last = last.replace(|c: char| c.is_whitespace() || c == '/', "-");
        let numbered = (2..).map(|n| format!("{last}-{n}"));
        let mut free = std::iter::once(last.clone()).chain(numbered).filter(|label| !taken.contains(label));
        let label = free.next().unwrap_or(last);
        taken.insert(label.clone());
        label
    };
    plan.inputs.iter().map(|input| input.name()).map(label).collect()
}

/// Writes coefficients `x`: of each model and tensor one number, or one for each row and column.
pub(super) fn coefficients(plan: &Plan, space: &Space, x: &[f64], path: &Path) -> Result<(), ExecError> {
    let mut all = Vec::new();
    for tensor in &space.tensors {
        for (model, (rows, columns)) in values(tensor, x).into_iter().enumerate() {
            let input = tensor.parts[model].input;
            let key = Key { entry: space.entries[input].clone(), tensor: plan.jobs[tensor.job].name.clone() };
            all.push((key, rows, columns));
        }
    }
    let written = all.iter().map(|(key, rows, columns)| Written { key: key.clone(), rows, columns });
    let metadata =
        [("by", format!("growmerge {} tune", env!("CARGO_PKG_VERSION"))), ("plan", plan.digest.clone())];
    write(path, &metadata, &written.collect::<Vec<_>>())
}

/// Of each model of a tensor the factors of rows, a single one where all are the same, and of columns.
fn values(tensor: &TensorSpace, x: &[f64]) -> Vec<(Vec<f32>, Vec<f32>)> {
    let narrow = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    let of = |(rows, columns): (Vec<f64>, Vec<f64>)| {
        let mut rows = narrow(rows);
        if rows.iter().all(|x| *x == rows[0]) {
            rows.truncate(1);
        }
        (rows, narrow(columns))
    };
    tensor.parts.iter().map(|part| of(part.factors(tensor, x))).collect()
}

/// The recipe of a plan with the coefficients of a file.
///
/// # Errors
/// If it has no `models:`.
pub(super) fn recipe(plan: &Plan, entries: &[String], file: &str) -> Result<String, Problems> {
    let (name, text) = &plan.recipe;
    let reading = Reading::parse(name, text);
    let Some(recipe) = reading.book.as_ref().and_then(|book| book.result()) else {
        return Err(reading.problems);
    };
    let Assembly::Models(models) = &recipe.assembly else {
        let problem = Problem::error("models", "coefficients are learned of recipes with `models:`");
        return Err(problem.hint("write the recipe without slices and modules").into());
    };
    let order = recipe.models();
    let labels = models.iter().map(|entry| {
        let is_base = recipe.base_model.as_ref().is_some_and(|base| base.value == entry.model.value);
        let at = order.iter().position(|model| model.value == entry.model.value);
        at.filter(|_| !is_base).and_then(|at| entries.get(at)).cloned()
    });
    with_coefficients(text, &labels.collect::<Vec<_>>(), file)
}
