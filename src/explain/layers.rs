//! Layers from top to bottom: which tensors of a layer share their values, and which layers look alike.

use std::collections::{BTreeMap, BTreeSet};

use super::{Column, Explanation, Tensor};
use crate::arch::Role;
use crate::method::Arg;

/// Tensors of a layer that have the same value of a column in every layer.
pub(super) struct Group {
    pub(super) column: Column,
    /// Which tensors; nothing if it is all of them.
    pub(super) label: String,
    /// The value by layer.
    pub(super) values: BTreeMap<usize, Arg>,
}

/// Layers in a row that differ in nothing but their numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) first: usize,
    pub(super) last: usize,
    /// Depth of the first and the last.
    pub(super) depth: (f64, f64),
    pub(super) slice: Option<usize>,
    /// For each model the layer that the first is made of.
    pub(super) made_of: BTreeMap<usize, Option<usize>>,
    /// Of each group.
    pub(super) values: Vec<Option<Arg>>,
}

/// The layers of one prefix; most models have one, models that see or hear have several.
pub(super) struct Tower<'a> {
    pub(super) prefix: String,
    layers: BTreeMap<usize, Vec<&'a Tensor<'a>>>,
}

impl<'p> Explanation<'p> {
    pub(super) fn towers(&self) -> Vec<Tower<'_>> {
        let mut towers: Vec<Tower<'_>> = Vec::new();
        for tensor in &self.tensors {
            let Some((prefix, layer, _)) = &tensor.located.layer_name else { continue };
            if towers.last().is_none_or(|t| t.prefix != *prefix) {
                towers.push(Tower { prefix: prefix.clone(), layers: BTreeMap::new() });
            }
            if let Some(tower) = towers.last_mut() {
                tower.layers.entry(*layer).or_default().push(tensor);
            }
        }
        towers
    }
}

impl Tower<'_> {
    pub(super) fn count(&self) -> usize {
        self.layers.len()
    }

    /// The tensors of a column, put together where no layer tells them apart.
    pub(super) fn groups(&self, column: Column) -> Vec<Group> {
        let mut by_suffix: BTreeMap<&str, (Role, BTreeMap<usize, Arg>)> = BTreeMap::new();
        for (layer, tensor) in self.layers.iter().flat_map(|(l, all)| all.iter().map(move |t| (l, t))) {
            if let (Some((.., suffix)), Some(value)) =
                (&tensor.located.layer_name, tensor.values.get(&column))
            {
                let of = by_suffix.entry(suffix).or_insert_with(|| (tensor.located.role, BTreeMap::new()));
                of.1.insert(*layer, value.arg.clone());
            }
        }
        let mut groups: Vec<(Vec<&str>, BTreeMap<usize, Arg>)> = Vec::new();
        for (suffix, (_, values)) in &by_suffix {
            let agrees = |group: &&mut (Vec<&str>, BTreeMap<usize, Arg>)| {
                values.iter().all(|(layer, value)| group.1.get(layer).is_none_or(|other| other == value))
            };
            match groups.iter_mut().find(agrees) {
                Some(group) => {
                    group.0.push(suffix);
                    group.1.extend(values.iter().map(|(l, v)| (*l, v.clone())));
                }
                None => groups.push((vec![suffix], values.clone())),
            }
        }
        let roles: Vec<(&str, Role)> = by_suffix.iter().map(|(suffix, (role, _))| (*suffix, *role)).collect();
        let most = groups.iter().map(|g| g.0.len()).max().unwrap_or(0);
        let alone = groups.len() < 2;
        let named = |(suffixes, values): (Vec<&str>, _)| {
            let names = label(&suffixes, &roles);
            // Of the largest, the others' names say which tensors it has.
            let rest = suffixes.len() == most && names.len() > NAMED;
            let label = if alone { String::new() } else { names.join("+") };
            (rest, first_role(&suffixes, &roles), Group { column, label, values })
        };
        let mut groups: Vec<_> = groups.into_iter().map(named).collect();
        groups.sort_by_key(|(rest, role, _)| (*rest, *role));
        if let Some((true, _, last)) = groups.last_mut()
            && !alone
        {
            last.label = "rest".into();
        }
        groups.into_iter().map(|(.., group)| group).collect()
    }

    /// Layers with the values of some groups, alike ones put together.
    pub(super) fn runs(&self, groups: &[Group]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (layer, tensors) in &self.layers {
            let lookup = tensors.first().map(|t| &t.job.lookup);
            let depth = lookup.map_or(0.0, |l| l.t);
            let here = Run {
                first: *layer,
                last: *layer,
                depth: (depth, depth),
                slice: lookup.and_then(|l| l.slice),
                made_of: tensors.iter().flat_map(|t| t.made_of.iter().map(|(m, l)| (*m, *l))).collect(),
                values: groups.iter().map(|g| g.values.get(layer).cloned()).collect(),
            };
            match runs.last_mut() {
                Some(run) if run.goes_on_with(&here) => (run.last, run.depth.1) = (here.last, here.depth.1),
                _ => runs.push(here),
            }
        }
        runs
    }
}

impl Run {
    fn goes_on_with(&self, next: &Self) -> bool {
        let further = self.last + 1 - self.first;
        let moved = |(model, layer): (&usize, &Option<usize>)| (*model, layer.map(|l| l + further));
        self.last + 1 == next.first
            && (self.slice, &self.values) == (next.slice, &next.values)
            && self.made_of.iter().map(moved).eq(next.made_of.iter().map(|(m, l)| (*m, *l)))
    }
}

/// Names that a group may have before it is the rest.
const NAMED: usize = 3;
/// Roles that have one name together.
const PARTS: [(&str, &[Role]); 2] = [
    ("attention", &[Role::Query, Role::Key, Role::Value, Role::AttnOut]),
    ("mlp", &[Role::Gate, Role::Up, Role::Down]),
];

/// Names of roles if the tensors are all of their roles, else names of tensors.
fn label(suffixes: &[&str], roles: &[(&str, Role)]) -> Vec<String> {
    let mine: BTreeSet<Role> =
        roles.iter().filter(|(s, _)| suffixes.contains(s)).map(|(_, role)| *role).collect();
    let whole = roles.iter().all(|(s, role)| !mine.contains(role) || suffixes.contains(s));
    if !whole {
        let bare = |s: &&str| s.trim_start_matches('.').trim_end_matches(".weight").to_owned();
        return suffixes.iter().map(bare).collect();
    }
    let present: BTreeSet<Role> = roles.iter().map(|(_, role)| *role).collect();
    let mut rest = mine;
    let mut names: Vec<String> = Vec::new();
    for (name, of) in PARTS {
        let of: BTreeSet<Role> = of.iter().copied().filter(|r| present.contains(r)).collect();
        if of.len() > 1 && of.is_subset(&rest) {
            names.push(name.to_owned());
            rest.retain(|role| !of.contains(role));
        }
    }
    names.extend(rest.into_iter().map(role));
    names
}

/// Attention and mlp in front of norms.
fn first_role(suffixes: &[&str], roles: &[(&str, Role)]) -> Option<(bool, Role)> {
    let mine = roles.iter().filter(|(s, _)| suffixes.contains(s));
    mine.map(|(_, role)| (*role == Role::Norm, *role)).min()
}

/// As in JSON.
pub(super) fn role(role: Role) -> String {
    serde_json::to_value(role).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
