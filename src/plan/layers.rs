//! Modules and layers of the inputs, read off their tensors' names.

use super::Input;
use super::segment::{Scope, family};
use crate::arch::{Family, Module, Modules};
use crate::problem::{Problem, Problems};
use crate::recipe::{ModuleEntry, Place};

/// How the model that gives the config is built; the others are read as it is.
#[derive(Debug)]
pub(super) struct Anatomy {
    /// As the recipe names it.
    pub(super) model: String,
    pub(super) family: Family,
    pub(super) modules: Modules,
    /// All of it as one module.
    pub(super) whole: Module,
}

impl Anatomy {
    pub(super) fn of(input: &Input) -> Self {
        let family = family(input);
        let names = input.tensors().iter().map(|t| t.name.as_str());
        let modules = Modules::of(&family, names.clone());
        let whole = Modules::whole(&family, names);
        Self { model: input.name().into(), family, modules, whole }
    }

    /// The recipe's modules against those that there are: each must be in it, and once.
    pub(super) fn compare(&self, entries: &[ModuleEntry], problems: &mut Problems) {
        let known = quoted(self.modules.iter().map(|m| &m.name));
        let mut found: Vec<&str> = Vec::new();
        for ModuleEntry { name, .. } in entries {
            let Some(module) = self.modules.named(&name.value) else {
                let what = format!("{} has no module `{}`", self.model, name.value);
                let names = self.modules.iter().map(|m| m.name.as_str());
                let problem = name.place.problem(what).did_you_mean(&name.value, names);
                let hint = problem.hint.is_none().then(|| format!("its modules are {known}"));
                problems.push(match hint {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                });
                continue;
            };
            if found.contains(&module.name.as_str()) {
                problems.push(name.place.problem(format!("module `{}` is given twice", module.name)));
            }
            found.push(&module.name);
        }
        // A name that is wrong is one that is missing.
        let all_known = entries.iter().all(|e| self.modules.named(&e.name.value).is_some());
        let absent =
            self.modules.iter().map(|m| &m.name).filter(|m| all_known && !found.contains(&m.as_str()));
        for module in absent {
            problems.push(
                Problem::error("modules", format!("module `{module}` of {} is missing", self.model)).hint(format!(
                    "its tensors would be missing in the output; to take it as it is, add `{module}: {{models: \
                     [{{model: {}}}]}}`",
                    self.model
                )),
            );
        }
    }

    /// Slices at the top put one run of layers together; what there is to say if the model has several.
    pub(super) fn several_towers(&self, place: &Place) -> Option<Problem> {
        let towers: Vec<&Module> = self.modules.iter().filter(|m| m.tower.is_some()).collect();
        if towers.len() < 2 {
            return None;
        }
        let names = quoted(towers.iter().map(|m| &m.name));
        let what =
            format!("{} has layers in several modules ({names}), so `slices` is not clear", self.model);
        let all = quoted(self.modules.iter().map(|m| &m.name));
        Some(place.problem(what).hint(format!("give each of its modules its own under `modules:`: {all}")))
    }
}

/// As in `` `encoder`, `decoder` ``.
fn quoted(names: impl Iterator<Item = impl AsRef<str>>) -> String {
    names.map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Layers of an input below a tower's prefix, or below another name of it.
pub(super) fn layers_of(input: &Input, family: &Family, tower: &str) -> usize {
    let count = |layer_of: &dyn Fn(&str) -> Option<usize>| {
        input.tensors().iter().filter_map(|t| layer_of(&t.name)).max().map_or(0, |last| last + 1)
    };
    let layer = |name: &str| family.locate(name).layer_name.filter(|l| l.0 == tower).map(|l| l.1);
    match count(&layer) {
        0 => count(&|name| family.aliases(name).iter().find_map(|alias| layer(alias))),
        layers => layers,
    }
}

/// Whole models are merged layer by layer, so each tower must be as long in all of them.
pub(super) fn same_layer_count(
    inputs: &[&Input],
    anatomy: &Anatomy,
    scope: Scope,
    module: &Module,
    problems: &mut Problems,
) {
    let modules: Vec<&Module> = match scope {
        Scope::Whole => anatomy.modules.iter().filter(|m| m.tower.is_some()).collect(),
        Scope::Module => vec![module],
    };
    for tower in modules.iter().filter_map(|m| m.tower.as_ref()) {
        let count = |input: &&Input| layers_of(input, &anatomy.family, &tower.prefix);
        let counts: Vec<(&str, usize)> = inputs.iter().map(|input| (input.name(), count(input))).collect();
        if counts.iter().all(|c| c.1 == counts[0].1) {
            continue;
        }
        let list: Vec<String> = counts.iter().map(|(name, n)| format!("{name} has {n}")).collect();
        let whose = if modules.len() > 1 { format!(" `{}`", tower.prefix) } else { String::new() };
        problems.push(
            Problem::error(
                "models",
                format!("the models differ in their number of layers{whose}: {}", list.join(", ")),
            )
            .hint("to merge parts of them, say which layers with `slices` and `layer_range`"),
        );
    }
}
