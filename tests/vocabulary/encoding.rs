//! How texts become tokens with a vocabulary that grew.

use growmerge::device::cpu::Cpu;
use serde_json::{Value, json};

use crate::support::{Noise, plan, run};
use crate::{TABLES, checkpoint, golden, tokenizer, two};

#[test]
fn a_union_encodes_as_its_base_where_no_new_token_stands() {
    let planned = plan(&two("tokenizer_source: union\n"));
    let written = tokenizer(&planned);
    let base = tokenizers::Tokenizer::from_file(golden().join("inputs/en/tokenizer.json")).unwrap();
    let first_new = base.get_vocab_size(true) as u32;
    let encode = |t: &tokenizers::Tokenizer, text: &str| t.encode(text, false).unwrap().get_ids().to_vec();
    let english = "the others walked over the frozen river";
    assert_eq!(encode(&written, english), encode(&base, english));
    // Words of the other language are fewer tokens than before, and come back as the same text.
    let text = "tey gingu um ána føroyskt <|fo|> hinumegin";
    let (before, after) = (encode(&base, text), encode(&written, text));
    assert!(after.len() < before.len() && after.iter().any(|id| *id >= first_new), "{after:?}");
    // (`føroyskt` is an added token, and as such does not survive the decoder of its own tokenizer either.)
    let plain = text.replace(" føroyskt", "");
    assert_eq!(written.decode(&encode(&written, &plain), false).unwrap(), plain);
    // New tokens replace whole tokens of the base: none of those is cut, so what stands between is unchanged.
    for text in [
        english,
        plain.as_str(),
        "sumarið við ána, the otherwise frozen summer: järve jõgi 12",
        "hitherto  ootasid",
    ] {
        let ends = |t: &tokenizers::Tokenizer| -> std::collections::BTreeSet<usize> {
            t.encode(text, false).unwrap().get_offsets().iter().map(|(_, end)| *end).collect()
        };
        assert!(ends(&written).is_subset(&ends(&base)), "{text}");
    }
    let vocabulary = planned.vocabulary.as_ref().unwrap();
    assert!(
        vocabulary
            .models
            .iter()
            .all(|m| m.counts.kept + m.counts.remapped + m.counts.added == vocabulary.tokens)
    );
    assert!(
        vocabulary.models[0].counts.remapped > 0
            && vocabulary.models[0].sample.same < vocabulary.models[0].sample.texts
    );
    assert_eq!(vocabulary.models[1].counts.kept as u32, first_new);
}

/// Two models of three elements a row with these tokenizers; the union's plan.
fn union_of(base: &Value, other: &Value) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(17);
    for (name, json) in [("base", base), ("other", other)] {
        let text = json.to_string();
        let rows = tokenizers::Tokenizer::from_bytes(&text).unwrap().get_vocab_size(true);
        let tokens = vec!["?".to_owned()];
        let made = checkpoint(&folder.path().join(name), &tokens, 1, rows, false, &mut noise);
        std::fs::write(made.path.join("tokenizer.json"), text).unwrap();
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let recipe = format!(
        "merge_method: linear\nbase_model: {}\nmodels:\n  - model: {}\nparameters: {{weight: 1}}\ntokenizer_source: union\n",
        path("base"),
        path("other")
    );
    (folder, recipe)
}

fn added(id: usize, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": true})
}

fn file_of(model: &Value, added: &[Value], pre_tokenizer: &Value) -> Value {
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
           "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null, "model": model})
}

#[test]
fn every_kind_of_tokenizer_reaches_its_new_tokens() {
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let unigram = |pieces: &[(&str, f64)], special: &str| {
        let model = json!({"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": false});
        file_of(&model, &[added(pieces.len(), special)], &metaspace)
    };
    let pieces = |tokens: &[&str], prefix: &str| {
        let vocab: serde_json::Map<String, Value> =
            tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
        let model = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": prefix,
                           "max_input_chars_per_word": 100, "vocab": vocab});
        file_of(&model, &[], &json!({"type": "Whitespace"}))
    };
    let bpe = |tokens: &[&str], merges: &Value, special: &[Value]| {
        let vocab: serde_json::Map<String, Value> =
            tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
        let model =
            json!({"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "vocab": vocab, "merges": merges});
        file_of(&model, special, &metaspace)
    };
    let cases = [
        (
            unigram(&[("<unk>", 0.0), ("▁", -2.0), ("a", -2.0), ("b", -2.0), ("▁a", -2.5)], "</s>"),
            unigram(&[("<unk>", 0.0), ("▁", -3.0), ("b", -2.0), ("▁ba", -2.1), ("a", -2.2)], "<x>"),
            // Text, with the base, with the union: `▁ba` is 6 behind `</s>`.
            vec![("a ab", vec![4, 4, 3], vec![4, 4, 3]), ("ba a</s>", vec![1, 3, 2, 4, 5], vec![6, 4, 5])],
        ),
        (
            pieces(&["[UNK]", "a", "##b", "##c", "ab"], "##"),
            pieces(&["##bc", "a", "[UNK]", "##b"], "##"),
            vec![("ab ac", vec![4, 1, 3], vec![4, 1, 3]), ("abc aabc", vec![4, 3, 0], vec![4, 3, 0])],
        ),
        (
            bpe(&["<unk>", "▁", "a", "b", "c", "▁a"], &json!(["▁ a"]), &[added(6, "</s>")]),
            bpe(
                &["<unk>", "c", "b", "▁", "bc", "a", "▁a", "ab"],
                &json!([["b", "c"], ["a", "b"], ["▁", "a"]]),
                &[],
            ),
            // `bc` and `ab` are new; what the base merges is merged first, so `▁a` stays whole.
            vec![
                ("abc</s> a", vec![5, 3, 4, 6, 5], vec![5, 7, 6, 5]),
                ("c aab", vec![1, 4, 5, 2, 3], vec![1, 4, 5, 8]),
            ],
        ),
    ];
    for (base, other, texts) in cases {
        let (_folder, recipe) = union_of(&base, &other);
        let planned = plan(&recipe);
        assert!(planned.warnings.is_empty(), "{}", planned.warnings);
        let written = tokenizer(&planned);
        let base = tokenizers::Tokenizer::from_bytes(base.to_string()).unwrap();
        for (text, before, after) in texts {
            assert_eq!(base.encode(text, false).unwrap().get_ids(), before, "{text}");
            assert_eq!(written.encode(text, false).unwrap().get_ids(), after, "{text}");
        }
        let merged = run(&planned, &Cpu::new(), 1).unwrap();
        assert_eq!(merged[TABLES[0]].shape[0], written.get_vocab_size(true));
    }
}

#[test]
fn tokens_that_are_spelled_otherwise_are_told_of() {
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let model = json!({"type": "BPE", "unk_token": "<unk>", "vocab": {"<unk>": 0, "▁": 1, "a": 2, "▁a": 3}, "merges": ["▁ a"]});
    let other = file_of(&model, &[], &metaspace);
    let base = std::fs::read(golden().join("inputs/en/tokenizer.json")).unwrap();
    let (_folder, recipe) = union_of(&serde_json::from_slice(&base).unwrap(), &other);
    let warned = plan(&recipe).warnings.to_string();
    assert!(
        warned.contains("get rows, but texts do not reach them: it is Bpe over characters, with `▁`"),
        "{warned}"
    );
}
