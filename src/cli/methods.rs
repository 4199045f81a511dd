use growmerge::method::{Base, METHODS, Method, Scope};
use growmerge::problem::Problem;

use super::{Outcome, table::table};

/// List merge methods, or describe one
#[derive(clap::Args)]
pub(super) struct Args {
    /// Method to describe
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let chosen: Vec<&Method> = match &args.name {
        None => METHODS.to_vec(),
        Some(name) => match Method::named(name) {
            Some(method) => vec![method],
            None => {
                let problem = Problem::error("", format!("there is no method `{name}`"));
                let problem = problem.did_you_mean(name, METHODS.iter().map(|m| m.name));
                return Err(growmerge::problem::Error::from(problem).into());
            }
        },
    };
    if args.json {
        super::print_json(&chosen.iter().map(|m| json(m)).collect::<Vec<_>>())?;
    } else if args.name.is_some() {
        chosen.iter().try_for_each(|m| super::print(&describe(m)))?;
    } else {
        let rows: Vec<Vec<String>> = chosen.iter().map(|m| vec![m.name.into(), m.summary.into()]).collect();
        super::print(&table(&["method", "what it does"], &rows))?;
    }
    Ok(Outcome::Done)
}

fn base(method: &Method) -> &'static str {
    match method.base {
        Base::Joins => "optional; it is then one more input",
        Base::Optional => "optional; the models' differences from it are then merged",
        Base::First => "required; it is the first of the inputs",
        Base::Reference => "required; the models' differences from it are merged",
    }
}

fn inputs(method: &Method) -> String {
    match (*method.inputs.start(), *method.inputs.end()) {
        (low, high) if low == high => low.to_string(),
        (low, usize::MAX) => format!("{low} or more"),
        (low, high) => format!("{low} to {high}"),
    }
}

fn describe(method: &Method) -> String {
    let rows: Vec<Vec<String>> = method
        .params
        .iter()
        .map(|p| {
            let scope = match p.scope {
                Scope::Model => "each model",
                Scope::Global => "all",
            };
            vec![p.name.into(), scope.into(), p.kind_text(), p.default_text(), p.doc.into()]
        })
        .collect();
    format!(
        "{}: {}\n\n  source      {}\n  base_model  {}\n  inputs      {}\n\n{}",
        method.name,
        method.summary,
        method.paper,
        base(method),
        inputs(method),
        table(&["parameter", "for", "values", "default", "meaning"], &rows)
    )
}

fn json(method: &Method) -> serde_json::Value {
    let params: Vec<_> = method
        .params
        .iter()
        .map(|p| {
            serde_json::json!({
                "name": p.name,
                "per_model": p.scope == Scope::Model,
                "values": p.kind_text(),
                "default": p.default_text(),
                "doc": p.doc,
            })
        })
        .collect();
    serde_json::json!({
        "name": method.name,
        "summary": method.summary,
        "paper": method.paper,
        "base_model": base(method),
        "inputs": inputs(method),
        "parameters": params,
    })
}
