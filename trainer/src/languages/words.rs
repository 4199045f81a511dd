//! A contender's recipe, as text: what is measured is what anybody would merge with the same words.

use std::path::{Path, PathBuf};

/// A recipe of the five languages' models in the making.
#[derive(Clone, Debug)]
pub(super) struct Words {
    method: &'static str,
    base: Option<PathBuf>,
    head: Head,
    parameters: Vec<(&'static str, String)>,
    models: Vec<(Model, Vec<(&'static str, String)>)>,
}

/// What is merged.
#[derive(Clone, Debug)]
enum Model {
    Folder(PathBuf),
    /// What another recipe makes, in front of this one: its name, and all of it.
    Stage(&'static str, String),
}

/// Where models' heads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// Where they were.
    Kept,
    /// In tensors of their own: what was tied to an embedding is copied from it.
    Untied,
}

impl Head {
    /// What is said of each model.
    fn grow(self) -> Option<&'static str> {
        (self == Self::Untied).then_some("grow: {width: 1, head: untied}")
    }
}

/// A path as JSON has it, which is a YAML string that no character of it can end.
pub(super) fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

impl Words {
    /// A merge of these models by a method.
    pub(super) fn new(method: &'static str, models: impl IntoIterator<Item = PathBuf>) -> Self {
        let models = models.into_iter().map(|m| (Model::Folder(m), Vec::new())).collect();
        Self { method, base: None, head: Head::Kept, parameters: Vec::new(), models }
    }

    /// Of differences from a model.
    #[must_use]
    pub(super) fn on_base(mut self, base: &Path) -> Self {
        self.base = Some(base.to_owned());
        self
    }

    /// With one model more: what another recipe makes, whose heads are where it leaves them.
    #[must_use]
    pub(super) fn and(mut self, name: &'static str, stage: &Self) -> Self {
        self.models.push((Model::Stage(name, stage.text()), Vec::new()));
        self
    }

    /// Of models whose heads are tensors of their own.
    #[must_use]
    pub(super) fn untied(mut self) -> Self {
        self.head = Head::Untied;
        self
    }

    /// With a parameter of the whole recipe, whose value is any YAML of one line.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.parameters.push((name, value.to_string()));
        self
    }

    /// With a parameter of each model, by its place.
    #[must_use]
    pub(super) fn each(mut self, name: &'static str, value: impl Fn(usize) -> String) -> Self {
        self.models.iter_mut().enumerate().for_each(|(i, m)| m.1.push((name, value(i))));
        self
    }

    /// The recipe. Nothing is written in a type of 16 bits, which leaves rounding out of the comparison.
    pub(super) fn text(&self) -> String {
        let flow = |parameters: &[(&'static str, String)]| {
            let parameters: Vec<String> = parameters.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            format!("{{{}}}", parameters.join(", "))
        };
        let stages = self.models.iter().filter_map(|(model, _)| match model {
            Model::Folder(_) => None,
            Model::Stage(name, text) => Some(format!("name: {name}\n{text}---\n")),
        });
        let mut text: String = stages.collect();
        text += &format!("merge_method: {}\n", self.method);
        if let Some(base) = &self.base {
            text += &match self.head.grow() {
                Some(grow) => format!("base_model: {{model: {}, {grow}}}\n", quoted(base)),
                None => format!("base_model: {}\n", quoted(base)),
            };
        }
        text += "models:\n";
        for (model, parameters) in &self.models {
            match (model, self.head.grow()) {
                (Model::Stage(name, _), _) => text += &format!("  - model: {name}\n"),
                (Model::Folder(model), None) => text += &format!("  - model: {}\n", quoted(model)),
                (Model::Folder(model), Some(grow)) => {
                    text += &format!("  - model: {}\n    {grow}\n", quoted(model));
                }
            }
            if !parameters.is_empty() {
                text += &format!("    parameters: {}\n", flow(parameters));
            }
        }
        if !self.parameters.is_empty() {
            text += &format!("parameters: {}\n", flow(&self.parameters));
        }
        text + "dtype: float32\n"
    }
}
