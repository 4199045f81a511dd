//! Chat templates.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support;
use crate::support::{Noise, plan};
use crate::{checkpoint, file, list};

#[test]
fn chat_templates_are_the_majoritys_or_the_recipes() {
    let folder = tempfile::tempdir().unwrap();
    let tokens: Vec<String> = ["[UNK]", "x", "</s>"].map(str::to_owned).to_vec();
    let mut noise = Noise(5);
    let made: Vec<PathBuf> = ["a", "b", "c"]
        .map(|name| checkpoint(&folder.path().join(name), &tokens, 1, 3, false, &mut noise).path)
        .to_vec();
    let template = |at: &Path, text: &str| {
        std::fs::write(at.join("tokenizer_config.json"), json!({"chat_template": text, "x": 1}).to_string())
            .unwrap();
    };
    template(&made[0], "{{ one }}");
    template(&made[1], "{{ two }}");
    std::fs::write(made[2].join("chat_template.jinja"), "{{ two }}\n").unwrap();
    let recipe = |rule: &str| support::recipe("linear", None, &made, "{weight: 1}") + rule;
    let written = |rule: &str| {
        let planned = plan(&recipe(rule));
        let text = |name: &str| file(&planned, name).map(|bytes| String::from_utf8(bytes).unwrap());
        let config: Value = serde_json::from_str(&text("tokenizer_config.json").unwrap()).unwrap();
        (text("chat_template.jinja"), config["chat_template"].as_str().unwrap().to_owned())
    };
    assert_eq!(written(""), (None, "{{ one }}".into()));
    assert_eq!(written("chat_template: auto\n"), (Some("{{ two }}".into()), "{{ two }}".into()));
    assert!(written("chat_template: chatml\n").0.unwrap().contains("<|im_start|>"));
    let own = "{% for m in messages %}{{ m.content }}{% endfor %}";
    assert_eq!(written(&format!("chat_template: \"{own}\"\n")), (Some(own.into()), own.into()));
    let warned = plan(&recipe("chat_template: \"{% for %}\"\n")).warnings.to_string();
    assert!(warned.contains("may be no Jinja"), "{warned}");
}

#[test]
fn markers_that_the_tokenizer_does_not_know_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(31);
    let mut make = |name: &str, tokens: &[&str], added: usize| {
        checkpoint(&folder.path().join(name), &list(tokens), added, tokens.len(), false, &mut noise).path
    };
    let plain = make("plain", &["[UNK]", "x", "</s>"], 1);
    let chat = make("chat", &["[UNK]", "x", "</s>", "<|im_start|>", "<|im_end|>", "[INST]"], 4);
    let told = |base: &Path, rule: &str| {
        let models = [if base == plain { &chat } else { &plain }.clone()];
        plan(&(support::recipe("linear", Some(base), &models, "{weight: 1}") + rule + "\n"))
            .warnings
            .to_string()
    };
    let base = "tokenizer_source: base\nchat_template: ";
    let warned = told(&plain, &format!("{base}chatml"));
    assert!(warned.contains("several tokens of each: `<|im_start|>`, `<|im_end|>`\n"), "{warned}");
    assert!(warned.contains("chat_template: chatml"), "the line is shown: {warned}");
    // Text that is a token of a model is a marker, whatever it looks like; else it is text.
    let warned = told(&plain, &format!("{base}\"{{{{ '[INST]' }}}} [/INST] <b>\""));
    assert!(warned.contains("several tokens of each: `[INST]`\n"), "{warned}");
    for known in [
        told(&chat, &format!("{base}chatml")),
        told(&plain, "tokenizer_source: union\nchat_template: chatml"),
        told(
            &plain,
            "tokenizer: {source: base, tokens: {\"<|im_start|>\": , \"<|im_end|>\": }}\nchat_template: chatml",
        ),
        told(&plain, &format!("{base}alpaca")),
    ] {
        assert_eq!(known, "");
    }
    // Without a rule for the vocabulary too, and with what `auto` finds.
    std::fs::write(plain.join("chat_template.jinja"), "{{ '<start_of_turn>' }}").unwrap();
    let alone = support::recipe("linear", None, std::slice::from_ref(&plain), "{weight: 1}");
    let warned = plan(&(alone + "chat_template: auto\n")).warnings.to_string();
    assert!(warned.contains("several tokens of each: `<start_of_turn>`\n"), "{warned}");
}
