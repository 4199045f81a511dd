//! What a recipe says of every layer and tensor: the value of each parameter, who set it, and which layers
//! of which models a layer is made of. All of it is read off a [`Plan`]; no weight is looked at.

mod html;
mod json;
mod layers;
mod tables;
mod tensors;
mod words;

use std::collections::BTreeMap;

use crate::arch::{Family, Located, Position};
use crate::method::{Arg, Args, Param};
use crate::plan::{Input, Job, Plan, Provenance, SetBy, Source};

/// A plan explained.
#[derive(Debug)]
pub struct Explanation<'p> {
    plan: &'p Plan,
    /// The models' names as short as they can be told apart.
    models: Vec<String>,
    /// As they stand in the model: embeddings, layers in order, what comes after them.
    tensors: Vec<Tensor<'p>>,
}

/// A parameter, of one model or of all together: what stands across in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    /// Position among the method's parameters.
    param: usize,
    /// Position among the plan's inputs; `None` for a global parameter.
    model: Option<usize>,
}

/// A resolved value.
#[derive(Clone, Debug, PartialEq)]
struct Value {
    arg: Arg,
    origin: SetBy,
}

/// One output tensor.
#[derive(Debug)]
struct Tensor<'p> {
    job: &'p Job,
    located: Located,
    /// Empty where the only source is taken as it is.
    values: BTreeMap<Column, Value>,
    /// The inputs that it is made of, each with the layer that its tensor is in.
    made_of: BTreeMap<usize, Option<usize>>,
}

impl Tensor<'_> {
    fn layer(&self) -> Option<usize> {
        self.located.layer_name.as_ref().map(|(_, layer, _)| *layer)
    }
}

impl<'p> Explanation<'p> {
    /// Explains a plan.
    pub fn new(plan: &'p Plan) -> Self {
        let family = |input: &Input| {
            Family::of(input.config().and_then(|c| c.get("model_type")).and_then(|t| t.as_str()))
        };
        let families: Vec<Family> = plan.inputs.iter().map(family).collect();
        let tensor = |job: &'p Job| {
            let of_source = |source: Source| {
                let name = &source.info(&plan.inputs).name;
                let located = families[source.input].locate(name);
                (source.input, located.layer_name.map(|(_, layer, _)| layer))
            };
            Tensor {
                job,
                located: families[plan.donor].locate(&job.name),
                values: values(plan, job),
                made_of: job.models.iter().copied().chain(job.base).map(of_source).collect(),
            }
        };
        let mut tensors: Vec<Tensor<'p>> = plan.jobs.iter().map(tensor).collect();
        // Sorted by name already, and this keeps the order of what is equal.
        tensors.sort_by_cached_key(|t| match t.located.position {
            Position::Before => (0, String::new(), 0),
            Position::Layer(layer) => {
                let prefix = t.located.layer_name.as_ref().map_or("", |(prefix, ..)| prefix);
                (1, prefix.to_owned(), layer)
            }
            Position::After => (2, String::new(), 0),
        });
        let names: Vec<&str> = plan.inputs.iter().map(Input::name).collect();
        Self { plan, models: words::short(&names), tensors }
    }

    /// Explanations of the stages that are read, each before those that read it, by name.
    pub fn stages(&self) -> Vec<(&'p str, Explanation<'p>)> {
        let plan: &'p Plan = self.plan;
        plan.stages().into_iter().map(|s| (s.name.as_str(), Explanation::new(&s.plan))).collect()
    }

    /// Every column that some tensor has a value for, in the order of the method's parameters.
    fn columns(&self) -> Vec<Column> {
        let all: std::collections::BTreeSet<Column> =
            self.tensors.iter().flat_map(|t| t.values.keys().copied()).collect();
        all.into_iter().collect()
    }

    /// All values of a column.
    fn values(&self, column: Column) -> impl Iterator<Item = &Value> {
        self.tensors.iter().filter_map(move |t| t.values.get(&column))
    }

    /// Columns that have not the same value everywhere.
    fn varying(&self) -> Vec<Column> {
        let varies = |column: &Column| {
            let mut values = self.values(*column).map(|v| &v.arg);
            values.next().is_some_and(|first| values.any(|v| v != first))
        };
        self.columns().into_iter().filter(varies).collect()
    }

    fn param(&self, column: Column) -> &'static Param {
        self.plan.method.params[column.param]
    }

    fn show(&self, column: Column, value: &Arg) -> String {
        words::value(self.param(column), value)
    }

    /// As in `weight of fo`, or `t`.
    fn title(&self, column: Column) -> String {
        let name = self.param(column).name;
        column.model.map_or_else(|| name.to_owned(), |m| format!("{name} of {}", self.models[m]))
    }
}

fn values(plan: &Plan, job: &Job) -> BTreeMap<Column, Value> {
    let mut all = BTreeMap::new();
    if job.is_as_it_is() {
        return all;
    }
    let mut add = |model: Option<usize>, args: &Args, origins: &Provenance| {
        for (param, declared) in plan.method.params.iter().enumerate() {
            if let (Some(arg), Some(origin)) = (args.get(declared), origins.get(declared.name)) {
                all.insert(Column { param, model }, Value { arg: arg.clone(), origin: *origin });
            }
        }
    };
    add(None, &job.global, &job.lookup.global);
    for ((source, args), origins) in job.models.iter().zip(&job.per_model).zip(&job.lookup.models) {
        add(Some(source.input), args, origins);
    }
    all
}
