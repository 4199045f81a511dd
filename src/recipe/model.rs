//! How a recipe names a model: a path, or mergekit's mappings as far as they say no more than a path and
//! how the model is grown.

use std::collections::BTreeSet;
use std::path::Path;

use super::node::{Node, Yaml};
use super::reader::{Entries, Reader, join};
use super::{Grow, Located, ModelRef, Named};
use crate::problem::nearest;

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
        let grow = entries.given("grow").map(|node| (node, self.grow(node, &join(path, "grow"))));
        let model = self.model(model, &join(path, "model"));
        match grow {
            None => model,
            Some((node, grow)) => self.grown(model?, grow?, node, &join(path, "grow")),
        }
    }

    /// The model with its growth.
    fn grown(
        &mut self,
        mut model: Located<ModelRef>,
        grow: Grow,
        node: &Node,
        path: &str,
    ) -> Option<Located<ModelRef>> {
        if model.value.grow.is_some() {
            self.error(path, node, "`grow` is given twice for this model");
            return None;
        }
        model.value.grow = Some(grow);
        Some(model)
    }

    /// A path, or mergekit's mapping forms as far as they say no more than a path.
    pub(super) fn model(&mut self, node: &Node, path: &str) -> Option<Located<ModelRef>> {
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
        let named = if self.stages.contains(&text) { Named::Stage } else { Named::Path };
        if named == Named::Path && !Path::new(&text).exists() {
            if let Some(near) = nearest(&text, self.stages.iter().map(String::as_str)) {
                let what = format!("there is neither a stage nor a path `{text}`");
                self.hinted(path, node, what, format!("did you mean `{near}`?"));
                return None;
            }
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
        let model =
            Located { value: ModelRef { path: text, named, grow: None }, place: self.place(path, node) };
        self.models.push(model.clone());
        Some(model)
    }

    pub(super) fn model_mapping(
        &mut self,
        map: &[(Node, Node)],
        node: &Node,
        path: &str,
    ) -> Option<Located<ModelRef>> {
        let (mut found, mut grow) = (None, None);
        for (key, value) in map {
            let Yaml::Text(key_text) = &key.yaml else { continue };
            let below = join(path, key_text);
            match (key_text.as_str(), &value.yaml) {
                (_, Yaml::Null) => {}
                ("model" | "path", _) => found = self.model(value, &below),
                ("grow", _) => grow = Some((value, self.grow(value, &below)?)),
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
        match (found, grow) {
            (Some(model), Some((value, grow))) => self.grown(model, grow, value, &join(path, "grow")),
            (found, _) => found,
        }
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
