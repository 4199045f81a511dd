//! Single tensors: every value of each.

use super::tables::NONE;
use super::{Explanation, Tensor, words};
use crate::glob;
use crate::problem::{Problem, Problems};
use crate::report::Table;

impl Explanation<'_> {
    /// Every value of each output tensor whose name fits a pattern (`*` any characters, `?` one).
    ///
    /// # Errors
    /// If none does.
    pub fn each(&self, pattern: &str) -> Result<Table, Problems> {
        let mut rows = Vec::new();
        for tensor in self.matching(Some(pattern))? {
            let depth = words::number(tensor.job.lookup.t);
            let mut head = [tensor.job.name.clone(), depth].into_iter();
            let mut add = |cells: [String; 4]| {
                let lead = [head.next().unwrap_or_default(), head.next().unwrap_or_default()];
                rows.push(lead.into_iter().chain(cells).collect());
            };
            for (column, value) in &tensor.values {
                let name = self.param(*column).name.to_owned();
                let whom = column.model.map_or("all".to_owned(), |m| self.part(tensor, m));
                add([name, whom, self.show(*column, &value.arg), words::origin(value.origin)]);
            }
            // Models without a parameter: a base, or what is taken as it is.
            for model in tensor.made_of.keys() {
                if tensor.values.keys().all(|c| c.model != Some(*model)) {
                    let taken = if tensor.job.is_as_it_is() { "taken as it is" } else { "" };
                    let base = tensor.job.base.is_some_and(|b| b.input == *model);
                    let role = if base { "base" } else { taken };
                    add([NONE.into(), self.part(tensor, *model), role.into(), String::new()]);
                }
            }
        }
        Ok(Table::new(&["tensor", ">depth", "parameter", "for", ">value", "set by"], rows))
    }

    /// A model, and the layer it gives where that is another than the tensor's own.
    fn part(&self, tensor: &Tensor<'_>, model: usize) -> String {
        match tensor.made_of.get(&model) {
            Some(Some(layer)) if Some(*layer) != tensor.layer() => {
                format!("{} layer {layer}", self.models[model])
            }
            _ => self.models[model].clone(),
        }
    }

    pub(super) fn matching(&self, pattern: Option<&str>) -> Result<Vec<&Tensor<'_>>, Problems> {
        let Some(pattern) = pattern else { return Ok(self.tensors.iter().collect()) };
        let fits = |t: &&Tensor<'_>| glob::matches(pattern, &t.job.name);
        let found: Vec<&Tensor<'_>> = self.tensors.iter().filter(fits).collect();
        if found.is_empty() {
            let names = self.tensors.iter().map(|t| t.job.name.as_str());
            let problem = Problem::error("--tensor", format!("no output tensor is called `{pattern}`"));
            let problem = problem.did_you_mean(pattern, names);
            let first = self.tensors.first().map_or("", |t| t.job.name.as_str());
            return Err(match problem.hint {
                Some(_) => problem.into(),
                None => problem.hint(format!("`*` stands for any characters; the first is {first}")).into(),
            });
        }
        Ok(found)
    }
}
