//! What is refused, and how it is said.

use std::path::Path;

use growmerge::device::cpu::Cpu;

use crate::support;
use crate::support::{Noise, plan, refusal, run};
use crate::{TABLES, checkpoint, list, row, words};

#[test]
fn without_a_rule_rows_of_different_tokens_are_never_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(7);
    let mut make = |name: &str, tokens: &[&str], rows: usize| {
        checkpoint(&folder.path().join(name), &list(tokens), 1, rows, false, &mut noise).path
    };
    let a = make("a", &["[UNK]", "x", "y", "</s>"], 6);
    let other = make("other", &["[UNK]", "y", "x", "</s>"], 6);
    let more = make("more", &["[UNK]", "x", "y", "</s>", "<s>"], 6);
    // Five tokens, the last two of them added.
    std::fs::write(
        more.join("tokenizer.json"),
        words(&list(&["[UNK]", "x", "y", "</s>", "<s>"]), 2).to_string(),
    )
    .unwrap();
    let padded = make("padded", &["[UNK]", "x", "y", "</s>"], 9);
    let recipe = |model: &Path, rule: &str| {
        format!(
            "merge_method: linear\nbase_model: {}\nmodels:\n  - model: {}\nparameters: {{weight: 1}}\n{rule}",
            a.display(),
            model.display()
        )
    };
    let told = refusal(&recipe(&other, ""));
    assert!(
        told.contains("2 ids stand for another token, the first being 1, `y` here and `x` there"),
        "{told}"
    );
    assert!(told.contains("`tokenizer_source: base` or `tokenizer_source: union`"), "{told}");
    plan(&recipe(&other, "tokenizer_source: base\n"));
    let warned = plan(&recipe(&more, "")).warnings.to_string();
    assert!(warned.contains("1 of its tokens are not in the vocabulary"), "{warned}");
    // Flags alone are no other vocabulary.
    let flags = std::fs::read_to_string(a.join("tokenizer.json"))
        .unwrap()
        .replace("\"special\":true", "\"special\":false");
    std::fs::write(other.join("tokenizer.json"), flags).unwrap();
    assert!(plan(&recipe(&other, "")).warnings.is_empty());
    // Padding alone is none either: every model gets the base's rows.
    let planned = plan(&recipe(&padded, ""));
    assert!(
        planned.warnings.to_string().contains("one vocabulary, but matrices of unequal size"),
        "{}",
        planned.warnings
    );
    let merged = run(&planned, &Cpu::new(), 1).unwrap();
    assert_eq!(merged[TABLES[0]].shape, [6, 5]);
    let [one, two] = [&a, &padded].map(|path| support::read(path));
    for id in 0..6 {
        let mean: Vec<f64> = row(&one, TABLES[0], id)
            .iter()
            .zip(row(&two, TABLES[0], id))
            .map(|(a, b)| (a + b) / 2.0)
            .collect();
        let got = row(&merged, TABLES[0], id);
        assert!(got.iter().zip(&mean).all(|(a, b)| (a - b).abs() < 1e-6));
    }
    // Another vocabulary and another size: refused with the way out.
    let larger = make("larger", &["[UNK]", "y", "x", "z", "</s>"], 9);
    let told = refusal(&recipe(&larger, ""));
    assert!(told.contains("shapes differ: [9, 5]") && told.contains("`tokenizer_source: union`"), "{told}");
}

