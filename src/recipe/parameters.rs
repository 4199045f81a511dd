//! Values under `parameters:`: constants, numbers spread over layers, rules with filters.

use super::keys::Level;
use super::node::{Node, Yaml};
use super::reader::{Reader, join, number};
use super::weighting::WEIGHT;
use super::{Located, Profile, Rule, Setting, Settings, Value};

impl Reader<'_> {
    pub(super) fn settings(&mut self, node: Option<&Node>, path: &str) -> Settings {
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
            if let Some(setting) = self.setting(name, value, &below) {
                settings.push((name.clone(), Located { value: setting, place: self.place(&below, key) }));
            }
        }
        Settings(settings)
    }

    fn setting(&mut self, name: &str, node: &Node, path: &str) -> Option<Setting> {
        match &node.yaml {
            Yaml::List(list) if list.is_empty() => {
                self.error(path, node, "an empty list says nothing");
                None
            }
            Yaml::List(list) => {
                let rules = list.iter().filter(|n| matches!(n.yaml, Yaml::Map(_))).count();
                if rules == 0 {
                    return self.ramp(name, list, path).map(Setting::Ramp);
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
                let rules = list.iter().enumerate().map(|(i, n)| self.rule(name, n, &format!("{path}[{i}]")));
                rules.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>().map(Setting::Rules)
            }
            Yaml::Map(_) if name != WEIGHT || node.get("filter").or(node.get("value")).is_some() => {
                self.hinted(
                    path,
                    node,
                    "must be a number, a list of numbers, or a list of rules",
                    "put a rule into a list: `- filter: mlp` and below it `value: 0.5`",
                );
                None
            }
            _ => self.value(name, node, path).map(Setting::Constant),
        }
    }

    fn rule(&mut self, name: &str, node: &Node, path: &str) -> Option<Rule> {
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
                Profile::Ramp(self.ramp(name, list, &below)?)
            }
            Some(value) => Profile::Constant(self.value(name, value, &below)?),
        };
        Some(Rule { filter, value })
    }

    fn ramp(&mut self, name: &str, list: &[Node], path: &str) -> Option<Vec<Value>> {
        let mut points = Vec::new();
        for (i, node) in list.iter().enumerate() {
            match self.value(name, node, &format!("{path}[{i}]"))? {
                Value::Weighting(_) => {
                    self.error(path, node, "a list over the layers holds numbers, not mappings");
                    return None;
                }
                Value::Word(word) => {
                    self.error(path, node, format!("a list over the layers holds numbers, not `{word}`"));
                    return None;
                }
                number => points.push(number),
            }
        }
        Some(points)
    }

    fn value(&mut self, name: &str, node: &Node, path: &str) -> Option<Value> {
        if matches!(node.yaml, Yaml::Map(_)) && name == WEIGHT {
            return self.weighting(node, path).map(|words| Value::Weighting(Box::new(words)));
        }
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
}
