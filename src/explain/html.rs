//! The explanation as one page: gradients drawn over the depth of the model, then the tables.

use super::{Column, Explanation, layers::Tower};
use crate::method::Arg;
use crate::report::svg::{Line, lines};
use crate::report::{Part, Table, page};

/// A point of a line: layer, value, no standard error.
type Point = (f64, f64, Option<f64>);

impl Explanation<'_> {
    /// A page called `title`, with nothing loaded from elsewhere.
    pub fn html(&self, title: &str) -> String {
        let mut parts = Vec::new();
        for (name, stage) in self.stages() {
            parts.push(Part::Heading(format!("stage {name}")));
            parts.extend(stage.parts());
        }
        if !parts.is_empty() {
            parts.push(Part::Heading("result".into()));
        }
        parts.extend(self.parts());
        parts.push(Part::Folded("the recipe".into(), vec![Part::Table(self.recipe())]));
        parts.push(Part::Text(format!("growmerge {}", env!("CARGO_PKG_VERSION"))));
        page(title, &parts)
    }

    fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::Text(self.summary())];
        let towers = self.towers();
        for tower in &towers {
            let of = self.of(tower);
            for param in self.drawn() {
                let picture = lines(&self.curves(tower, param), "layer", self.plan.method.params[param].name);
                parts.push(Part::Heading(format!("{} by layer{of}", self.plan.method.params[param].name)));
                parts.push(Part::Picture(picture));
            }
            let origins = self.origins(tower);
            if !origins.is_empty() {
                parts.push(Part::Heading(format!("Where layers{of} come from")));
                parts.push(Part::Picture(lines(&origins, "output layer", "layer of the model")));
            }
        }
        for (heading, table) in self.tables() {
            parts.push(Part::Heading(heading));
            parts.push(Part::Table(table));
        }
        parts
    }

    /// Parameters of which something varies.
    fn drawn(&self) -> Vec<usize> {
        let mut params: Vec<usize> = self.varying().into_iter().map(|c| c.param).collect();
        params.dedup();
        params
    }

    /// The curves of a parameter, those of models in which it is constant among them.
    fn curves(&self, tower: &Tower<'_>, param: usize) -> Vec<Line> {
        let columns: Vec<Column> = self.columns().into_iter().filter(|c| c.param == param).collect();
        let groups: Vec<_> = columns.iter().flat_map(|c| tower.groups(*c)).collect();
        let runs = tower.runs(&groups);
        let mut curves = Vec::new();
        for (i, group) in groups.iter().enumerate() {
            let mut points: Vec<Point> = Vec::new();
            let mut slice = None;
            for run in &runs {
                // The next slice begins a gradient of its own.
                if slice.replace(run.slice).is_some_and(|before| before != run.slice) {
                    points.push((run.first as f64 - 0.5, f64::NAN, None));
                }
                let value = match &run.values[i] {
                    Some(Arg::Number(x)) => *x,
                    _ => f64::NAN,
                };
                points.extend((run.first..=run.last).map(|layer| (layer as f64, value, None)));
            }
            curves.push(Line { name: self.group_title(group), points });
        }
        curves
    }

    /// For each model its layers over those of the output, where slices put them together.
    fn origins(&self, tower: &Tower<'_>) -> Vec<Line> {
        let runs = tower.runs(&[]);
        if runs.iter().all(|r| r.slice.is_none()) {
            return Vec::new();
        }
        let curve = |(model, name): (usize, &String)| {
            let mut points: Vec<Point> = Vec::new();
            for run in &runs {
                points.push((run.first as f64 - 0.5, f64::NAN, None));
                if let Some(Some(layer)) = run.made_of.get(&model) {
                    let along = |i: usize| ((run.first + i) as f64, (layer + i) as f64, None);
                    points.extend((0..=run.last - run.first).map(along));
                }
            }
            Line { name: name.clone(), points }
        };
        let drawn = |line: &Line| line.points.iter().any(|p| p.1.is_finite());
        self.models.iter().enumerate().map(curve).filter(drawn).collect()
    }

    /// The recipe with its lines counted, since the tables speak of lines.
    fn recipe(&self) -> Table {
        let row = |(i, text): (usize, &str)| {
            let indent = text.len() - text.trim_start_matches(' ').len();
            // HTML would drop the spaces that YAML begins lines with.
            vec![(i + 1).to_string(), "\u{a0}".repeat(indent) + text.trim_start_matches(' ')]
        };
        let rows = self.plan.recipe.1.lines().enumerate().map(row).collect();
        Table::new(&[">line", "recipe"], rows)
    }
}
