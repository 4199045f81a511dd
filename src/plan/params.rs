//! Parameters: which names a recipe may use, and the value of each for one tensor.

use std::collections::BTreeMap;

use super::segment::Segment;
use super::{Provenance, SetBy, weights};
use crate::method::{Arg, Args, Fallback, Kind, METHODS, Method, Param, Scope};
use crate::problem::{Problem, Problems};
use crate::recipe::{Assembly, Located, PARAMETERS, Profile, Recipe, Setting, Settings, Value, Weighting};

/// Checks every name and every written value, wherever in the recipe it stands.
pub(super) fn check(recipe: &Recipe, method: &Method, problems: &mut Problems) {
    let mut level = |settings: &Settings, of_model: bool| {
        for (name, setting) in settings.iter() {
            let Some(param) = method.param(name) else {
                problems.push(unknown(name, setting, method));
                continue;
            };
            if of_model && param.scope == Scope::Global {
                problems.push(
                    setting
                        .place
                        .warning(format!(
                            "`{name}` of method `{}` is not looked up for single models",
                            method.name
                        ))
                        .hint("put it under `parameters:` of the recipe or of the slice"),
                );
                continue;
            }
            for value in written(&setting.value) {
                if let Value::Weighting(words) = value {
                    problems.extend(weights::check(param, words, method));
                } else if let Err(what) = arg(param, value) {
                    problems.push(setting.place.problem(format!("`{name}` {what}")));
                }
            }
        }
    };
    level(&recipe.parameters, false);
    assembly(&recipe.assembly, &mut level);
}

/// Calls `level` with all parameters below, and whether they are those of one model.
pub(super) fn assembly(words: &Assembly, level: &mut dyn FnMut(&Settings, bool)) {
    match words {
        Assembly::Models(entries) => entries.iter().for_each(|e| level(&e.parameters, true)),
        Assembly::Slices(slices) => {
            for slice in slices {
                level(&slice.parameters, false);
                slice.sources.iter().for_each(|s| level(&s.parameters, true));
            }
        }
        Assembly::Modules(modules) => {
            for module in modules {
                level(&module.parameters, false);
                assembly(&module.assembly, level);
            }
        }
    }
}

/// Warns of lists over layers where no model is known to have layers, as mergekit-pytorch does not.
pub(super) fn warn_of_ramps(recipe: &Recipe, problems: &mut Problems) {
    let Assembly::Models(entries) = &recipe.assembly else { return };
    let levels = entries.iter().map(|e| &e.parameters).chain([&recipe.parameters]);
    for (name, setting) in levels.flat_map(Settings::iter) {
        let ramp = match &setting.value {
            Setting::Constant(_) => false,
            Setting::Ramp(list) => list.len() > 1,
            Setting::Rules(rules) => {
                rules.iter().any(|r| matches!(&r.value, Profile::Ramp(list) if list.len() > 1))
            }
        };
        if ramp {
            let what = format!("of a list over layers only the first value counts here: `{name}`");
            problems.push(setting.place.warning(what).hint(
                "nothing is known of a file without config.json but its tensors; name a folder with a config.json \
                 to spread values over its layers",
            ));
        }
    }
}

/// A slip is an error; a parameter that mergekit would quietly ignore is a warning.
fn unknown(name: &str, setting: &Located<Setting>, method: &Method) -> Problem {
    let what = format!("method `{}` has no parameter `{name}`", method.name);
    let known = method.params.iter().map(|p| p.name);
    let elsewhere = METHODS.iter().any(|m| m.param(name).is_some()) || PARAMETERS.contains(&name);
    let near = crate::problem::nearest(name, known.clone().chain(PARAMETERS.iter().copied()));
    if elsewhere || near.is_none() {
        return setting
            .place
            .warning(what)
            .hint(format!("it has no effect; known are: {}", known.collect::<Vec<_>>().join(", ")));
    }
    setting.place.problem(what).did_you_mean(name, known.chain(PARAMETERS.iter().copied()))
}

