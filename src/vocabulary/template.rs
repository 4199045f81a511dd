//! Chat templates: the inputs' own, the well-known ones, or the recipe's.

use serde_json::Value;

use crate::problem::Problems;
use crate::recipe::Located;

/// The templates that a recipe can name, written after the formats that these models are known to use.
static BUILT_IN: &[(&str, &str)] = &[
    ("alpaca", include_str!("templates/alpaca.jinja")),
    ("chatml", include_str!("templates/chatml.jinja")),
    ("exaone", include_str!("templates/exaone.jinja")),
    ("llama3", include_str!("templates/llama3.jinja")),
    ("mistral", include_str!("templates/mistral.jinja")),
];

/// The chat template that a recipe asks for. `read` gives a file of one of `models` models; `auto` takes the
/// template that most of them have, among equals the first, and none if no model has one.
pub fn chat_template(
    words: &Located<String>,
    models: usize,
    read: &dyn Fn(usize, &str) -> Option<Vec<u8>>,
    problems: &mut Problems,
) -> Option<String> {
    let text = words.value.as_str();
    if text == "auto" {
        let own = (0..models).filter_map(|model| own(&|name| read(model, name)));
        return most_common(own, problems, words);
    }
    if let Some((_, template)) = BUILT_IN.iter().find(|(name, _)| *name == text) {
        return Some((*template).to_owned());
    }
    if !text.contains('{') {
        let names = || std::iter::once("auto").chain(BUILT_IN.iter().map(|(name, _)| *name));
        let shown: String = text.chars().take(40).collect();
        let all = format!(
            "known are {}; any other text must be a Jinja template",
            names().collect::<Vec<_>>().join(", ")
        );
        let problem =
            words.place.problem(format!("there is no chat template `{shown}`")).did_you_mean(text, names());
        problems.push(if problem.hint.is_none() { problem.hint(all) } else { problem });
        return None;
    }
    // Loaders know tags and filters that are not Jinja's, so this is no error.
    if let Err(error) = minijinja::Environment::new().template_from_str(text) {
        let what = format!("the chat template may be no Jinja: {error}");
        problems.push(words.place.warning(what).hint("it is written as it is"));
    }
    Some(text.to_owned())
}

fn most_common(
    templates: impl Iterator<Item = String>,
    problems: &mut Problems,
    words: &Located<String>,
) -> Option<String> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for template in templates {
        match found.iter_mut().find(|(known, _)| known.trim() == template.trim()) {
            Some((_, count)) => *count += 1,
            None => found.push((template, 1)),
        }
    }
    let most = found.iter().map(|(_, count)| *count).max();
    if most.is_none() {
        let warning = words.place.warning("no model has a chat template, so the output has none");
        problems.push(warning.hint("name one, or write one into the recipe"));
    }
    found.into_iter().find(|(_, count)| Some(*count) == most).map(|(template, _)| template)
}

/// The template of a model: a file of its own, else in `tokenizer_config.json`.
fn own(read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<String> {
    if let Some(bytes) = read("chat_template.jinja") {
        return String::from_utf8(bytes).ok();
    }
    let config: Value = serde_json::from_slice(&read("tokenizer_config.json")?).ok()?;
    match config.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        // Several, by name.
        Value::Array(list) => {
            let default = list.iter().find(|t| t.get("name").is_some_and(|name| name == "default"))?;
            default.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, roles: &[&str], generate: bool) -> String {
        let (_, text) = BUILT_IN.iter().find(|(name, _)| *name == template).unwrap();
        let messages: Vec<_> = roles
            .iter()
            .enumerate()
            .map(|(i, role)| minijinja::context! { role => *role, content => format!("text {i}") })
            .collect();
        let context = minijinja::context! {
            messages, bos_token => "<s>", eos_token => "</s>", add_generation_prompt => generate
        };
        minijinja::Environment::new().render_str(text, context).unwrap()
    }

    #[test]
    fn built_in_templates_give_the_known_formats() {
        let talk = ["system", "user", "assistant", "user"];
        assert_eq!(
            render("chatml", &talk, true),
            "<|im_start|>system\ntext 0<|im_end|>\n<|im_start|>user\ntext 1<|im_end|>\n\
             <|im_start|>assistant\ntext 2<|im_end|>\n<|im_start|>user\ntext 3<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(
            render("llama3", &talk, true),
            "<s><|start_header_id|>system<|end_header_id|>\n\ntext 0<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\ntext 1<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\ntext 2<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\ntext 3<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        );
        assert_eq!(
            render("mistral", &talk, true),
            "<s>[INST] text 0\n\ntext 1 [/INST] text 2</s>[INST] text 3 [/INST]"
        );
        assert_eq!(
            render("alpaca", &talk, true),
            "text 0\n\n### Instruction:\ntext 1\n\n### Response:\ntext 2</s>\n\n### Instruction:\ntext 3\n\n### Response:\n"
        );
        assert_eq!(
            render("exaone", &talk[1..], false),
            "[|system|][|endofturn|]\n[|user|]text 0\n[|assistant|]text 1[|endofturn|]\n[|user|]text 2\n"
        );
    }
}