#[test]
fn what_is_wrong_with_a_vocabulary_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(3);
    let tokens = list(&["[UNK]", "x", "yellow", "</s>"]);
    let a = checkpoint(&folder.path().join("a"), &tokens, 1, 4, false, &mut noise).path;
    let b = checkpoint(&folder.path().join("b"), &tokens, 1, 4, false, &mut noise).path;
    let recipe = |rule: &str| {
        let rule = rule.replace("@B@", b.to_str().unwrap());
        format!(
            "merge_method: linear\nbase_model: {}\nmodels:\n  - model: {}\nparameters: {{weight: 1}}\n{rule}\n",
            a.display(),
            b.display()
        )
    };
    for (rule, wanted) in [
        ("tokenizer_source: union\ntokenizer: {source: base}", "exclude each other"),
        ("tokenizer: {source: union, pad_to_multiple_of: 0}", "must be a whole number from 1"),
        ("tokenizer: {sorce: union}", "did you mean `source`?"),
        (
            "tokenizer: {tokens: {x: {source: {kind: model_token, model: @B@}}}}",
            "needs either `token` or `token_id`",
        ),
        (
            "tokenizer: {tokens: {x: {source: {kind: zero, token_id: 0}}}}",
            "goes with `kind: model_token` only",
        ),
        (
            "tokenizer: {tokens: {x: {source: {kind: zero, model: @B@}}}}",
            "`model` goes with `kind: model_token`",
        ),
        ("tokenizer: {tokens: {x: {source: {kind: mean}}}}", "unknown kind `mean`"),
        ("tokenizer: {tokens: {x: {force: true}}}", "`force` needs a `source`"),
        (
            "tokenizer: {tokens: {x: {source: {kind: model_token, model: @B@, token: yelow}}}}",
            "did you mean `yellow`?",
        ),
        (
            "tokenizer: {tokens: {x: {source: {kind: model_token, model: @B@, token_id: 4}}}}",
            "token_id 4 is beyond the 4 rows",
        ),
        ("tokenizer: {tokens: {new: {source: @B@}}}", "has no token `new`"),
        (
            "tokenizer: {tokens: {x: {source: recipes/quickstart/en}}}",
            "is not among the models that are merged",
        ),
        ("tokenizer_source: recipes/quickstart", "has no tokenizer.json"),
        ("chat_template: chatlm", "did you mean `chatml`?"),
    ] {
        let told = refusal(&recipe(rule));
        assert!(told.contains(wanted), "{rule}:\n{told}");
    }
    let whole = std::fs::read_to_string(b.join("tokenizer.json")).unwrap();
    for (text, wanted) in [
        ("{".to_owned(), "is not a tokenizer"),
        ("{}".to_owned(), "it has no `model`"),
        (whole.replace("\"id\":3", "\"id\":2"), "tokens `yellow` and `</s>` both have id 2"),
        (whole.replace("\"id\":3", "\"id\":9"), "has id 9, but loads as 3"),
        (whole.replace("\"yellow\":2", "\"yellow\":1"), "both have id 1"),
        (whole.replace("WordLevel", "Novel"), "of a kind that is not known"),
    ] {
        assert_ne!(text, whole);
        std::fs::write(b.join("tokenizer.json"), &text).unwrap();
        let told = refusal(&recipe("tokenizer_source: union"));
        assert!(told.contains(wanted), "{text}:\n{told}");
    }
    std::fs::remove_file(b.join("tokenizer.json")).unwrap();
    let warned = plan(&recipe("tokenizer_source: union")).warnings.to_string();
    assert!(warned.contains("is taken to have that of"), "{warned}");
}

/// A head that its config says is not tied is not the embedding, in a union either.
#[test]
fn a_head_that_is_said_to_be_untied_must_be_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(37);
    let a =
        checkpoint(&folder.path().join("a"), &list(&["[UNK]", "x", "</s>"]), 1, 3, false, &mut noise).path;
    let b = checkpoint(&folder.path().join("b"), &list(&["[UNK]", "y", "</s>"]), 1, 3, true, &mut noise).path;
    let recipe = support::recipe("linear", Some(&a), std::slice::from_ref(&b), "{weight: 1}");
    let union = format!("{recipe}tokenizer_source: union\n");
    let merged = run(&plan(&union), &Cpu::new(), 1).unwrap();
    assert_eq!(merged[TABLES[1]].shape, [4, 5]);
    let config = serde_json::json!({"model_type": "llama", "vocab_size": 3, "tie_word_embeddings": false});
    std::fs::write(b.join("config.json"), config.to_string()).unwrap();
    let told = refusal(&union);
    assert!(told.contains("lm_head.weight: rows of it are needed, but"), "{told}");
    assert!(told.contains("not tied to the embedding, so it must be stored"), "{told}");
    // Where no row of another model is needed, it is missing all the same.
    let told = refusal(&format!("{recipe}tokenizer_source: {}\n", b.display()));
    assert!(told.contains("lm_head.weight"), "{told}");
}