/// Every value that a setting spells out.
pub(super) fn written(setting: &Setting) -> Vec<&Value> {
    match setting {
        Setting::Constant(v) => vec![v],
        Setting::Ramp(list) => list.iter().collect(),
        Setting::Rules(rules) => rules
            .iter()
            .flat_map(|r| match &r.value {
                Profile::Constant(v) => vec![v],
                Profile::Ramp(list) => list.iter().collect(),
            })
            .collect(),
    }
}

/// A written value as the parameter understands it.
fn arg(param: &Param, value: &Value) -> Result<Arg, String> {
    match (param.kind, value) {
        // Said in words of its own: a file is opened, and is no argument.
        (Kind::File(_), Value::Word(_)) => Ok(Arg::Word("")),
        (Kind::Number | Kind::Weight | Kind::Amount, Value::Number(x)) if !(*x as f32).is_finite() => {
            Err(format!(
                "is {x:e}: beyond float32, in which merges are computed and which ends at {:e}",
                f32::MAX
            ))
        }
        (Kind::Number | Kind::Weight, Value::Number(x)) => Ok(Arg::Number(*x)),
        (Kind::Fraction, Value::Number(x)) if (0.0..=1.0).contains(x) => Ok(Arg::Number(*x)),
        (Kind::Amount, Value::Number(x)) if *x >= 0.0 => Ok(Arg::Number(*x)),
        // Beyond 2^32 there is no use for a count, and every such number is exact.
        (Kind::Count, Value::Number(x)) if x.fract() == 0.0 && (0.0..4.3e9).contains(x) => {
            Ok(Arg::Number(*x))
        }
        (Kind::Switch, Value::Number(x)) if *x == 0.0 || *x == 1.0 => Ok(Arg::Number(*x)),
        (Kind::Choice(words), Value::Number(x)) if *x == 0.0 || *x == 1.0 => {
            words.get(*x as usize).map(|w| Arg::Word(w)).ok_or_else(|| "has no words".into())
        }
        (Kind::Choice(words), Value::Word(word)) => match words.iter().find(|w| *w == word) {
            Some(word) => Ok(Arg::Word(word)),
            None => Err(format!("must be one of {}, not `{word}`", words.join(", "))),
        },
        (_, Value::Number(x)) => Err(format!("must be a {}, not {x}", param.kind_text())),
        (_, Value::Word(word)) => Err(format!("must be a {}, not `{word}`", param.kind_text())),
        (_, Value::Weighting(_)) => Err("must be a number".into()),
    }
}

/// A parameter that a tensor needs and nobody gave; for the report, how often.
#[derive(Debug, Default)]
pub(super) struct Missing(BTreeMap<(&'static str, String), (String, usize)>);

impl Missing {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, param: &Param, model: &str, tensor: &str) {
        let entry = self.0.entry((param.name, model.to_owned())).or_insert_with(|| (tensor.to_owned(), 0));
        entry.1 += 1;
    }

    /// One problem for each parameter and model.
    pub(super) fn report(self, recipe: &Recipe, problems: &mut Problems) {
        for ((param, model), (tensor, count)) in self.0 {
            let whom = if model.is_empty() { String::new() } else { format!(" for model {model}") };
            let more = match count {
                1 => format!("tensor {tensor}"),
                n => format!("tensor {tensor} and {} more", n - 1),
            };
            let is_base = recipe.base_model.as_ref().is_some_and(|b| b.value.to_string() == model);
            let hint = match (is_base, model.is_empty()) {
                (true, _) => {
                    "with this method `base_model` is one more input: give it the parameter under `models:`, \
                     set one for all under the top-level `parameters:`, or leave `base_model` out"
                }
                (_, true) => "set it under the top-level `parameters:`",
                _ => "set it under the model's `parameters:`, or for all under the top-level `parameters:`",
            };
            problems
                .push(recipe.method.place.problem(format!("`{param}` is missing{whom} ({more})")).hint(hint));
        }
    }
}

/// Where a tensor stands, for looking parameters up.
pub(super) struct Position<'a> {
    /// Depth in its slice, from 0 to 1.
    pub(super) t: f64,
    /// Name in the output.
    pub(super) tensor: &'a str,
}

