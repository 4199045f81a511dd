//! Modules: the parts of a model that have layers of their own, as an encoder and a decoder.
//!
//! An architecture's file names them, mostly as mergekit does. Without a file they are read off the names: towers
//! are what stands before a layer's number, and a module is what a tower's name begins with that no other's does.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Family;

/// What a file says of a module.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModuleWords {
    name: String,
    /// Beginnings of its tensors' names; of all modules' the longest decides.
    prefixes: Vec<String>,
    /// Where `config.json` has the number of its layers, as in `text_config.num_hidden_layers`.
    #[serde(default)]
    layers: Vec<String>,
}

/// Layers that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tower {
    /// What stands before the number: `model.layers.`
    pub prefix: String,
    /// How many.
    pub layers: usize,
}

/// A part of a model that may be assembled by itself.
#[derive(Clone, Debug)]
pub struct Module {
    /// As a recipe names it.
    pub name: String,
    /// Its layers. If there are several runs of them, the longest: the others are taken as they are.
    pub tower: Option<Tower>,
    /// Where `config.json` has the number of its layers, if the architecture is known.
    pub layer_keys: Vec<String>,
    prefixes: Vec<String>,
}

impl Module {
    /// One with every tensor of a model of which nothing is known.
    pub fn everything() -> Self {
        Self::unknown(REST, "")
    }

    /// One that no file describes.
    fn unknown(name: &str, prefix: &str) -> Self {
        Self { name: name.into(), tower: None, layer_keys: Vec::new(), prefixes: vec![prefix.into()] }
    }
}

/// What takes everything that is in no other module.
const REST: &str = "default";

/// The modules of a model; every tensor is in one.
#[derive(Clone, Debug)]
pub struct Modules(Vec<Module>);

impl Modules {
    /// Those that a model with these tensors has.
    pub fn of<'a>(family: &Family, names: impl Iterator<Item = &'a str> + Clone) -> Self {
        let known = family.module_words().iter().map(|words| Module {
            name: words.name.clone(),
            tower: None,
            layer_keys: words.layers.clone(),
            prefixes: words.prefixes.clone(),
        });
        let mut modules: Vec<Module> = known.collect();
        let towers = towers(family, names.clone());
        let foreign = towers.keys().map(String::as_str).filter(|prefix| find(&modules, prefix).is_none());
        let foreign = inferred(&foreign.collect::<Vec<_>>());
        modules.extend(foreign);
        modules.push(Module::everything());
        let mut filled = vec![false; modules.len()];
        for name in names {
            if let Some(at) = find(&modules, name) {
                filled[at] = true;
            }
        }
        for (prefix, layers) in towers {
            let Some(at) = find(&modules, &prefix) else { continue };
            let tower = &mut modules[at].tower;
            if tower.as_ref().is_none_or(|t| t.layers < layers) {
                *tower = Some(Tower { prefix, layers });
            }
        }
        let mut kept = filled.into_iter();
        modules.retain(|_| kept.next() == Some(true));
        Self(modules)
    }

    /// One module that has every tensor.
    pub fn whole<'a>(family: &Family, names: impl Iterator<Item = &'a str>) -> Module {
        let longest = towers(family, names).into_iter().rev().max_by_key(|(_, layers)| *layers);
        let tower = longest.map(|(prefix, layers)| Tower { prefix, layers });
        Module { tower, ..Module::everything() }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Module> {
        self.0.iter()
    }

    /// The one that a tensor is in.
    pub fn holding(&self, tensor: &str) -> Option<&Module> {
        find(&self.0, tensor).map(|at| &self.0[at])
    }

    /// The one with a name; `model.encoder.layers`, as mergekit names modules of architectures that it does not
    /// know, will do as well.
    pub fn named(&self, name: &str) -> Option<&Module> {
        let by_tower =
            |m: &&Module| m.tower.as_ref().is_some_and(|t| t.prefix.strip_suffix('.') == Some(name));
        self.iter().find(|m| m.name == name).or_else(|| self.iter().find(by_tower))
    }
}

/// The module whose prefix is the longest that a name begins with.
fn find(modules: &[Module], name: &str) -> Option<usize> {
    let fit = |m: &Module| {
        m.prefixes.iter().filter(|p| name.starts_with(p.as_str())).map(|p| p.len() + 1).max().unwrap_or(0)
    };
    let best = modules.iter().enumerate().max_by_key(|(_, m)| fit(m))?;
    (fit(best.1) > 0).then_some(best.0)
}

/// Runs of layers by what stands before their numbers.
pub fn towers<'a>(family: &Family, names: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (prefix, layer, _) in names.filter_map(|name| family.locate(name).layer_name) {
        let count = counts.entry(prefix).or_default();
        *count = (*count).max(layer + 1);
    }
    counts
}

/// Modules of an architecture without a file: what tells its towers apart.
fn inferred(towers: &[&str]) -> Vec<Module> {
    if towers.len() < 2 {
        return Vec::new();
    }
    let split: Vec<Vec<&str>> = towers.iter().map(|prefix| prefix.split_terminator('.').collect()).collect();
    let alike = |i: &usize| split.iter().all(|s| s.get(*i).is_some() && s.get(*i) == split[0].get(*i));
    let shared = (0..).take_while(alike).count();
    let mut modules: Vec<Module> = Vec::new();
    for words in split.iter().filter(|words| words.len() > shared) {
        let (name, prefix) = (words[shared], format!("{}.", words[..=shared].join(".")));
        if modules.iter().all(|m| m.name != name) {
            modules.push(Module::unknown(name, &prefix));
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(model_type: &str, names: &[&str]) -> Vec<(String, Option<(String, usize)>)> {
        let modules = Modules::of(&Family::of(Some(model_type)), names.iter().copied());
        modules.iter().map(|m| (m.name.clone(), m.tower.clone().map(|t| (t.prefix, t.layers)))).collect()
    }

    #[test]
    fn a_file_names_modules_and_the_longest_prefix_decides() {
        let names = [
            "model.layers.2.mlp.up.weight",
            "visual.blocks.1.attn.w",
            "visual.merger.mlp.2.weight",
            "odd.weight",
        ];
        let found = modules("qwen2_vl", &names);
        let tower = |prefix: &str, n| Some((prefix.to_owned(), n));
        assert_eq!(found[0], ("text_decoder".into(), tower("model.layers.", 3)));
        assert_eq!(found[1], ("vision_tower".into(), tower("visual.blocks.", 2)));
        assert_eq!(found[2], ("multi_modal_projector".into(), None), "a numbered linear layer is no tower");
        assert_eq!(found[3], ("default".into(), None), "nothing is in no module");
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn towers_of_a_stranger_are_told_apart_by_their_names() {
        let found = modules("x", &["m.left.b.0.w.w", "m.left.in.weight", "m.right.b.1.w.w", "head.weight"]);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["left", "right", "default"]);
        assert_eq!(found[1].1, Some(("m.right.b.".into(), 2)));
        let one = modules("x", &["m.layers.0.w.w", "m.layers.1.w.w", "head.weight"]);
        assert_eq!(one, [("default".into(), Some(("m.layers.".into(), 2)))]);
        // A text model under the name of a model with eyes.
        assert_eq!(modules("t5", &["x.layers.0.w.w"]), [("default".into(), Some(("x.layers.".into(), 1)))]);
    }
}
