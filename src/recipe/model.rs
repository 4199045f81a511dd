//! How a recipe names a model: a path, one with an adapter, or mergekit's mappings; and how it is grown.

use std::collections::BTreeSet;
use std::path::Path;

use super::keys::Level;
use super::node::{Node, Yaml};
use super::reader::{Entries, Reader, join};
use super::{AdapterRef, Grow, Located, ModelRef, Named};
use crate::problem::nearest;

/// What stands beside a model.
struct Beside<'n> {
    adapter: Option<(&'n Node, String, Option<AdapterRef>)>,
    grow: Option<(&'n Node, String, Option<Grow>)>,
}

impl Reader<'_> {
    pub(super) fn required_model(
        &mut self,
        entries: &Entries<'_>,
        node: &Node,
        path: &str,
    ) -> Option<Located<ModelRef>> {
        let Some(model) = entries.given("model") else {
            self.error(path, node, "`model` is missing");
            return None;
        };
        let beside = self.beside(entries.given("lora"), entries.given("grow"), path);
        let found = self.reference(model, &join(path, "model"));
        let found = self.put_beside(found, beside)?;
        self.models.push(found.clone());
        Some(found)
    }

    /// A model by itself.
    pub(super) fn model(&mut self, node: &Node, path: &str) -> Option<Located<ModelRef>> {
        let found = self.reference(node, path)?;
        self.models.push(found.clone());
        Some(found)
    }

    /// A path, `path+adapter`, or a mapping.
    fn reference(&mut self, node: &Node, path: &str) -> Option<Located<ModelRef>> {
        if let Yaml::Map(map) = &node.yaml {
            return self.mapped_reference(map, node, path);
        }
        let text = self.path_of(node, path)?;
        match ModelRef::parse(&text, |name| self.stages.iter().any(|stage| stage == name)) {
            Ok(value) => self.stage_or_path(value, path, node),
            Err(why) => self.no_reference(&text, why, path, node),
        }
    }

    /// Decides which of them a model's path is; a document's name wins over a path of the same spelling.
    fn stage_or_path(&mut self, mut value: ModelRef, path: &str, node: &Node) -> Option<Located<ModelRef>> {
        if self.stages.contains(&value.path) {
            value.named = Named::Stage;
            if value.revision.is_some() {
                self.error(path, node, format!("stage `{}` has no revisions", value.path));
                return None;
            }
        } else if !Path::new(&value.path).exists()
            && let Some(near) = nearest(&value.path, self.stages.iter().map(String::as_str))
        {
            let what = format!("there is neither a stage nor a path `{}`", value.path);
            self.hinted(path, node, what, format!("did you mean `{near}`?"));
            return None;
        }
        Some(Located { value, place: self.place(path, node) })
    }

    fn no_reference<T>(&mut self, text: &str, why: &str, path: &str, node: &Node) -> Option<T> {
        let hint = "written out: `{model: {path: …, revision: …}, lora: {path: …, revision: …}}`";
        self.hinted(path, node, format!("`{text}` is no model: {why}"), hint);
        None
    }

    /// Text that names a folder.
    fn path_of(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = match &node.yaml {
            Yaml::Text(text) => text.clone(),
            Yaml::Number(x) => x.to_string(),
            other => {
                self.error(path, node, format!("must be a path, not {}", other.kind()));
                return None;
            }
        };
        if text.trim().is_empty() {
            self.error(path, node, "must be a path, not empty");
            return None;
        }
        Some(text)
    }

    fn mapped_reference(
        &mut self,
        map: &[(Node, Node)],
        node: &Node,
        path: &str,
    ) -> Option<Located<ModelRef>> {
        let given = |wanted: &str| {
            let mut found = map.iter().filter(|(_, value)| !matches!(value.yaml, Yaml::Null));
            found.find(|(key, _)| matches!(&key.yaml, Yaml::Text(name) if name == wanted)).map(|(_, v)| v)
        };
        for (key, _) in map {
            let Yaml::Text(name) = &key.yaml else { continue };
            self.key(name, key, &join(path, name), Level::Reference);
        }
        let beside = self.beside(given("lora"), given("grow"), path);
        let found = match (given("model"), given("path")) {
            (Some(model), None) => self.reference(model, &join(path, "model")),
            (None, Some(literal)) => {
                let literal_path = self.path_of(literal, &join(path, "path"))?;
                let value = ModelRef::of(AdapterRef { path: literal_path, revision: None });
                self.stage_or_path(value, path, node)
            }
            (Some(_), Some(_)) => {
                self.error(path, node, "`model` and `path` are both given");
                return None;
            }
            (None, None) => {
                self.error(path, node, "must name a model: `model` or `path` is missing");
                return None;
            }
        };
        let mut found = self.put_beside(found, beside)?;
        if let Some(revision) = given("revision") {
            let at = join(path, "revision");
            if found.value.revision.is_some() {
                self.error(&at, revision, "the revision is given twice for this model");
                return None;
            }
            found.value.revision = Some(self.path_of(revision, &at)?);
        }
        Some(found)
    }

    /// An adapter: `path[@revision]`, or a mapping of both.
    fn adapter(&mut self, node: &Node, path: &str) -> Option<AdapterRef> {
        if let Yaml::Map(map) = &node.yaml {
            let found = self.mapped_reference(map, node, path)?.value;
            if found.adapter.is_some() || found.grow.is_some() {
                self.error(path, node, "an adapter has a path and a revision, nothing else");
                return None;
            }
            return Some(AdapterRef { path: found.path, revision: found.revision });
        }
        let text = self.path_of(node, path)?;
        match AdapterRef::parse(&text) {
            Ok(adapter) => Some(adapter),
            Err(why) => self.no_reference(&text, why, path, node),
        }
    }

    fn beside<'n>(&mut self, adapter: Option<&'n Node>, grow: Option<&'n Node>, path: &str) -> Beside<'n> {
        let (lora_at, grow_at) = (join(path, "lora"), join(path, "grow"));
        Beside {
            adapter: adapter.map(|node| (node, lora_at.clone(), self.adapter(node, &lora_at))),
            grow: grow.map(|node| (node, grow_at.clone(), self.grow(node, &grow_at))),
        }
    }

    /// The model with what stands beside it.
    fn put_beside(
        &mut self,
        model: Option<Located<ModelRef>>,
        beside: Beside<'_>,
    ) -> Option<Located<ModelRef>> {
        let mut model = model?;
        if let Some((node, path, adapter)) = beside.adapter {
            if model.value.adapter.is_some() {
                self.error(&path, node, "an adapter is given twice for this model");
                return None;
            }
            if model.value.grow.is_some() {
                let hint = "put `lora` where `grow` stands";
                self.hinted(&path, node, "an adapter belongs to the model before it is grown", hint);
                return None;
            }
            model.value.adapter = Some(adapter?);
        }
        if let Some((node, path, grow)) = beside.grow {
            if model.value.grow.is_some() {
                self.error(&path, node, "`grow` is given twice for this model");
                return None;
            }
            model.value.grow = Some(grow?);
        }
        Some(model)
    }

    /// mergekit collapses a model that is listed twice into one and drops parameters.
    pub(super) fn once(&mut self, model: &Located<ModelRef>, seen: &mut BTreeSet<ModelRef>) {
        if !seen.insert(model.value.clone()) {
            let problem = model
                .place
                .problem(format!("{} is listed twice", model.value))
                .hint("add its weights up in one entry, or give a copy another path");
            self.problems.push(problem);
        }
    }
}
