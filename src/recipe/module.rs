//! `modules`: parts of a model, each put together by itself.

use super::keys::Level;
use super::node::{Node, Yaml};
use super::reader::{Reader, join};
use super::{Assembly, Located, ModuleEntry};

impl Reader<'_> {
    /// A mapping of names to modules.
    pub(super) fn modules(&mut self, node: &Node, path: &str) -> Option<Assembly> {
        let Yaml::Map(map) = &node.yaml else {
            let hint = "write `modules:` and below it, indented, `decoder:` and below that `models:`";
            self.hinted(
                path,
                node,
                format!("must be a mapping of names to modules, not {}", node.yaml.kind()),
                hint,
            );
            return None;
        };
        if map.is_empty() {
            self.error(path, node, "no module is given");
            return None;
        }
        let mut modules = Vec::new();
        for (key, value) in map {
            let Yaml::Text(name) = &key.yaml else {
                self.error(path, key, format!("names of modules must be text, not {}", key.yaml.kind()));
                continue;
            };
            modules.extend(self.module(name, key, value, &join(path, name)));
        }
        Some(Assembly::Modules(modules))
    }

    fn module(&mut self, name: &str, key: &Node, node: &Node, path: &str) -> Option<ModuleEntry> {
        let entries = self.mapping(node, path, Level::Module)?;
        let parameters = self.settings(entries.given("parameters"), &join(path, "parameters"));
        let assembly = match (entries.given("models"), entries.given("slices")) {
            (Some(models), None) => self.form("models", models, &join(path, "models")),
            (None, Some(slices)) => self.form("slices", slices, &join(path, "slices")),
            (None, None) => {
                self.error(path, key, "neither `models` nor `slices` is given");
                None
            }
            (Some(_), Some(_)) => {
                self.error(path, key, "`models` and `slices` exclude each other");
                None
            }
        };
        let name = Located { value: name.to_owned(), place: self.place(path, key) };
        Some(ModuleEntry { name, assembly: assembly?, parameters })
    }
}
