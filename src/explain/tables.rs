//! The explanation as tables: a few lines for a recipe of constants, a row for each layer of a gradient.

use std::collections::{BTreeMap, BTreeSet};

use super::layers::{Group, Run, Tower};
use super::{Column, Explanation, Tensor, words};
use crate::arch::Family;
use crate::method::{Arg, Factors};
use crate::plan::SetBy;
use crate::report::Table;

/// Names that are written out before the rest is counted.
const NAMED: usize = 4;
/// A parameter that a model, or a layer, has no use for.
pub(super) const NONE: &str = "–";

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
            plan.models().count(),
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

    /// The only value of a column, or its least and greatest; those of factors by where they come from.
    fn spread(&self, column: Column) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut of_files: BTreeMap<&str, Factors> = BTreeMap::new();
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in self.values(column) {
            match &value.arg {
                Arg::Number(x) => (low, high) = (low.min(*x), high.max(*x)),
                Arg::Factors(factors) => {
                    let all = of_files.entry(factors.origin()).or_insert_with(|| factors.clone());
                    *all = all.spanning(factors);
                }
                word => words.extend(Some(self.show(column, word)).filter(|w| !words.contains(w))),
            }
        }
        let numbers = (low <= high).then(|| {
            let [low, high] = [low, high].map(|x| self.show(column, &Arg::Number(x)));
            if low == high { low } else { format!("{low} to {high}") }
        });
        let of_files = of_files.into_values().map(|all| self.show(column, &Arg::Factors(all)));
        numbers.into_iter().chain(words).chain(of_files).collect::<Vec<_>>().join(", ")
    }

    /// Where slices put layers together, what each is made of; for each parameter that varies a table of its
    /// own, layers down, models and roles across.
    fn layers(&self) -> Vec<(String, Table)> {
        let varying = self.varying();
        let mut tables = Vec::new();
        for tower in self.towers() {
            let of = self.of(&tower);
            let runs = tower.runs(&[]);
            if runs.iter().any(|r| r.slice.is_some()) {
                let row = |r: &Run| {
                    let [layers, depth] = lead(r);
                    vec![layers, depth, self.made_of(&r.made_of, r.last - r.first)]
                };
                let rows = runs.iter().map(row).collect();
                tables.push((format!("layers{of}"), Table::new(&[">layers", ">depth", "made of"], rows)));
            }
            for columns in varying.chunk_by(|a, b| a.param == b.param) {
                let groups: Vec<Group> = columns.iter().flat_map(|c| tower.groups(*c)).collect();
                if !groups.is_empty() {
                    let name = self.param(columns[0]).name;
                    tables.push((format!("{name} by layer{of}"), self.by_layer(&tower, &groups)));
                }
            }
        }
        tables
    }

    /// As in ` of vision.layers`, if there are several towers.
    pub(super) fn of(&self, tower: &Tower<'_>) -> String {
        match self.towers().len() {
            0 | 1 => String::new(),
            _ => format!(" of {}", tower.prefix.trim_end_matches('.')),
        }
    }

    fn by_layer(&self, tower: &Tower<'_>, groups: &[Group]) -> Table {
        let titles = groups.iter().map(|g| format!(">{}", self.group_title(g)));
        let header = [">layers".to_owned(), ">depth".to_owned()].into_iter().chain(titles).collect();
        let row = |run: &Run| {
            let cell = |(group, value): (&Group, &Option<Arg>)| {
                value.as_ref().map_or(NONE.to_owned(), |v| self.show(group.column, v))
            };
            lead(run).into_iter().chain(groups.iter().zip(&run.values).map(cell)).collect()
        };
        Table { rows: tower.runs(groups).iter().map(row).collect(), header }
    }

    /// As in `fo: mlp`; of a global parameter only which tensors.
    pub(super) fn group_title(&self, group: &Group) -> String {
        let whose = group.column.model.map(|m| self.models[m].clone());
        let which = (!group.label.is_empty()).then(|| group.label.clone());
        match (whose, which) {
            (None, None) => "all".into(),
            (whose, which) => whose.into_iter().chain(which).collect::<Vec<_>>().join(": "),
        }
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
            let cell = |c: &Column| tensor.values.get(c).map_or(NONE.to_owned(), |v| self.show(*c, &v.arg));
            row.extend(varying.iter().map(cell));
            row
        };
        let rows: Vec<(&str, Vec<String>)> = loose.iter().map(|t| (t.job.name.as_str(), cells(t))).collect();
        let row = |same: &[(&str, Vec<String>)]| {
            let names: Vec<&str> = same.iter().map(|(name, _)| *name).collect();
            std::iter::once(several(&names)).chain(same[0].1.iter().cloned()).collect()
        };
        let rows = rows.chunk_by(|a, b| a.1 == b.1).map(row).collect();
        Some(("outside the layers (depth 0)".to_owned(), Table { header, rows }))
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
            let layers: Option<BTreeSet<usize>> = tensors.iter().map(|t| layer_of(t)).collect();
            let which = match layers {
                Some(layers) => {
                    let plural = if layers.len() == 1 { "layer" } else { "layers" };
                    format!("{plural} {} ({} tensors)", words::ranges(&layers), tensors.len())
                }
                None => several(tensors),
            };
            vec![(*model).to_owned(), (*why).to_owned(), which]
        };
        let rows: Vec<Vec<String>> = by_reason.iter().map(row).collect();
        (!rows.is_empty()).then(|| ("left out".to_owned(), Table::new(&["model", "why", "tensors"], rows)))
    }
}

/// Numbers and depth of the layers of a run.
fn lead(run: &Run) -> [String; 2] {
    let depth = match run.depth {
        (a, b) if a == b => words::number(a),
        (a, b) => format!("{} to {}", words::number(a), words::number(b)),
    };
    [words::range(run.first, run.last), depth]
}

fn layer_of(tensor: &str) -> Option<usize> {
    Family::of(None).locate(tensor).layer_name.map(|(_, layer, _)| layer)
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
