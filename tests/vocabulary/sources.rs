//! Models that are named for their tokenizer or for a row: which of them is meant, and what is wrong with it.

use std::path::{Path, PathBuf};

use growmerge::plan::Plan;
use growmerge::plan::PlanOptions;
use growmerge::recipe::Reading;
use serde_json::{Value, json};

use crate::support::{self, plan, refusal};
use crate::{adapter, file, golden, two};

fn input(name: &str) -> PathBuf {
    golden().join("inputs").join(name)
}

/// Gives an adapter a tokenizer that can be told from that of `et`, and a template.
fn save_tokenizer(adapter: &Path) -> Vec<u8> {
    let of_base = std::fs::read(input("et").join("tokenizer.json")).unwrap();
    let mut own: Value = serde_json::from_slice(&of_base).unwrap();
    own["added_tokens"][0]["lstrip"] = json!(true);
    std::fs::write(adapter.join("tokenizer.json"), own.to_string()).unwrap();
    std::fs::write(adapter.join("chat_template.jinja"), "{{ mine }}").unwrap();
    own.to_string().into_bytes()
}

#[test]
fn an_adapter_that_is_not_merged_gives_the_tokenizer_that_it_was_saved_with() {
    let folder = tempfile::tempdir().unwrap();
    let (et, adapter) = (input("et"), adapter(folder.path()));
    let rule = format!("tokenizer_source: {}+{}\n", et.display(), adapter.display());
    // Without one it has its model's, and saying so has no effect.
    let planned = plan(&two(&rule));
    let of_et = std::fs::read(et.join("tokenizer.json")).unwrap();
    assert_eq!(file(&planned, "tokenizer.json").unwrap(), of_et);
    let told = planned.warnings.to_string();
    assert!(told.contains(&format!("adapter {} has no tokenizer.json", adapter.display())), "{told}");
    let own = save_tokenizer(&adapter);
    let mapped = format!("tokenizer: {{source: {{model: {}, lora: {}}}}}\n", et.display(), adapter.display());
    for rule in [rule, mapped] {
        let planned = plan(&two(&rule));
        assert_eq!(file(&planned, "tokenizer.json").unwrap(), own);
        assert_eq!(file(&planned, "chat_template.jinja").unwrap(), b"{{ mine }}");
        assert!(!planned.warnings.to_string().contains("has no tokenizer.json"), "{}", planned.warnings);
    }
    // Of two models with one path, the one that is named gives it.
    let merged = |source: &str| {
        let models = two(&format!("tokenizer_source: {source}\n"))
            .replace("inputs/fo", &format!("inputs/et+{}", adapter.display()));
        file(&plan(&models), "tokenizer.json").unwrap()
    };
    assert_eq!(merged(&et.display().to_string()), of_et);
    assert_eq!(merged(&format!("{}+{}", et.display(), adapter.display())), own);
}

#[test]
fn a_tokenizer_that_is_not_there_is_told_by_why() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = adapter(folder.path());
    let (et, gone) = (input("et").display().to_string(), folder.path().join("gone").display().to_string());
    for (source, wanted) in [
        (gone.clone(), "no such folder\n"),
        (gone.clone(), "a tokenizer's source is union, base, or a model with a tokenizer.json"),
        ("unoin".to_owned(), "did you mean `union`?"),
        (format!("{}x", input("en").display()), "did you mean `"),
        (format!("{et}+{gone}"), "an adapter is a folder"),
        (format!("{et}@v1"), "has no revision `v1`: it is a local path"),
        (adapter.display().to_string(), "the model has no tokenizer.json"),
    ] {
        let told = refusal(&two(&format!("tokenizer_source: {source}\n")));
        assert!(told.contains(wanted) && told.contains(" --> recipe.yaml:"), "{source}:\n{told}");
    }
    let told = refusal(&two(&format!("tokenizer_source: {gone}\n")));
    assert!(!told.contains("has no tokenizer.json"), "{told}");
}

#[test]
fn a_stage_gives_its_tokenizer_only_where_it_is_merged() {
    let first = format!("name: first\n{}", two("tokenizer_source: union\n"));
    let second = |models: &str| {
        format!(
            "{first}---\nmerge_method: linear\nbase_model: {}\nmodels: [{models}]\nparameters: {{weight: 1}}\n\
             tokenizer_source: first\n",
            input("en").display()
        )
    };
    let build = |text: &str| Plan::from_reading(Reading::parse("recipe.yaml", text), &PlanOptions::default());
    let et = input("et").display().to_string();
    let told = build(&second(&format!("{{model: {et}}}"))).unwrap_err().to_string();
    assert!(told.contains("stage `first` is not among the models that are merged here"), "{told}");
    assert!(told.contains("with `--keep first`") && !told.contains("has no tokenizer.json"), "{told}");
    let planned = build(&second("{model: first}")).unwrap();
    let written = plan(&two("tokenizer_source: union\n"));
    assert_eq!(file(&planned, "tokenizer.json"), file(&written, "tokenizer.json"));
}

#[test]
fn rows_are_those_of_the_model_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = adapter(folder.path()).display().to_string();
    let (en, et) = (input("en").display().to_string(), input("et").display().to_string());
    let recipe = |models: &[&str], source: &str| {
        let models: Vec<PathBuf> = models.iter().map(PathBuf::from).collect();
        let rule = format!(
            "tokenizer: {{source: base, tokens: {{new: {{source: {{kind: model_token, model: {source}, token_id: 0}}}}}}}}\n"
        );
        support::recipe("linear", Some(Path::new(&en)), &models, "{weight: 1}") + &rule
    };
    let adapted = format!("{et}+{adapter}");
    // The adapter was not asked for by the models.
    let told = refusal(&recipe(&[&et], &adapted));
    assert!(told.contains(&format!("{adapted} is not among the models that are merged")), "{told}");
    assert!(told.contains(&format!("of it there is `{et}`: name the one that is meant")), "{told}");
    // One form of a model is known by its path, two are not.
    plan(&recipe(&[&adapted], &et));
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(folder.path().join("adapter").join(file), other.join(file)).unwrap();
    }
    let second = format!("{et}+{}", other.display());
    let told = refusal(&recipe(&[&adapted, &second], &et));
    assert!(told.contains(&format!("of it there is `{adapted}` and `{second}`")), "{told}");
}