/// Global parameters for one tensor: the slice's, the module's, the recipe's, the default.
pub(super) fn global(
    recipe: &Recipe,
    method: &'static Method,
    segment: &Segment<'_>,
    at: &Position<'_>,
    missing: &mut Missing,
) -> (Args, Provenance) {
    let levels = [
        (segment.parameters, slice as Written),
        (segment.module_parameters, module),
        (Some(&recipe.parameters), top),
    ];
    let missing = |param: &Param| missing.add(param, "", at.tensor);
    let resolved = resolve(method, Scope::Global, &levels, at.t, at.tensor, missing);
    (resolved.args, resolved.origins)
}

/// Parameters of one model: its own, the slice's, the module's, the recipe's, the default. Filters are held against
/// the name of the model's own tensor.
pub(super) fn per_model(
    recipe: &Recipe,
    method: &'static Method,
    segment: &Segment<'_>,
    source: usize,
    at: &Position<'_>,
    input: (&str, &str),
    missing: &mut Missing,
) -> Resolved {
    let (model, input_tensor) = input;
    let own = segment.sources.get(source).and_then(|s| s.parameters);
    let levels = [
        (own, entry as Written),
        (segment.parameters, slice),
        (segment.module_parameters, module),
        (Some(&recipe.parameters), top),
    ];
    resolve(method, Scope::Model, &levels, at.t, input_tensor, |param| missing.add(param, model, at.tensor))
}

/// Parameters of one tensor.
pub(super) struct Resolved {
    pub(super) args: Args,
    pub(super) origins: Provenance,
    /// A parameter that is still to be found where the recipe says.
    pub(super) weighting: Option<(&'static Param, Weighting)>,
}

/// The origin of what is written at a level, by its line.
type Written = fn(usize) -> SetBy;

fn entry(line: usize) -> SetBy {
    SetBy::Model { line }
}

fn slice(line: usize) -> SetBy {
    SetBy::Slice { line }
}

fn module(line: usize) -> SetBy {
    SetBy::Module { line }
}

fn top(line: usize) -> SetBy {
    SetBy::Recipe { line }
}

fn resolve(
    method: &'static Method,
    scope: Scope,
    levels: &[(Option<&Settings>, Written)],
    t: f64,
    tensor: &str,
    mut missing: impl FnMut(&Param),
) -> Resolved {
    let (mut args, mut origins, mut weighting) = (Args::default(), Provenance::new(), None);
    for param in method.params.iter().filter(|p| p.scope == scope && !matches!(p.kind, Kind::File(_))) {
        let found = levels.iter().find_map(|(settings, written)| {
            let setting = settings.as_ref()?.get(param.name)?;
            let line = setting.place.spot.as_ref().map_or(0, |spot| spot.line);
            Some((setting.value.at(t, tensor)?, written(line)))
        });
        let value = match (found, param.fallback) {
            (Some((Value::Weighting(words), origin)), _) if param.kind == Kind::Weight => {
                origins.insert(param.name, origin);
                weighting = Some((*param, *words));
                continue;
            }
            // Written values were checked; only what lies between two of a ramp can still be out of kind.
            (Some((value, origin)), _) => arg(param, &value).ok().map(|value| (value, origin)),
            (None, Fallback::Value(_) | Fallback::Absent) => default(param).map(|v| (v, SetBy::Default)),
            (None, Fallback::Required) => None,
        };
        match value {
            Some((value, origin)) => {
                args.set(param, value);
                origins.insert(param.name, origin);
            }
            None if param.fallback == Fallback::Absent => {}
            None => missing(param),
        }
    }
    Resolved { args, origins, weighting }
}

fn default(param: &Param) -> Option<Arg> {
    match param.fallback {
        Fallback::Value(v) => arg(param, &Value::Number(v)).ok(),
        _ => None,
    }
}
