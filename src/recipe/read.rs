//! Located YAML → [`Recipe`]: kinds, coercions, and no key ignored in silence.

use std::collections::BTreeSet;

use super::keys::Level;
use super::node::{Node, Yaml};
use super::reader::{Entries, Reader, join, number};
use super::{Assembly, DTypeName, InputSlice, Located, ModelEntry, ModelRef, NonFinite, OutputSlice, Recipe};
use crate::problem::Problems;

/// Keys that say what the output is put together from; one of them is given.
const ASSEMBLIES: [&str; 3] = ["models", "slices", "modules"];

impl Reader<'_> {
    pub(super) fn recipe(&mut self, root: &Node, method: &mut Option<Located<String>>) -> Option<Recipe> {
        let entries = self.mapping(root, "", Level::Recipe)?;
        *method = match entries.given("merge_method") {
            Some(node) => self.text_of(node, "merge_method"),
            None => {
                let problem = self.missing("merge_method").problem("is missing");
                self.problems.push(problem.hint("add `merge_method: linear`, for example"));
                None
            }
        };
        let base_model = entries.given("base_model").and_then(|n| self.model(n, "base_model"));
        let parameters = self.settings(entries.given("parameters"), "parameters");
        let dtype = entries.given("dtype").and_then(|n| self.dtype(n, "dtype"));
        let out_dtype = entries.given("out_dtype").and_then(|n| self.dtype(n, "out_dtype"));
        let name = entries.given("name").and_then(|n| self.text_of(n, "name"));
        let non_finite = entries.given("non_finite").map_or(NonFinite::Refuse, |n| self.non_finite(n));
        let assembly = self.assembly(&entries);
        let vocabulary = self.vocabulary(&entries);
        let chat_template = entries.given("chat_template").and_then(|n| self.text_of(n, "chat_template"));
        Some(Recipe {
            file: self.file.into(),
            text: self.text.into(),
            method: method.clone()?,
            base_model,
            assembly: assembly?,
            parameters,
            dtype,
            out_dtype,
            non_finite,
            name,
            vocabulary,
            chat_template,
            warnings: Problems::new(),
        })
    }

    fn assembly(&mut self, entries: &Entries<'_>) -> Option<Assembly> {
        let forms = ASSEMBLIES.into_iter().filter_map(|k| Some((k, entries.given(k)?)));
        match forms.collect::<Vec<_>>()[..] {
            [(form, node)] => self.form(form, node, form),
            [] => {
                let what = "none of `models`, `slices` and `modules` is given";
                match ASSEMBLIES.into_iter().find_map(|form| Some((form, entries.written(form)?))) {
                    Some((form, node)) => self.hinted(form, node, what, "there is nothing under this key"),
                    None => self.problems.push(self.missing("models").problem(what)),
                }
                None
            }
            [(one, node), (other, _), ..] => {
                self.hinted(
                    one,
                    node,
                    format!("`{one}` and `{other}` exclude each other"),
                    "whole models: `models`; layers put together: `slices`; an encoder and a decoder: `modules`",
                );
                None
            }
        }
    }

    /// What stands under `models`, `slices` or `modules`.
    pub(super) fn form(&mut self, form: &str, node: &Node, path: &str) -> Option<Assembly> {
        if form == "modules" {
            return self.modules(node, path);
        }
        let list = self.list(node, path)?.into_iter();
        if form == "slices" {
            return Some(Assembly::Slices(list.filter_map(|(n, path)| self.slice(n, &path)).collect()));
        }
        let mut seen = BTreeSet::new();
        Some(Assembly::Models(list.filter_map(|(n, path)| self.model_entry(n, &path, &mut seen)).collect()))
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
}
