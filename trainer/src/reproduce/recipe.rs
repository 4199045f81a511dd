//! Recipes of the grid, as text: what is measured is what anybody would merge with the same words.

use std::path::Path;

use growmerge::eval::ModelSource;
use growmerge::plan::{Plan, PlanOptions};
use growmerge::problem::Problems;
use growmerge::recipe::Recipe;

use super::subject::{Factor, Method};

/// One merge of the grid, with the paper's parameters.
#[derive(Clone, Debug)]
pub(super) struct Merge<'a> {
    /// How.
    pub method: Method,
    /// Factor on the merged difference, where the method has one.
    pub lambda: f64,
    /// The English model that all of them come from.
    pub base: &'a Path,
    /// Of single languages.
    pub models: Vec<&'a Path>,
    /// Of random drops.
    pub seed: u64,
}

impl Merge<'_> {
    /// The recipe; `name` says what a folder is called in it.
    ///
    /// The paper's parameters are weight 1, density 0.5 and `normalize: true`. multislerp has no `normalize` (by default
    /// it divides its weights by their sum), and density is without effect in task arithmetic. The paper writes float16;
    /// here nothing is written, and float32 leaves rounding out of the comparison.
    pub(super) fn text(&self, name: impl Fn(&Path) -> String) -> String {
        let mut text = format!("merge_method: {}\n", self.method.name());
        let mut parameters = vec!["weight: 1.0".to_owned()];
        match self.method {
            Method::Linear => parameters.push("normalize: true".into()),
            Method::Multislerp => {}
            Method::TaskArithmetic | Method::Ties | Method::DareTies => {
                text += &format!("base_model: {}\n", name(self.base));
                parameters.extend(["density: 0.5".into(), "normalize: true".into()]);
            }
        }
        if self.method.factor() == Factor::Lambda && self.lambda != 1.0 {
            parameters.push(format!("lambda: {}", self.lambda));
        }
        text += "models:\n";
        for model in &self.models {
            text += &format!("  - model: {}\n", name(model));
        }
        text + &format!("parameters: {{{}}}\ndtype: float32\n", parameters.join(", "))
    }

    /// Plans the merge; nothing is written when it is loaded.
    ///
    /// # Errors
    /// What is wrong with its inputs.
    pub(super) fn source(&self) -> Result<ModelSource, Problems> {
        // As JSON strings, which are YAML strings: no character of a path can end them.
        let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
        let recipe = Recipe::parse("recipe", &self.text(quoted))?;
        let options = PlanOptions { seed: self.seed, ..PlanOptions::default() };
        ModelSource::planned(self.method.name(), Plan::build(&recipe, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::Quiet;

    fn quickstart(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/quickstart").join(name)
    }

    #[test]
    fn every_method_is_planned_without_a_warning() {
        let (base, et, fo) = (quickstart("en"), quickstart("et"), quickstart("fo"));
        for method in Method::ALL {
            let merge = Merge { method, lambda: 2.0, base: &base, models: vec![&et, &fo], seed: 3 };
            let source = merge.source().unwrap();
            assert!(source.warnings.is_empty(), "{}", source.warnings);
            let text = merge.text(|p| p.file_name().unwrap().to_string_lossy().into_owned());
            assert_eq!(text.contains("lambda: 2"), method.factor() == Factor::Lambda, "{text}");
            assert_eq!(text.contains("base_model: en"), method.factor() == Factor::Lambda, "{text}");
        }
    }

    /// The paper's task arithmetic is its linear merge: the mean of differences is the difference of the mean.
    #[test]
    fn task_arithmetic_at_the_papers_setting_is_the_mean() {
        let (base, et, fo) = (quickstart("en"), quickstart("et"), quickstart("fo"));
        let load = |method| {
            let merge = Merge { method, lambda: 1.0, base: &base, models: vec![&et, &fo], seed: 0 };
            merge.source().unwrap().load(1, &Quiet).unwrap()
        };
        let (linear, arithmetic) = (load(Method::Linear), load(Method::TaskArithmetic));
        for name in linear.tensors().names() {
            let values = |m: &growmerge::eval::Model| -> Vec<f32> {
                let tensor = m.tensors().tensor(name).unwrap();
                tensor.bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
            };
            let (a, b) = (values(&linear), values(&arithmetic));
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-6 * a.abs().max(1.0)), "{name}");
        }
    }
}
