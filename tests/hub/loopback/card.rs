//! What the Hub says about the metadata of a model card, as far as a merge writes some.

use serde_json::{Value, json};

use super::http::{Answer, Response};

/// Values of `base_model_relation`.
const RELATIONS: [&str; 4] = ["adapter", "finetune", "merge", "quantized"];

pub(super) fn validate(body: &Value) -> Answer {
    let text = body["content"].as_str().unwrap_or_default();
    let message = |text: String| json!({ "message": text });
    let front = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---")).map(|(front, _)| front);
    let Some(front) = front.filter(|f| !f.trim().is_empty()) else {
        let warning = message("empty or missing yaml metadata in repo card".into());
        return Ok(Response::json(200, &json!({ "errors": [], "warnings": [warning] })));
    };
    let errors: Vec<Value> = match serde_yaml::from_str::<Value>(front) {
        Err(error) => vec![message(format!("bad YAML: {error}"))],
        Ok(card) => problems(&card).into_iter().map(message).collect(),
    };
    let answer = Response::json(
        if errors.is_empty() { 200 } else { 400 },
        &json!({ "errors": errors, "warnings": [] }),
    );
    if errors.is_empty() { Ok(answer) } else { Err(answer) }
}

fn problems(card: &Value) -> Vec<String> {
    let Some(card) = card.as_object() else { return vec!["metadata must be an object".into()] };
    let mut problems = Vec::new();
    for (key, value) in card {
        let one_or_more: Vec<&Value> = match value {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        };
        let all = |good: &dyn Fn(&str) -> bool| one_or_more.iter().all(|v| v.as_str().is_some_and(good));
        let (good, must) = match key.as_str() {
            "base_model" => (all(&is_repository), "be names of models on the Hub"),
            "base_model_relation" => {
                (value.as_str().is_some_and(|v| RELATIONS.contains(&v)), "be a known relation")
            }
            "language" => (all(&is_language), "only contain codes of languages"),
            "tags" | "datasets" => (value.is_array() && all(&|_| true), "be an array of strings"),
            "license" => (all(&is_word), "be an identifier of a licence"),
            "library_name" | "pipeline_tag" | "license_name" | "license_link" => {
                (value.is_string(), "be a string")
            }
            _ => (true, ""),
        };
        if !good {
            problems.push(format!("\"{key}\" must {must}"));
        }
    }
    problems
}

fn is_repository(text: &str) -> bool {
    let word = |w: &str| {
        !w.is_empty() && w.len() <= 96 && w.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    text.split_once('/').is_some_and(|(owner, name)| word(owner) && word(name))
}

fn is_language(text: &str) -> bool {
    matches!(text, "multilingual" | "code")
        || (2..=3).contains(&text.len()) && text.chars().all(|c| c.is_ascii_lowercase())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
}
