//! `rank_pattern` and `alpha_pattern`: values for modules whose path a pattern matches.

use regex::Regex;
use serde_json::Value;

/// Patterns in the order of the file; the first that matches decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns(Vec<(Regex, f64)>);

impl Patterns {
    /// Reads a mapping of patterns to numbers.
    ///
    /// # Errors
    /// The pattern and what is wrong with it.
    pub(super) fn read(value: Option<&Value>) -> Result<Self, String> {
        let map = match value {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(map)) => map,
            Some(_) => return Err("must map module names to numbers".into()),
        };
        let pattern = |(key, value): (&String, &Value)| {
            let Some(number) = value.as_f64() else {
                return Err(format!("the value of `{key}` is no number"));
            };
            // PEFT's rule: the pattern is the whole path, or what follows a dot of it.
            match Regex::new(&format!(r"^(?:.*\.)?(?:{key})$")) {
                Ok(regex) => Ok((regex, number)),
                Err(_) => Err(format!("the pattern `{key}` is not understood (look-around is not)")),
            }
        };
        map.iter().map(pattern).collect::<Result<_, _>>().map(Self)
    }

    /// The value for a module, if a pattern matches its path.
    pub(super) fn of(&self, module: &str) -> Option<f64> {
        self.0.iter().find(|(regex, _)| regex.is_match(module)).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What `peft.utils.other.get_pattern_key` says of the same keys and paths.
    #[test]
    fn patterns_match_as_in_peft() {
        let patterns = json!({
            "q_proj": 1, "model.layers.1.mlp.up_proj": 2, r"layers\.[23]\..*": 3, "^model.layers.0.mlp.down_proj": 4
        });
        let patterns = Patterns::read(Some(&patterns)).unwrap();
        for (module, want) in [
            ("model.layers.0.self_attn.q_proj", Some(1.0)),
            ("q_proj", Some(1.0)),
            ("model.layers.0.self_attn.xq_proj", None),
            ("model.layers.1.mlp.up_proj", Some(2.0)),
            ("base.model.layers.1.mlp.up_proj", Some(2.0)),
            ("model.layers.11.mlp.up_proj", None),
            ("model.layers.3.mlp.gate_proj", Some(3.0)),
            ("model.layers.2.self_attn.q_proj", Some(1.0)),
            ("model.layers.0.mlp.down_proj", Some(4.0)),
            ("lm_head", None),
        ] {
            assert_eq!(patterns.of(module), want, "{module}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        let told = |value| Patterns::read(Some(&value)).unwrap_err();
        assert!(told(json!({"q(?=_proj)": 1})).contains("`q(?=_proj)`"));
        assert!(told(json!({"q_proj": "8"})).contains("no number"));
        assert!(told(json!(["q_proj"])).contains("must map"));
    }
}
