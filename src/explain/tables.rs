//! The explanation as tables: a few lines for a recipe of constants, a row for each layer of a gradient.

use std::collections::{BTreeMap, BTreeSet};

use super::layers::{Group, Run};
use super::{Column, Explanation, Tensor, glob, words};
use crate::plan::SetBy;
use crate::problem::Problem;
use crate::report::Table;

/// Names that are written out before the rest is counted.
const NAMED: usize = 4;
/// A parameter that a model, or a layer, has no use for.
const NONE: &str = "–";

impl Explanation<'_> {
    /// All of it but single tensors: tables with what stands above each.
    pub fn tables(&self) -> Vec<(String, Table)> {
        let mut tables = Vec::new();
        if let Some(table) = self.parameters() {
            tables.push(("parameters".to_owned(), table));
        }
        tables.extend(self.layers());
        tables.extend(self.outside());
        tables.extend(self.left_out());
        tables
    }

    /// What is explained, in a sentence.
    pub fn summary(&self) -> String {
        let plan = self.plan;
        let towers = self.towers();
        let layers: Vec<String> = match &towers[..] {
            [] => vec!["no layers".into()],
            [only] => vec![layers(only.count())],
            more => more.iter().map(|t| format!("{} in {}", layers(t.count()), t.prefix)).collect(),
        };
        format!(
            "{} of {} models: {} tensors, {}",
            plan.method.name,
            plan.inputs.len(),
            plan.jobs.len(),
            layers.join(", ")
        )
    }

    /// Each parameter of each model with its value, or from where to where it goes, and who set it.
    fn parameters(&self) -> Option<Table> {
        let columns = self.columns();
        let mut rows: Vec<(Column, Vec<String>)> = Vec::new();
        for column in &columns {
            let numbers: Vec<_> = self.values(*column).collect();
            let origins: BTreeSet<SetBy> = numbers.iter().map(|v| v.origin).collect();
            let by: Vec<String> = origins.into_iter().map(words::origin).collect();
            rows.push((*column, vec![self.spread(*column), by.join("; ")]));
        }
        // Models that share value and origin stand in one row.
        let mut table: Vec<Vec<String>> = Vec::new();
        for same in rows.chunk_by(|a, b| (a.0.param, &a.1) == (b.0.param, &b.1)) {
            let models: Vec<usize> = same.iter().filter_map(|(c, _)| c.model).collect();
            let all = columns.iter().filter(|c| c.param == same[0].0.param).count();
            let whom = match models.len() {
                0 => "all".to_owned(),
                1 => self.models[models[0]].clone(),
                n if n == all => "each model".to_owned(),
                _ => models.iter().map(|m| self.models[*m].as_str()).collect::<Vec<_>>().join(", "),
            };
            let mut row = vec![self.param(same[0].0).name.to_owned(), whom];
            row.extend(same[0].1.iter().cloned());
            table.push(row);
        }
        (!table.is_empty()).then(|| Table::new(&["parameter", "for", ">value", "set by"], table))
    }

    /// The only value of a column, or its least and greatest.
    fn spread(&self, column: Column) -> String {
        use crate::method::Arg;
        let mut texts: Vec<String> = Vec::new();
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in self.values(column) {
            if let Arg::Number(x) = value.arg {
                (low, high) = (low.min(x), high.max(x));
            }
            let text = self.show(column, value.arg);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.len() {
            1 => texts.remove(0),
            _ if low < high => {
                format!("{} to {}", self.show(column, Arg::Number(low)), self.show(column, Arg::Number(high)))
            }
            _ => texts.join(", "),
        }
    }

    /// Layers down, what varies across. Nothing where all layers are alike.
    fn layers(&self) -> Vec<(String, Table)> {
        let varying = self.varying();
        let towers = self.towers();
        let mut tables = Vec::new();
        for tower in &towers {
            let groups: Vec<Group> = varying.iter().flat_map(|c| tower.groups(*c)).collect();
            let runs = tower.runs(&groups);
            let sliced = runs.iter().any(|r| r.slice.is_some());
            if groups.is_empty() && !sliced {
                continue;
            }
            let heading = match towers.len() {
                1 => "layers".to_owned(),
                _ => format!("layers of {}", tower.prefix.trim_end_matches('.')),
            };
            tables.push((heading, self.runs(&groups, &runs, sliced)));
        }
        tables
    }

    fn runs(&self, groups: &[Group], runs: &[Run], sliced: bool) -> Table {
        let mut header = vec![">layers".to_owned(), ">t".to_owned()];
        if sliced {
            header.push("made of".to_owned());
        }
        header.extend(groups.iter().map(|g| format!(">{}", self.group_title(g))));
        let row = |run: &Run| {
            let t = match run.t {
                (a, b) if a == b => words::number(a),
                (a, b) => format!("{} to {}", words::number(a), words::number(b)),
            };
            let mut row = vec![words::range(run.first, run.last), t];
            if sliced {
                row.push(self.made_of(&run.made_of, run.last - run.first));
            }
            let cell = |(group, value): (&Group, &Option<crate::method::Arg>)| {
                value.map_or(NONE.to_owned(), |v| self.show(group.column, v))
            };
            row.extend(groups.iter().zip(&run.values).map(cell));
            row
        };
        Table { rows: runs.iter().map(row).collect(), header }
    }

    /// As in `weight of fo: mlp`.
    pub(super) fn group_title(&self, group: &Group) -> String {
        let title = self.title(group.column);
        if group.label.is_empty() { title } else { format!("{title}: {}", group.label) }
    }

    /// As in `en, is 0-2; fo 1-3`: layers of models that `further + 1` output layers are made of.
    fn made_of(&self, made_of: &BTreeMap<usize, Option<usize>>, further: usize) -> String {
        let mut by_layer: Vec<(Option<usize>, Vec<&str>)> = Vec::new();
        for (model, layer) in made_of {
            match by_layer.iter_mut().find(|(l, _)| l == layer) {
                Some((_, models)) => models.push(&self.models[*model]),
                None => by_layer.push((*layer, vec![&self.models[*model]])),
            }
        }
        let part = |(layer, models): (Option<usize>, Vec<&str>)| match layer {
            Some(layer) => format!("{} {}", models.join(", "), words::range(layer, layer + further)),
            None => models.join(", "),
        };
        by_layer.into_iter().map(part).collect::<Vec<_>>().join("; ")
    }

    /// Tensors outside layers: where the layers vary, or are put together from slices.
    fn outside(&self) -> Option<(String, Table)> {
        let loose: Vec<&Tensor<'_>> = self.tensors.iter().filter(|t| t.layer().is_none()).collect();
        let varying = self.varying();
        let sliced = self.tensors.iter().any(|t| t.job.lookup.slice.is_some());
        if loose.is_empty() || varying.is_empty() && !sliced {
            return None;
        }
        let mut header = vec!["tensor".to_owned()];
        if sliced {
            header.push("made of".to_owned());
        }
        header.extend(varying.iter().map(|c| format!(">{}", self.title(*c))));
        let cells = |tensor: &Tensor<'_>| {
            let mut row: Vec<String> = Vec::new();
            if sliced {
                row.push(self.made_of(&tensor.made_of, 0));
            }
            let cell = |c: &Column| tensor.values.get(c).map_or(NONE.to_owned(), |v| self.show(*c, v.arg));
            row.extend(varying.iter().map(cell));
            row
        };
        let rows: Vec<(&str, Vec<String>)> = loose.iter().map(|t| (t.job.name.as_str(), cells(t))).collect();
        let row = |same: &[(&str, Vec<String>)]| {
            let names: Vec<&str> = same.iter().map(|(name, _)| *name).collect();
            std::iter::once(several(&names)).chain(same[0].1.iter().cloned()).collect()
        };
        let rows = rows.chunk_by(|a, b| a.1 == b.1).map(row).collect();
        Some(("outside the layers (t = 0)".to_owned(), Table { header, rows }))
    }

    /// Input tensors that nothing is made of.
    fn left_out(&self) -> Option<(String, Table)> {
        let mut by_reason: Vec<((&str, &str), Vec<&str>)> = Vec::new();
        for left in &self.plan.left_out {
            let reason = (left.model.as_str(), left.why.as_str());
            match by_reason.iter_mut().find(|(r, _)| *r == reason) {
                Some((_, tensors)) => tensors.push(&left.tensor),
                None => by_reason.push((reason, vec![&left.tensor])),
            }
        }
        let row = |((model, why), tensors): &((&str, &str), Vec<&str>)| {
            vec![(*model).to_owned(), (*why).to_owned(), several(tensors)]
        };
        let rows: Vec<Vec<String>> = by_reason.iter().map(row).collect();
        (!rows.is_empty()).then(|| ("left out".to_owned(), Table::new(&["model", "why", "tensors"], rows)))
    }

    /// Every value of each output tensor whose name fits a pattern (`*` any characters, `?` one).
    ///
    /// # Errors
    /// If none does.
    pub fn each(&self, pattern: &str) -> Result<Table, Problem> {
        let mut rows = Vec::new();
        for tensor in self.matching(Some(pattern))? {
            let t = words::number(tensor.job.lookup.t);
            let mut head = [tensor.job.name.clone(), t].into_iter();
            let mut add = |cells: [String; 4]| {
                let lead = [head.next().unwrap_or_default(), head.next().unwrap_or_default()];
                rows.push(lead.into_iter().chain(cells).collect());
            };
            for (column, value) in &tensor.values {
                let name = self.param(*column).name.to_owned();
                let whom = column.model.map_or("all".to_owned(), |m| self.part(tensor, m));
                add([name, whom, self.show(*column, value.arg), words::origin(value.origin)]);
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
        Ok(Table::new(&["tensor", ">t", "parameter", "for", ">value", "set by"], rows))
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

    pub(super) fn matching(&self, pattern: Option<&str>) -> Result<Vec<&Tensor<'_>>, Problem> {
        let Some(pattern) = pattern else { return Ok(self.tensors.iter().collect()) };
        let fits = |t: &&Tensor<'_>| glob::matches(pattern, &t.job.name);
        let found: Vec<&Tensor<'_>> = self.tensors.iter().filter(fits).collect();
        if found.is_empty() {
            let names = self.tensors.iter().map(|t| t.job.name.as_str());
            let problem = Problem::error("--tensor", format!("no output tensor is called `{pattern}`"));
            let problem = problem.did_you_mean(pattern, names);
            let first = self.tensors.first().map_or("", |t| t.job.name.as_str());
            return Err(match problem.hint {
                Some(_) => problem,
                None => problem.hint(format!("`*` stands for any characters; the first is {first}")),
            });
        }
        Ok(found)
    }
}

fn layers(count: usize) -> String {
    if count == 1 { "1 layer".into() } else { format!("{count} layers") }
}

fn several(names: &[&str]) -> String {
    match names.len().checked_sub(NAMED) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..NAMED].join(", ")),
        _ => names.join(", "),
    }
}
