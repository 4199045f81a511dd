//! Which coefficient each element of each difference has.

use std::collections::HashMap;
use std::ops::Range;

use super::given::given;
use super::groups::Groups;
use super::write::{entries, recipe};
use crate::arch::{Family, Role};
use crate::method::Factors;
use crate::plan::{Job, Plan, Source, Work};
use crate::problem::{Problem, Problems};

/// All coefficients of a merge, and what they are of.
#[derive(Debug)]
pub struct Space {
    /// How elements are grouped.
    pub groups: Groups,
    /// Labels of the models, by position among the plan's inputs.
    pub entries: Vec<String>,
    /// One for each of the plan's jobs that is a merge.
    pub tensors: Vec<TensorSpace>,
    /// What the coefficients are before the first step.
    pub(super) start: Vec<f64>,
    /// Of each coefficient that whole tensors share: the model, and which tensors (nothing for all).
    labels: Vec<(usize, String)>,
}

/// The coefficients of one tensor.
#[derive(Debug)]
pub struct TensorSpace {
    /// Position among the plan's jobs.
    pub job: usize,
    /// Runs of `columns` elements; a vector is one.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
    /// Of each of the job's models.
    pub parts: Vec<Part>,
}

/// The coefficients of one model in a tensor.
#[derive(Debug)]
pub struct Part {
    /// Position among the plan's inputs.
    pub input: usize,
    /// What the recipe gives: factors that stay as they are.
    given: Factors,
    /// Which coefficients rows have, times what is given.
    pub rows: Spread,
    /// Of each column, times what is given; none if columns have no coefficients.
    pub columns: Option<Range<usize>>,
}

/// Coefficients of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// One for all.
    Shared(usize),
    /// One for each.
    Each(Range<usize>),
}

impl Part {
    /// Factors of rows and of columns (none if all are one), for coefficients `x`.
    pub(super) fn factors(&self, tensor: &TensorSpace, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let given = self.given.of_rows(0, tensor.rows);
        let rows = match &self.rows {
            Spread::Shared(at) => given.iter().map(|w| f64::from(*w) * x[*at]).collect(),
            Spread::Each(range) => x[range.clone()].to_vec(),
        };
        let columns = match &self.columns {
            Some(range) => x[range.clone()].to_vec(),
            None => self.given.column_factors().iter().map(|w| f64::from(*w)).collect(),
        };
        (rows, columns)
    }

    /// From the gradients of [`Part::factors`] to those of the coefficients, which are added to `gradient`.
    pub(super) fn pull(&self, tensor: &TensorSpace, rows: &[f64], columns: &[f64], gradient: &mut [f64]) {
        match &self.rows {
            Spread::Shared(at) => {
                let given = self.given.of_rows(0, tensor.rows);
                gradient[*at] += given.iter().zip(rows).map(|(w, d)| f64::from(*w) * d).sum::<f64>();
            }
            Spread::Each(range) => gradient[range.clone()].iter_mut().zip(rows).for_each(|(g, d)| *g += d),
        }
        if let Some(range) = &self.columns {
            gradient[range.clone()].iter_mut().zip(columns).for_each(|(g, d)| *g += d);
        }
    }
}

impl Space {
    /// Of a merge that adds weighted differences to a base; coefficients begin with what its recipe says.
    ///
    /// # Errors
    /// If the merge is of another kind.
    pub fn new(plan: &Plan, groups: Groups) -> Result<Self, Problems> {
        if plan.method.name != "task_arithmetic" {
            let what = format!(
                "`{}` is not a sum of differences, whose coefficients could be learned",
                plan.method.name
            );
            let hint = "use `merge_method: task_arithmetic`; differences that are trimmed first can be stages of their own, \
                        documents with a `name` and `merge_method: ties` of one model";
            return Err(Problem::error("merge_method", what).hint(hint).into());
        }
        let config = plan.inputs[plan.donor].config();
        let family = Family::of(config.and_then(|c| c.get("model_type")?.as_str()));
        let mut maker = Maker {
            groups,
            family,
            shared: HashMap::new(),
            start: Vec::new(),
            labels: Vec::new(),
            moves: Vec::new(),
        };
        let (mut tensors, mut problems) = (Vec::new(), Problems::new());
        for (index, job) in plan.jobs.iter().enumerate() {
            if !matches!(job.work, Work::Merge(_)) || job.base.is_none() || job.elements() == 0 {
                continue;
            }
            let (rows, columns) = extent(job);
            match given(plan.method, job, rows) {
                Ok(given) => tensors.push(maker.tensor((index, job), (rows, columns), given)),
                Err(found) => problems.extend(found),
            }
        }
        if problems.has_errors() {
            return Err(problems);
        }
        if tensors.is_empty() {
            return Err(Problem::error("models", "no tensor is merged, so there is nothing to learn").into());
        }
        let space =
            Self { groups, entries: entries(plan), tensors, start: maker.start, labels: maker.labels };
        space.check(plan, &maker.moves)?;
        Ok(space)
    }

