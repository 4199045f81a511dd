//! The explanation for other programs.

use serde_json::{Map, Value as Json, json};

use super::{Explanation, Tensor, layers::role};
use crate::method::{Arg, Kind};
use crate::problem::Problems;

impl Explanation<'_> {
    /// Every output tensor, or those whose names fit a pattern, with every value and who set it.
    ///
    /// # Errors
    /// If no name fits.
    pub fn json(&self, pattern: Option<&str>) -> Result<Json, Problems> {
        let mut stages = Vec::new();
        for (name, stage) in self.stages() {
            stages.push(json!({ "name": name, "explained": stage.alone(None)? }));
        }
        let mut explained = self.alone(pattern)?;
        if !stages.is_empty() {
            explained["stages"] = Json::Array(stages);
        }
        Ok(explained)
    }

    fn alone(&self, pattern: Option<&str>) -> Result<Json, Problems> {
        let tensors: Vec<Json> = self.matching(pattern)?.into_iter().map(|t| self.tensor(t)).collect();
        Ok(json!({
            "recipe": self.plan.recipe.0,
            "method": self.plan.method.name,
            "models": self.plan.models().map(|i| i.name()).collect::<Vec<_>>(),
            "tensors": tensors,
            "left_out": self.plan.left_out,
            "problems": self.plan.warnings,
        }))
    }

    fn tensor(&self, tensor: &Tensor<'_>) -> Json {
        let parameters = |model: Option<usize>| -> Json {
            let of_model = tensor.values.iter().filter(|(c, _)| c.model == model);
            let entry = |(column, value): (&super::Column, &super::Value)| {
                let param = self.param(*column);
                let shown = match &value.arg {
                    Arg::Number(x) if param.kind == Kind::Switch => json!(*x != 0.0),
                    arg => json!(arg),
                };
                (param.name.to_owned(), json!({ "value": shown, "set_by": value.origin }))
            };
            Json::Object(of_model.map(entry).collect::<Map<_, _>>())
        };
        let model = |source: crate::plan::Source| {
            json!({
                "model": source.input,
                "tensor": source.info(&self.plan.inputs).name,
                "layer": tensor.made_of.get(&source.input),
                "base": tensor.job.base == Some(source),
                "parameters": parameters(Some(source.input)),
            })
        };
        json!({
            "tensor": tensor.job.name,
            "role": role(tensor.located.role),
            "layer": tensor.layer(),
            "slice": tensor.job.lookup.slice,
            "depth": tensor.job.lookup.t,
            "as_it_is": tensor.job.is_as_it_is(),
            "parameters": parameters(None),
            "made_of": tensor.job.sources().map(model).collect::<Vec<_>>(),
        })
    }
}
