//! Located YAML → [`Recipe`]: kinds, coercions, and no key ignored in silence.

use std::collections::BTreeSet;
use std::path::Path;

use super::keys::{self, Level, Status};
use super::node::{self, Node, Yaml};
use super::{
    Assembly, DTypeName, InputSlice, Located, ModelEntry, ModelRef, NonFinite, OutputSlice, Place, Profile,
    Recipe, Rule, Setting, Settings, Value,
};
use crate::problem::{Problem, Problems, nearest};

pub(super) fn recipe(file: &str, text: &str) -> Result<Recipe, Problems> {
    let root = node::parse(file, text)?;
    let mut reader = Reader { file, text, problems: Problems::new() };
    let recipe = reader.recipe(&root);
    match recipe {
        Some(mut recipe) if !reader.problems.has_errors() => {
            recipe.warnings = reader.problems;
            Ok(recipe)
        }
        _ => Err(reader.problems),
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    problems: Problems,
}

/// The entries of a mapping by key; every key was checked against the list.
struct Entries<'n>(Vec<(&'n str, &'n Node)>);

impl<'n> Entries<'n> {
    fn get(&self, key: &str) -> Option<&'n Node> {
        self.0.iter().find(|(k, _)| *k == key).map(|(_, n)| *n)
    }

    /// The same, but `key: null` counts as not given.
    fn given(&self, key: &str) -> Option<&'n Node> {
        self.get(key).filter(|n| !matches!(n.yaml, Yaml::Null))
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Reader<'_> {
    fn place(&self, path: &str, node: &Node) -> Place {
        Place { path: path.to_owned(), spot: node::spot(self.file, self.text, node.line, node.column) }
    }

    fn error(&mut self, path: &str, node: &Node, what: impl Into<String>) {
        let problem = self.place(path, node).problem(what);
        self.problems.push(problem);
    }

    fn hinted(&mut self, path: &str, node: &Node, what: impl Into<String>, hint: impl Into<String>) {
        let problem = self.place(path, node).problem(what).hint(hint);
        self.problems.push(problem);
    }

    fn recipe(&mut self, root: &Node) -> Option<Recipe> {
        let entries = self.mapping(root, "", Level::Recipe)?;
        let method = match entries.given("merge_method") {
            Some(node) => self.text_of(node, "merge_method"),
            None => {
                self.problems.push(
                    Problem::error("merge_method", "is missing")
                        .hint("add `merge_method: linear`, for example"),
                );
                None
            }
        };
        let base_model = entries.given("base_model").and_then(|n| self.model(n, "base_model"));
        let parameters = self.settings(entries.given("parameters"), "parameters");
        let dtype = entries.given("dtype").and_then(|n| self.dtype(n, "dtype"));
        let out_dtype = entries.given("out_dtype").and_then(|n| self.dtype(n, "out_dtype"));
        let name = entries.given("name").and_then(|n| self.text_of(n, "name")).map(|n| n.value);
        let non_finite = entries.given("non_finite").map_or(NonFinite::Refuse, |n| self.non_finite(n));
        let assembly = self.assembly(&entries);
        Some(Recipe {
            file: self.file.into(),
            text: self.text.into(),
            method: method?,
            base_model,
            assembly: assembly?,
            parameters,
            dtype,
            out_dtype,
            non_finite,
            name,
            warnings: Problems::new(),
        })
    }

    fn assembly(&mut self, entries: &Entries<'_>) -> Option<Assembly> {
        if entries.given("modules").is_some() {
            return None; // refused by name already
        }
        match (entries.given("models"), entries.given("slices")) {
            (Some(models), Some(_)) => {
                self.hinted(
                    "models",
                    models,
                    "`models` and `slices` exclude each other",
                    "whole models: `models`; layers put together: `slices`",
                );
                None
            }
            (None, None) => {
                self.problems.push(Problem::error("models", "neither `models` nor `slices` is given"));
                None
            }
            (Some(node), None) => {
                let mut seen = BTreeSet::new();
                let list = self.list(node, "models")?;
                let entries = list.into_iter().filter_map(|(n, path)| self.model_entry(n, &path, &mut seen));
                Some(Assembly::Models(entries.collect()))
            }
            (None, Some(node)) => {
                let list = self.list(node, "slices")?;
                Some(Assembly::Slices(
                    list.into_iter().filter_map(|(n, path)| self.slice(n, &path)).collect(),
                ))
            }
        }
    }

    fn model_entry(&mut self, node: &Node, path: &str, seen: &mut BTreeSet<ModelRef>) -> Option<ModelEntry> {
        let entries = self.mapping(node, path, Level::Model)?;
        let parameters = self.settings(entries.given("parameters"), &join(path, "parameters"));
        let model = self.required_model(&entries, node, path)?;
        self.once(&model, seen);
        Some(ModelEntry { model, parameters })
    }

    fn slice(&mut self, node: &Node, path: &str) -> Option<OutputSlice> {
        let entries = self.mapping(node, path, Level::Slice)?;
        let parameters = self.settings(entries.given("parameters"), &join(path, "parameters"));
        let base_model = entries.given("base_model").and_then(|n| self.model(n, &join(path, "base_model")));
        let Some(list) = entries.given("sources") else {
            self.error(path, node, "`sources` is missing");
            return None;
        };
        let mut seen = BTreeSet::new();
        let list = self.list(list, &join(path, "sources"))?;
        let sources: Vec<InputSlice> =
            list.into_iter().filter_map(|(n, path)| self.source(n, &path, &mut seen)).collect();
        if let Some(first) = sources.first()
            && sources.iter().any(|s| s.layers.len() != first.layers.len())
        {
            let spans: Vec<String> =
                sources.iter().map(|s| format!("{} has {}", s.model.value, s.layers.len())).collect();
            let what =
                format!("all sources of a slice must span the same number of layers: {}", spans.join(", "));
            self.error(path, node, what);
        }
        Some(OutputSlice { sources, base_model, parameters, place: self.place(path, node) })
    }

    fn source(&mut self, node: &Node, path: &str, seen: &mut BTreeSet<ModelRef>) -> Option<InputSlice> {
        let entries = self.mapping(node, path, Level::Source)?;
        let parameters = self.settings(entries.given("parameters"), &join(path, "parameters"));
        let model = self.required_model(&entries, node, path);
        let layers = match entries.given("layer_range") {
            Some(range) => self.layer_range(range, &join(path, "layer_range")),
            None => {
                self.error(path, node, "`layer_range: [first, end]` is missing");
                None
            }
        };
        let model = model?;
        self.once(&model, seen);
        Some(InputSlice { model, layers: layers?, parameters, place: self.place(path, node) })
    }

    fn layer_range(&mut self, node: &Node, path: &str) -> Option<std::ops::Range<usize>> {
        let ends: Vec<Option<f64>> = match &node.yaml {
            Yaml::List(ends) => ends.iter().map(|n| number(&n.yaml)).collect(),
            _ => Vec::new(),
        };
        let whole = |x: f64| (x.fract() == 0.0 && x.abs() < 1e6).then_some(x as i64);
        let ends: Vec<Option<i64>> = ends.into_iter().map(|e| e.and_then(whole)).collect();
        match ends[..] {
            [Some(first), Some(end)] if 0 <= first && first < end => Some(first as usize..end as usize),
            [Some(first), Some(end)] => {
                self.hinted(
                    path,
                    node,
                    format!("[{first}, {end}] spans no layers"),
                    "layers are counted from 0, the end is not included, and negative numbers do not count from the end",
                );
                None
            }
            _ => {
                self.error(path, node, "must be two whole numbers, [first, end]");
                None
            }
        }
    }

    /// mergekit collapses a model that is listed twice into one and drops parameters.
    fn once(&mut self, model: &Located<ModelRef>, seen: &mut BTreeSet<ModelRef>) {
        if !seen.insert(model.value.clone()) {
            let problem = model
                .place
                .problem(format!("{} is listed twice", model.value))
                .hint("add its weights up in one entry, or give a copy another path");
            self.problems.push(problem);
        }
    }

    fn required_model(
        &mut self,
        entries: &Entries<'_>,
        node: &Node,
        path: &str,
    ) -> Option<Located<ModelRef>> {
        match entries.given("model") {
            Some(model) => self.model(model, &join(path, "model")),
            None => {
                self.error(path, node, "`model` is missing");
                None
            }
        }
    }

    /// A path, or mergekit's mapping forms as far as they say no more than a path.
    fn model(&mut self, node: &Node, path: &str) -> Option<Located<ModelRef>> {
        let text = match &node.yaml {
            Yaml::Text(text) => text.clone(),
            Yaml::Number(x) => x.to_string(),
            Yaml::Map(map) => return self.model_mapping(map, node, path),
            other => {
                self.error(path, node, format!("must be a path, not {}", other.kind()));
                return None;
            }
        };
        if text.trim().is_empty() {
            self.error(path, node, "must be a path, not empty");
            return None;
        }
        if !Path::new(&text).exists() {
            for (mark, what) in [('+', "adapters (`base+adapter`)"), ('@', "revisions (`model@revision`)")] {
                if text.contains(mark) {
                    self.hinted(
                        path,
                        node,
                        format!("{what} are not supported yet: {text}"),
                        match mark {
                            '+' => "merge the adapter into its base first, and name the result",
                            _ => "download that revision first, and name its folder",
                        },
                    );
                    return None;
                }
            }
        }
        Some(Located { value: ModelRef { path: text }, place: self.place(path, node) })
    }

    fn model_mapping(&mut self, map: &[(Node, Node)], node: &Node, path: &str) -> Option<Located<ModelRef>> {
        let mut found = None;
        for (key, value) in map {
            let Yaml::Text(key_text) = &key.yaml else { continue };
            let below = join(path, key_text);
            match (key_text.as_str(), &value.yaml) {
                (_, Yaml::Null) => {}
                ("model" | "path", _) => found = self.model(value, &below),
                ("lora" | "revision" | "override_architecture", _) => {
                    self.hinted(
                        &below,
                        value,
                        format!("`{key_text}` of a model is not supported yet"),
                        "prepare the model first (download the revision, merge the adapter), and name its folder",
                    );
                    return None;
                }
                (other, _) => self.error(&below, key, format!("a model has no key `{other}`")),
            }
        }
        if found.is_none() && !self.problems.has_errors() {
            self.error(path, node, "must be a path");
        }
        found
    }

    fn dtype(&mut self, node: &Node, path: &str) -> Option<Located<DTypeName>> {
        let text = self.text_of(node, path)?;
        let name = text.value.strip_prefix("torch.").unwrap_or(&text.value);
        let value = match name {
            "bfloat16" => DTypeName::Bfloat16,
            "float16" => DTypeName::Float16,
            "float32" => DTypeName::Float32,
            "int64" => DTypeName::Int64,
            other => {
                let problem = text
                    .place
                    .problem(format!("unknown dtype `{other}`"))
                    .hint("use bfloat16, float16 or float32");
                self.problems.push(problem);
                return None;
            }
        };
        Some(Located { value, place: text.place })
    }

    fn non_finite(&mut self, node: &Node) -> NonFinite {
        match &node.yaml {
            Yaml::Text(text) if text == "refuse" => NonFinite::Refuse,
            Yaml::Text(text) if text == "allow" => NonFinite::Allow,
            _ => {
                self.error("non_finite", node, "must be `refuse` or `allow`");
                NonFinite::Refuse
            }
        }
    }

    fn settings(&mut self, node: Option<&Node>, path: &str) -> Settings {
        let Some(node) = node else { return Settings::default() };
        let Yaml::Map(map) = &node.yaml else {
            self.hinted(
                path,
                node,
                format!("must be a mapping of names to values, not {}", node.yaml.kind()),
                "write `parameters:` and below it, indented, `weight: 0.5`",
            );
            return Settings::default();
        };
        let mut settings = Vec::new();
        for (key, value) in map {
            let Yaml::Text(name) = &key.yaml else {
                self.error(path, key, "parameter names must be text");
                continue;
            };
            let below = join(path, name);
            if let Some(setting) = self.setting(value, &below) {
                settings.push((name.clone(), Located { value: setting, place: self.place(&below, key) }));
            }
        }
        Settings(settings)
    }

    fn setting(&mut self, node: &Node, path: &str) -> Option<Setting> {
        match &node.yaml {
            Yaml::List(list) if list.is_empty() => {
                self.error(path, node, "an empty list says nothing");
                None
            }
            Yaml::List(list) => {
                let rules = list.iter().filter(|n| matches!(n.yaml, Yaml::Map(_))).count();
                if rules == 0 {
                    return self.ramp(list, path).map(Setting::Ramp);
                }
                if rules < list.len() {
                    self.hinted(
                        path,
                        node,
                        "numbers and rules cannot be mixed in one list",
                        "write the number as a last rule: `- value: 0.5`",
                    );
                    return None;
                }
                let rules = list.iter().enumerate().map(|(i, n)| self.rule(n, &format!("{path}[{i}]")));
                rules.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>().map(Setting::Rules)
            }
            Yaml::Map(_) => {
                self.hinted(
                    path,
                    node,
                    "must be a number, a list of numbers, or a list of rules",
                    "put a rule into a list: `- filter: mlp` and below it `value: 0.5`",
                );
                None
            }
            _ => self.value(node, path).map(Setting::Constant),
        }
    }

    fn rule(&mut self, node: &Node, path: &str) -> Option<Rule> {
        let entries = self.mapping(node, path, Level::Rule)?;
        let filter = match entries.given("filter").map(|n| &n.yaml) {
            None => None,
            Some(Yaml::Text(text)) if text == "*" => None,
            Some(Yaml::Text(text)) => Some(text.clone()),
            Some(Yaml::Number(x)) => Some(x.to_string()),
            Some(other) => {
                self.error(&join(path, "filter"), node, format!("must be text, not {}", other.kind()));
                return None;
            }
        };
        let below = join(path, "value");
        let value = match entries.given("value") {
            None => {
                self.error(path, node, "`value` is missing");
                return None;
            }
            Some(Node { yaml: Yaml::List(list), .. }) if !list.is_empty() => {
                Profile::Ramp(self.ramp(list, &below)?)
            }
            Some(value) => Profile::Constant(self.value(value, &below)?),
        };
        Some(Rule { filter, value })
    }

    fn ramp(&mut self, list: &[Node], path: &str) -> Option<Vec<Value>> {
        let mut points = Vec::new();
        for (i, node) in list.iter().enumerate() {
            match self.value(node, &format!("{path}[{i}]"))? {
                Value::Word(word) => {
                    self.error(path, node, format!("a list over the layers holds numbers, not `{word}`"));
                    return None;
                }
                number => points.push(number),
            }
        }
        Some(points)
    }

    fn value(&mut self, node: &Node, path: &str) -> Option<Value> {
        match (&node.yaml, number(&node.yaml)) {
            (_, Some(x)) if x.is_finite() => Some(Value::Number(x)),
            (_, Some(x)) => {
                self.error(path, node, format!("must be a finite number, not {x}"));
                None
            }
            (Yaml::Text(text), None) => Some(Value::Word(text.clone())),
            (other, None) => {
                self.error(path, node, format!("must be a number, not {}", other.kind()));
                None
            }
        }
    }

    fn text_of(&mut self, node: &Node, path: &str) -> Option<Located<String>> {
        match &node.yaml {
            Yaml::Text(text) => Some(Located { value: text.clone(), place: self.place(path, node) }),
            other => {
                self.error(path, node, format!("must be text, not {}", other.kind()));
                None
            }
        }
    }

    fn list<'n>(&mut self, node: &'n Node, path: &str) -> Option<Vec<(&'n Node, String)>> {
        match &node.yaml {
            Yaml::List(list) if !list.is_empty() => {
                Some(list.iter().enumerate().map(|(i, n)| (n, format!("{path}[{i}]"))).collect())
            }
            Yaml::List(_) => {
                self.error(path, node, "the list is empty");
                None
            }
            other => {
                self.error(path, node, format!("must be a list, not {}", other.kind()));
                None
            }
        }
    }

    /// A mapping whose keys are all known at this level, supported or not.
    fn mapping<'n>(&mut self, node: &'n Node, path: &str, level: Level) -> Option<Entries<'n>> {
        let Yaml::Map(map) = &node.yaml else {
            let whole = if path.is_empty() { "a recipe" } else { path };
            self.error(
                path,
                node,
                format!("{whole} must be a mapping of keys to values, not {}", node.yaml.kind()),
            );
            return None;
        };
        let mut entries = Vec::new();
        for (key, value) in map {
            let Yaml::Text(name) = &key.yaml else {
                self.error(path, key, format!("keys must be text, not {}", key.yaml.kind()));
                continue;
            };
            self.key(name, key, value, &join(path, name), level);
            entries.push((name.as_str(), value));
        }
        Some(Entries(entries))
    }

    /// Says what there is to say of one key.
    fn key(&mut self, name: &str, key: &Node, value: &Node, path: &str, level: Level) {
        let place = self.place(path, key);
        let null = matches!(value.yaml, Yaml::Null);
        let problem = match keys::at(level).find(|k| k.name == name).map(|k| k.status) {
            Some(Status::Supported) => return,
            Some(Status::Later) if null => return,
            Some(Status::NoEffect) => place.warning(format!("`{name}` has no effect, here as in mergekit")),
            Some(Status::Later) => place
                .problem(format!("`{name}` of mergekit is not supported yet"))
                .hint("without it the result would be another model, so the recipe is refused"),
            None if level != Level::Rule && keys::PARAMETERS.contains(&name) => {
                place.problem(format!("`{name}` has no effect here")).hint(format!(
                    "it is a parameter: put it under `parameters:`, as in `parameters: {{{name}: …}}`"
                ))
            }
            None => {
                let known = keys::at(level).map(|k| k.name);
                match nearest(name, known.clone().chain(keys::PARAMETERS.iter().copied())) {
                    Some(near) => {
                        place.problem(format!("unknown key `{name}`")).hint(format!("did you mean `{near}`?"))
                    }
                    None => place
                        .warning(format!("unknown key `{name}` is ignored, as mergekit does"))
                        .hint(format!("known here are: {}", known.collect::<Vec<_>>().join(", "))),
                }
            }
        };
        self.problems.push(problem);
    }
}

/// A number as mergekit reads one: booleans (YAML 1.1 has more words for them) and numeric text too.
fn number(yaml: &Yaml) -> Option<f64> {
    match yaml {
        Yaml::Number(x) => Some(*x),
        Yaml::Bool(x) => Some(f64::from(*x)),
        Yaml::Text(text) => match text.trim() {
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => Some(1.0),
            "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => Some(0.0),
            text => text.parse().ok(),
        },
        _ => None,
    }
}
