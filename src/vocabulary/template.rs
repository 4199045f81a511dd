//! Chat templates: the inputs' own, the well-known ones, or the recipe's.

use serde_json::Value;

use super::notice::list;
use super::tokenizer::token_ids;
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

/// Warns of markers in a chat template for which the output's tokenizer has no token: a model that was trained with
/// them sees other ids. Markers are what is written like one, and added tokens of the `inputs`' tokenizers.
pub fn check_markers(
    words: &Located<String>,
    template: &str,
    tokenizer: &[u8],
    inputs: impl Iterator<Item = Vec<u8>>,
    problems: &mut Problems,
) {
    // What is wrong with the file is said elsewhere.
    let Ok(json) = serde_json::from_slice::<Value>(tokenizer) else { return };
    let Ok(known) = token_ids("tokenizer.json", &json) else { return };
    let mut markers: Vec<String> = written_like_one(template);
    let mut seen: Vec<Vec<u8>> = vec![tokenizer.to_vec()];
    for bytes in inputs {
        if seen.contains(&bytes) {
            continue;
        }
        let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let added = json["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
        let contents = added.iter().filter_map(|token| token.get("content")?.as_str());
        let marked = contents.filter(|token| token.len() > 2 && token.starts_with(['<', '[']));
        markers.extend(marked.filter(|token| template.contains(token)).map(str::to_owned));
        seen.push(bytes);
    }
    markers.retain(|marker| !known.contains_key(marker));
    markers.sort_by_key(|marker| template.find(marker.as_str()));
    markers.dedup();
    if markers.is_empty() {
        return;
    }
    let what = format!(
        "the chat template writes markers that are no tokens of the output's tokenizer, which makes several tokens \
         of each: {}",
        list(markers.iter().map(String::as_str))
    );
    let hint =
        "name them under `tokenizer: {source: base, tokens: …}`, or choose a template of the tokenizer's own";
    problems.push(words.place.warning(what).hint(hint));
}

/// As in `<|im_start|>`, `[|user|]`, `<｜end▁of▁sentence｜>` and `<start_of_turn>`: nobody writes such as text.
fn written_like_one(template: &str) -> Vec<String> {
    let inside = r#"[^|｜<>\[\]\s'"{}+~]"#;
    let bars = format!(r"<\|{inside}+\|>|<｜{inside}+｜>|\[\|{inside}+\|\]|<(?:start|end)_of_[a-z]+>");
    let Ok(pattern) = regex::Regex::new(&bars) else { return Vec::new() };
    pattern.find_iter(template).map(|found| found.as_str().to_owned()).collect()
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
    fn markers_are_known_by_their_bars() {
        let text =
            "{{ '<|' + role + '|>' }}<|im_end|>{% if a<b %}[|user|] a<|b <｜User｜><end_of_turn>[INST]";
        assert_eq!(written_like_one(text), ["<|im_end|>", "[|user|]", "<｜User｜>", "<end_of_turn>"]);
        let all: Vec<String> = BUILT_IN.iter().flat_map(|(_, text)| written_like_one(text)).collect();
        for marker in ["<|im_start|>", "[|endofturn|]", "<|eot_id|>"] {
            assert!(all.iter().any(|m| m == marker), "{marker}: {all:?}");
        }
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