    /// Refuses what would only show when everything is learned: a model that is there twice, weights that no factor moves,
    /// a recipe that cannot be written with coefficients.
    fn check(&self, plan: &Plan, moves: &[bool]) -> Result<(), Problems> {
        let mut problems = Problems::new();
        let twice = |t: &TensorSpace| {
            let same = |(i, part): (usize, &Part)| t.parts[..i].iter().any(|other| other.input == part.input);
            t.parts.iter().enumerate().any(same)
        };
        if self.tensors.iter().any(twice) {
            let problem =
                Problem::error("models", "a model is listed twice, and would need two coefficients");
            problems.push(problem.hint("list it once"));
        }
        let names = self.names();
        let still: Vec<&str> =
            names.iter().zip(moves).filter(|(_, moves)| !**moves).map(|(name, _)| name.as_str()).collect();
        if let Some(first) = still.first() {
            let what = format!(
                "the weight of {first} is 0, from which a factor cannot lead away ({} such)",
                still.len()
            );
            problems.push(
                Problem::error("weight", what).hint("begin with another weight, or learn rows: --groups row"),
            );
        }
        if let Err(found) = recipe(plan, &self.entries, "coefficients.safetensors") {
            problems.extend(found);
        }
        if problems.has_errors() { Err(problems) } else { Ok(()) }
    }

    /// A name for each coefficient that whole tensors share, as `et/model.layers.0 attention`; rows have none.
    pub fn names(&self) -> Vec<String> {
        let name = |(input, group): &(usize, String)| match group.as_str() {
            "" => self.entries[*input].clone(),
            group => format!("{}/{group}", self.entries[*input]),
        };
        self.labels.iter().map(name).collect()
    }

    /// How many coefficients there are.
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }
}

/// Rows and columns of a tensor; a vector is one row.
fn extent(job: &Job) -> (usize, usize) {
    let columns = job.width();
    ((job.elements() / columns).max(1), columns)
}

struct Maker {
    groups: Groups,
    family: Family,
    /// By model and group.
    shared: HashMap<(usize, String), usize>,
    start: Vec<f64>,
    labels: Vec<(usize, String)>,
    /// Whether anything that a shared coefficient multiplies is not zero.
    moves: Vec<bool>,
}

impl Maker {
    fn tensor(
        &mut self,
        (index, job): (usize, &Job),
        (rows, columns): (usize, usize),
        given: Vec<Factors>,
    ) -> TensorSpace {
        let parts = job.models.iter().zip(given);
        let part =
            |(source, given): (&Source, Factors)| self.part(source.input, &job.name, (rows, columns), given);
        TensorSpace { job: index, rows, columns, parts: parts.map(part).collect() }
    }

    fn part(&mut self, input: usize, name: &str, (rows, columns): (usize, usize), given: Factors) -> Part {
        let each = |start: &mut Vec<f64>, values: &mut dyn Iterator<Item = f64>| {
            let first = start.len();
            start.extend(values);
            first..start.len()
        };
        match self.group(name) {
            Some(group) => {
                let (start, labels, moves) = (&mut self.start, &mut self.labels, &mut self.moves);
                let at = *self.shared.entry((input, group.clone())).or_insert_with(|| {
                    labels.push((input, group));
                    moves.push(false);
                    start.push(1.0);
                    start.len() - 1
                });
                moves[at] |= given.size() > 0.0;
                Part { input, given, rows: Spread::Shared(at), columns: None }
            }
            None => {
                let start = &mut self.start;
                let of_rows = each(start, &mut given.of_rows(0, rows).into_iter().map(f64::from));
                let learned = self.groups == Groups::RowColumn;
                let of_columns = learned.then(|| {
                    let given = given.column_factors();
                    each(start, &mut (0..columns).map(|c| given.get(c).map_or(1.0, |w| f64::from(*w))))
                });
                Part { input, given, rows: Spread::Each(of_rows), columns: of_columns }
            }
        }
    }

    /// The group that all of a tensor is in; none where its rows are apart.
    fn group(&self, name: &str) -> Option<String> {
        match self.groups {
            Groups::Model => Some(String::new()),
            Groups::Tensor => Some(name.to_owned()),
            Groups::Row | Groups::RowColumn => None,
            Groups::Layer => {
                let located = self.family.locate(name);
                let Some((prefix, layer, _)) = located.layer_name else { return Some(name.to_owned()) };
                let kind = match located.role {
                    Role::Query | Role::Key | Role::Value | Role::Qkv | Role::AttnOut => "attention",
                    Role::Gate | Role::Up | Role::GateUp | Role::Down | Role::Router => "mlp",
                    Role::Norm => "norms",
                    Role::Embed | Role::Head | Role::Other => return Some(name.to_owned()),
                };
                Some(format!("{prefix}{layer} {kind}"))
            }
        }
    }
}
