//! Vocabularies: against mergekit's matrices, against a naive version, and files that other programs read.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod oracle;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use growmerge::device::cpu::Cpu;
use growmerge::plan::{Contents, Plan};
use oracle::vocabulary::{Model, Rule, matrix, union};
use serde_json::{Value, json};
use support::{Noise, Tensors, f32s, merge, plan, refusal, run, stored, values};

const TABLES: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vocabulary")
}

fn golden_recipe(name: &str) -> String {
    let text = std::fs::read_to_string(golden().join(format!("recipes/{name}.yaml"))).unwrap();
    text.replace("@IN@", golden().join("inputs").to_str().unwrap())
}

/// A file that a plan would write beside the weights.
fn file(plan: &Plan, name: &str) -> Option<Vec<u8>> {
    let found = plan.companions.iter().find(|c| c.name == name)?;
    Some(match &found.contents {
        Contents::Of(place) => place.read().unwrap(),
        Contents::Bytes(bytes) => bytes.clone(),
    })
}

fn tokenizer(plan: &Plan) -> tokenizers::Tokenizer {
    tokenizers::Tokenizer::from_bytes(file(plan, "tokenizer.json").unwrap()).unwrap()
}

/// The planned token-to-id map, as the tokenizer that is written has it.
fn ids(plan: &Plan) -> BTreeMap<String, usize> {
    tokenizer(plan).get_vocab(true).into_iter().map(|(token, id)| (token, id as usize)).collect()
}

fn row(tensors: &Tensors, name: &str, row: usize) -> Vec<f64> {
    let width = tensors[name].shape[1];
    values(&tensors[name])[row * width..(row + 1) * width].to_vec()
}

/// mergekit numbers new tokens as its hash tables have them, so rows are compared by token.
#[test]
fn matrices_are_mergekits_token_by_token() {
    for entry in std::fs::read_dir(golden().join("recipes")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let planned = plan(&golden_recipe(&name));
        let got = run(&planned, &Cpu::new(), 2).unwrap();
        let want = support::read_file(&golden().join(format!("outputs/{name}.safetensors")));
        let text = std::fs::read_to_string(golden().join(format!("outputs/{name}.json"))).unwrap();
        let recorded: Value = serde_json::from_str(&text).unwrap();
        let theirs: BTreeMap<String, usize> = serde_json::from_value(recorded["tokens"].clone()).unwrap();
        let ours = ids(&planned);
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name}");
        assert_eq!(planned.config.as_ref().unwrap()["vocab_size"], recorded["vocab_size"], "{name}");
        // The tokens that mergekit began with have its ids.
        let first = match name.as_str() {
            "model" => "fo",
            "union_linear" => "et",
            _ => "en",
        };
        let first = tokenizers::Tokenizer::from_file(golden().join(format!("inputs/{first}/tokenizer.json")))
            .unwrap();
        for (token, id) in first.get_vocab(true) {
            assert_eq!((ours[&token], theirs[&token]), (id as usize, id as usize), "{name}: {token}");
        }
        for table in TABLES {
            assert_eq!(got[table].shape, want[table].shape, "{name}");
            let padding = ours.len()..got[table].shape[0];
            let tokens = theirs.iter().map(|(token, id)| (ours[token], *id, token.as_str()));
            for (here, there, token) in tokens.chain(padding.map(|id| (id, id, "padding"))) {
                let (got, want) = (row(&got, table, here), row(&want, table, there));
                let off = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                // mergekit fuses multiply and add, and takes means in f32.
                assert!(off <= 1e-7, "{name}: {table} {token} is off by {off:e}");
            }
        }
    }
}

/// A tokenizer of whole words between spaces, with added tokens behind them.
fn words(tokens: &[String], added: usize) -> Value {
    let plain = tokens.len() - added;
    let vocab: serde_json::Map<String, Value> =
        tokens[..plain].iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let flags = |(i, token): (usize, &String)| {
        json!({"id": plain + i, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let added: Vec<Value> = tokens[plain..].iter().enumerate().map(flags).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": tokens[0]}
    })
}

struct Made {
    path: PathBuf,
    /// Embedding and head.
    tables: [Model; 2],
}

/// A checkpoint of an embedding, a head (unless it is tied) and one other tensor.
fn checkpoint(
    folder: &Path,
    tokens: &[String],
    added: usize,
    rows: usize,
    tied: bool,
    noise: &mut Noise,
) -> Made {
    let width = 5;
    let mut table = || -> Vec<Vec<f64>> {
        (0..rows).map(|_| (0..width).map(|_| f64::from(noise.next())).collect()).collect()
    };
    let embedding = table();
    let head = if tied { embedding.clone() } else { table() };
    let flat = |rows: &[Vec<f64>]| f32s(&[rows.len(), width], rows.iter().flatten().map(|x| *x as f32));
    let mut tensors = Tensors::new();
    tensors.insert(TABLES[0].into(), flat(&embedding));
    if !tied {
        tensors.insert(TABLES[1].into(), flat(&head));
    }
    tensors.insert("model.norm.weight".into(), f32s(&[width], (0..width).map(|i| i as f32)));
    std::fs::create_dir_all(folder).unwrap();
    support::save(&folder.join("model.safetensors"), &tensors);
    let config = json!({"model_type": "llama", "vocab_size": rows, "bos_token_id": 0, "eos_token_id": tokens.len() - 1});
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), words(tokens, added).to_string()).unwrap();
    let model = |matrix| Model { tokens: tokens.to_vec(), added, matrix };
    Made { path: folder.to_owned(), tables: [model(embedding), model(head)] }
}

/// Three models over overlapping random vocabularies; some have padding, one has tokens without a row.
fn three(folder: &Path, seed: u64) -> Vec<Made> {
    let mut noise = Noise(seed);
    let mut made = Vec::new();
    for (m, name) in ["a", "b", "c"].into_iter().enumerate() {
        let mut tokens = vec!["[UNK]".to_owned()];
        for word in 0..24 {
            if noise.next() < 0.2 {
                tokens.push(format!("w{word}"));
            }
        }
        // Each its own order, so that ids differ.
        let len = tokens.len() - 1;
        tokens[1..].rotate_left((m * 5) % len.max(1));
        let mut added = 0;
        for special in ["<s>", "</s>", "<x>"] {
            if noise.next() < 0.4 {
                tokens.push(special.into());
                added += 1;
            }
        }
        tokens.push(format!("<{name}>"));
        added += 1;
        let rows = match m {
            0 => tokens.len() + 6,
            1 => tokens.len() - 1,
            _ => tokens.len() + 11,
        };
        made.push(checkpoint(&folder.join(name), &tokens, added, rows, m == 2, &mut noise));
    }
    made
}

/// A linear merge with fixed weights, and what it must be.
fn against_the_oracle(
    made: &[Made],
    base: usize,
    rule: &str,
    first: Option<usize>,
    rules: &dyn Fn(usize) -> Vec<Rule>,
    multiple: usize,
) {
    let weights = [0.5, 0.25, 0.75];
    let mut text = format!("merge_method: linear\nbase_model: {}\nmodels:\n", made[base].path.display());
    for (model, weight) in made.iter().zip(weights) {
        text += &format!("  - model: {}\n    parameters: {{weight: {weight}}}\n", model.path.display());
    }
    text += rule;
    let planned = plan(&text);
    let got = run(&planned, &Cpu::new(), 1).unwrap();
    let small = run(&planned, &Cpu::new().with_block_elements(growmerge::device::LINE), 3).unwrap();
    let mut ours: Vec<(String, usize)> = ids(&planned).into_iter().collect();
    ours.sort_by_key(|(_, id)| *id);
    for (t, table) in TABLES.into_iter().enumerate() {
        let models: Vec<Model> = made.iter().map(|m| m.tables[t].clone()).collect();
        let mut tokens = match first {
            Some(first) => models[first].tokens.clone(),
            None => union(&models, base),
        };
        for rule in rules(t) {
            if !tokens.contains(&rule.token) {
                tokens.push(rule.token);
            }
        }
        assert_eq!(
            ours.iter().map(|(token, _)| token).collect::<Vec<_>>(),
            tokens.iter().collect::<Vec<_>>()
        );
        let owner = first.unwrap_or(base);
        let rows = match multiple {
            0 => tokens.len().max(models[owner].matrix.len()),
            n => tokens.len().div_ceil(n) * n,
        };
        let matrices: Vec<Vec<f64>> =
            (0..3).map(|m| matrix(&models, m, base, owner, &tokens, rows, &rules(t)).concat()).collect();
        let want = oracle::linear(&matrices, &weights, true);
        assert_eq!(got[table].shape, [rows, 5], "{rule}");
        for (i, (got, want)) in values(&got[table]).iter().zip(&want).enumerate() {
            assert!((got - want).abs() < 1e-6, "{rule}: {table} row {} is {got}, not {want}", i / 5);
        }
        assert!(got[table].bytes == small[table].bytes, "blocks and threads change nothing");
        assert_eq!(planned.config.as_ref().unwrap()["vocab_size"], json!(rows));
    }
}

#[test]
fn every_row_is_the_oracles() {
    let mut fresh = Noise(std::process::id().into());
    for _ in 0..8 {
        let seed = u64::from(fresh.next().to_bits());
        let folder = tempfile::tempdir().unwrap();
        let made = three(folder.path(), seed);
        println!("seed {seed}");
        let none = |_: usize| Vec::new();
        against_the_oracle(&made, 0, "tokenizer_source: union\n", None, &none, 0);
        against_the_oracle(&made, 1, "tokenizer_source: union\n", None, &none, 0);
        against_the_oracle(&made, 0, "tokenizer_source: base\n", Some(0), &none, 0);
        against_the_oracle(&made, 1, "tokenizer_source: base\n", Some(1), &none, 0);
        let c = format!("tokenizer_source: {}\n", made[2].path.display());
        against_the_oracle(&made, 0, &c, Some(2), &none, 0);
        against_the_oracle(&made, 2, "tokenizer: {pad_to_multiple_of: 16}\n", None, &none, 16);
        let path = |m: usize| made[m].path.display();
        let rule = format!(
            "tokenizer:\n  source: base\n  tokens:\n    \"<new>\": {{source: {{kind: model_token, model: {}, token: \"<c>\"}}}}\n    \
             \"<a>\": {{source: {{kind: zero}}, force: true}}\n    \"<c>\": {{source: {}}}\n    \
             \"[UNK]\": {{source: {{kind: model_token, model: {}, token_id: 1}}, force: true}}\n    \"<bare>\":\n",
            path(2),
            path(2),
            path(1)
        );
        let rules = |t: usize| {
            let c = made[2].tables[t].row("<c>").cloned();
            let new = |token: &str, row: Option<Vec<f64>>, force| Rule { token: token.into(), row, force };
            vec![
                new("<new>", c.clone(), false),
                new("<a>", Some(vec![0.0; 5]), true),
                new("<c>", c, false),
                new("[UNK]", Some(made[1].tables[t].matrix[1].clone()), true),
                new("<bare>", None, false),
            ]
        };
        against_the_oracle(&made, 0, &rule, Some(0), &rules, 0);
    }
}

fn two(parameters: &str) -> String {
    let path = |name: &str| golden().join("inputs").join(name).display().to_string();
    format!(
        "merge_method: task_arithmetic\nbase_model: {}\nmodels:\n  - model: {}\n    parameters: {{weight: 0.5}}\n{parameters}",
        path("en"),
        path("fo")
    )
}

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

#[test]
fn a_model_whose_tokenizer_is_taken_brings_its_special_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let list = |tokens: &[&str]| tokens.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let mut noise = Noise(1);
    let a =
        checkpoint(&folder.path().join("a"), &list(&["[UNK]", "x", "y", "</s>"]), 1, 4, false, &mut noise);
    let b = checkpoint(
        &folder.path().join("b"),
        &list(&["</s>", "y", "z", "w", "[UNK]", "<e>"]),
        2,
        8,
        false,
        &mut noise,
    );
    std::fs::write(
        a.path.join("generation_config.json"),
        r#"{"eos_token_id": [3, 0], "image_token_id": 2, "top_k": 5}"#,
    )
    .unwrap();
    std::fs::write(
        a.path.join("config.json"),
        r#"{"model_type": "llama", "text_config": {"vocab_size": 4, "eos_token_id": 3}}"#,
    )
    .unwrap();
    std::fs::write(b.path.join("tokenizer.model"), "old form").unwrap();
    let recipe = |rule: &str| {
        format!(
            "merge_method: linear\nbase_model: {}\nmodels:\n  - model: {}\nparameters: {{weight: 1}}\n{rule}",
            a.path.display(),
            b.path.display()
        )
    };
    let planned = plan(&recipe(&format!("tokenizer_source: {}\n", b.path.display())));
    let config = planned.config.as_ref().unwrap();
    assert_eq!(config["text_config"], json!({"vocab_size": 8, "eos_token_id": 5}));
    assert_eq!(config["bos_token_id"], 0);
    let generation: Value =
        serde_json::from_slice(&file(&planned, "generation_config.json").unwrap()).unwrap();
    // `y` has another id there.
    assert_eq!(generation, json!({"eos_token_id": 5, "image_token_id": 1, "top_k": 5, "bos_token_id": 0}));
    assert_eq!(
        file(&planned, "tokenizer.json").unwrap(),
        std::fs::read(b.path.join("tokenizer.json")).unwrap()
    );
    assert_eq!(file(&planned, "tokenizer.model").unwrap(), b"old form");
    // A vocabulary that grew leaves the old form behind.
    let swapped = recipe("")
        .replace("base_model: ", "base_model: X")
        .replace(&format!("X{}", a.path.display()), &b.path.display().to_string());
    let swapped =
        swapped.replace(&format!("- model: {}", b.path.display()), &format!("- model: {}", a.path.display()));
    let planned = plan(&format!("{swapped}tokenizer_source: union\n"));
    assert_eq!(
        (file(&planned, "tokenizer.model"), planned.unfit.as_slice()),
        (None, &["tokenizer.model".to_owned()][..])
    );
    assert!(
        planned.describe().contains("left out, as they do not fit it: tokenizer.model"),
        "{}",
        planned.describe()
    );
}

#[test]
fn without_a_rule_rows_of_different_tokens_are_never_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let list = |tokens: &[&str]| tokens.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
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
    let list = |tokens: &[&str]| tokens.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
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

/// As a user runs it: the folder is complete, its manifest tells of the vocabulary, and its hashes hold.
#[test]
fn a_union_is_written_verified_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("recipe.yaml");
    std::fs::write(&recipe, golden_recipe("union")).unwrap();
    let out = folder.path().join("out");
    support::command().arg("merge").args([&recipe, &out]).assert().success();
    support::command().arg("verify").arg(&out).assert().success();
    let text = std::fs::read_to_string(out.join("growmerge.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let vocabulary = &manifest["vocabulary"];
    let config: Value = serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(vocabulary["rows"], config["vocab_size"]);
    assert_eq!(vocabulary["models"].as_array().unwrap().len(), 3);
    let merged = merge(&golden_recipe("union"));
    assert_eq!(support::read(&out)[TABLES[0]].bytes, merged[TABLES[0]].bytes);
    // It is measured in memory with the tokenizer that is written.
    let texts = folder.path().join("texts");
    std::fs::create_dir(&texts).unwrap();
    std::fs::write(texts.join("fo.txt"), "tey gingu um ána\ntað var kalt og áin var frosin\n").unwrap();
    let measured = |model: &Path| -> Value {
        let args = [Path::new("eval"), model, Path::new("--json"), Path::new("--texts"), &texts];
        let told = support::command().args(args).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let json: Value = serde_json::from_slice(&told.stdout).unwrap();
        json["models"][0].clone()
    };
    let (planned, stored) = (measured(&recipe), measured(&out));
    assert_eq!(planned["tokenizer_sha256"], stored["tokenizer_sha256"]);
    let [planned, stored] =
        [&planned, &stored].map(|m| (m["languages"][0]["tokens"].clone(), m["languages"][0]["nats"].clone()));
    assert!(planned.0.as_u64().unwrap() > 10 && planned == stored, "{planned:?} {stored:?}");
    // The sum of each input is that of its file, though rows were read in another order.
    let sums = manifest["inputs"].as_array().unwrap().iter().map(|i| &i["files"][0]["crc64nvme"]);
    assert!(sums.into_iter().all(Value::is_string), "{text}");
}

#[test]
fn rows_that_are_only_copied_keep_their_bits_and_type() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let mut noise = Noise(11);
    let made = [
        checkpoint(&folder.path().join("a"), &tokens(&["[UNK]", "x", "</s>"]), 1, 3, false, &mut noise),
        checkpoint(&folder.path().join("b"), &tokens(&["x", "[UNK]", "q", "</s>"]), 1, 4, false, &mut noise),
    ];
    let mut all = Vec::new();
    for model in &made {
        let mut tensors = support::read(&model.path);
        for tensor in tensors.values_mut() {
            let values: Vec<f32> = values(tensor).iter().map(|x| *x as f32).collect();
            *tensor = stored(safetensors::tensor::Dtype::BF16, &tensor.shape.clone(), &values);
        }
        support::save(&model.path.join("model.safetensors"), &tensors);
        all.push(tensors);
    }
    let text = format!(
        "merge_method: passthrough\nmodels:\n  - model: {}\ntokenizer_source: {}\n",
        made[0].path.display(),
        made[1].path.display()
    );
    let got = merge(&text);
    let bits = |tensors: &Tensors, id: usize| tensors[TABLES[0]].bytes[id * 10..(id + 1) * 10].to_vec();
    // `q` is in no model that is merged: an average row, so all of the tensor is f32 until it is stored.
    assert_eq!(got[TABLES[0]].dtype, safetensors::tensor::Dtype::BF16);
    assert_eq!(bits(&got, 0), bits(&all[0], 1));
    assert_eq!(bits(&got, 1), bits(&all[0], 0));
    assert_eq!(bits(&got, 3), bits(&all[0], 2));
    let back =
        format!("{}base_model: {}\n", text.replace("passthrough", "task_arithmetic"), made[1].path.display());
    let got = merge(&format!("{back}parameters: {{weight: 0}}\n"));
    assert_eq!(got[TABLES[1]].bytes, all[1][TABLES[1]].bytes);
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

fn staged_plan(text: &str) -> Plan {
    let reading = growmerge::recipe::Reading::parse("recipe.yaml", text);
    Plan::from_reading(reading, &growmerge::plan::PlanOptions::default()).unwrap_or_else(|p| panic!("{p}"))
}

/// A stage brings its own vocabulary, and the next one sees what it would have written.
#[test]
fn a_stage_with_a_union_is_an_input_like_any_other() {
    let input = |name: &str| golden().join("inputs").join(name).display().to_string();
    let union = two("tokenizer_source: union\nchat_template: chatml\n");
    let second = "merge_method: passthrough\nmodels:\n  - model: first\nname: second\n";
    let staged = staged_plan(&format!("name: first\n{union}---\n{second}"));
    let written = plan(&union);
    assert_eq!(file(&staged, "tokenizer.json"), file(&written, "tokenizer.json"));
    assert_eq!(file(&staged, "chat_template.jinja"), file(&written, "chat_template.jinja"));
    assert_eq!(staged.config.as_ref().unwrap()["vocab_size"], written.config.as_ref().unwrap()["vocab_size"]);
    let third = format!(
        "name: first\n{union}---\nmerge_method: linear\nbase_model: {}\nmodels:\n  - model: first\nparameters: {{weight: 1}}\ntokenizer_source: union\n",
        input("et")
    );
    let planned = staged_plan(&third);
    let merged = run(&planned, &Cpu::new(), 2).unwrap();
    let ours = ids(&planned);
    let (first, et) = (merge(&union), support::read(&golden().join("inputs/et")));
    let (of_first, of_et) =
        (ids(&written), tokenizers::Tokenizer::from_file(format!("{}/tokenizer.json", input("et"))).unwrap());
    for (token, id) in &ours {
        let there = of_et.token_to_id(token).map(|id| row(&et, TABLES[1], id as usize));
        let staged = of_first.get(token).map(|id| row(&first, TABLES[1], *id));
        let want: Vec<f64> = match (there, staged) {
            (Some(a), Some(b)) => a.iter().zip(&b).map(|(a, b)| (a + b) / 2.0).collect(),
            (Some(row), None) | (None, Some(row)) => row,
            (None, None) => panic!("{token}"),
        };
        let got = row(&merged, TABLES[1], *id);
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6), "{token}");
    }
}

/// An adapter that was saved with a tokenizer was trained with that one.
#[test]
fn an_adapter_brings_its_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let (base, adapter) = (golden().join("inputs/en"), folder.path().join("adapter"));
    std::fs::create_dir_all(&adapter).unwrap();
    let config = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]});
    std::fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let mut tensors = Tensors::new();
    for (part, shape) in [("A", [1, 8]), ("B", [8, 1])] {
        let name = format!("base_model.model.model.layers.0.self_attn.q_proj.lora_{part}.weight");
        tensors.insert(name, f32s(&shape, [0.5; 8]));
    }
    support::save(&adapter.join("adapter_model.safetensors"), &tensors);
    let recipe =
        format!("merge_method: passthrough\nmodels:\n  - model: {}+{}\n", base.display(), adapter.display());
    let of_base = std::fs::read(base.join("tokenizer.json")).unwrap();
    assert_eq!(file(&plan(&recipe), "tokenizer.json").unwrap(), of_base);
    let mut own: Value = serde_json::from_slice(&of_base).unwrap();
    own["added_tokens"][0]["special"] = json!(false);
    std::fs::write(adapter.join("tokenizer.json"), own.to_string()).unwrap();
    std::fs::write(adapter.join("chat_template.jinja"), "{{ mine }}").unwrap();
    let planned = plan(&recipe);
    assert_eq!(file(&planned, "tokenizer.json").unwrap(), own.to_string().into_bytes());
    assert_eq!(file(&planned, "chat_template.jinja").unwrap(), b"{{ mine }}");
    // And a vocabulary can be united through an adapter.
    let united = format!(
        "{}tokenizer_source: union\n",
        two("").replace("inputs/fo", &format!("inputs/fo+{}", adapter.display()))
    );
    let got = run(&plan(&united), &Cpu::new(), 2).unwrap();
    let without = merge(&two("tokenizer_source: union\n"));
    let query = "model.layers.0.self_attn.q_proj.weight";
    assert_ne!(got[query].bytes, without[query].bytes);
}

#[test]
fn a_number_that_is_none_is_found_in_the_model_whose_row_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let mut noise = Noise(13);
    let a =
        checkpoint(&folder.path().join("a"), &tokens(&["[UNK]", "x", "</s>"]), 1, 3, false, &mut noise).path;
    let b =
        checkpoint(&folder.path().join("b"), &tokens(&["x", "[UNK]", "q", "</s>"]), 1, 4, false, &mut noise)
            .path;
    let mut tensors = support::read(&b);
    // The row of `q`, which `a` gets too, and is asked first.
    tensors.get_mut(TABLES[1]).unwrap().bytes[4 * 11..4 * 12].copy_from_slice(&f32::NAN.to_le_bytes());
    support::save(&b.join("model.safetensors"), &tensors);
    let recipe =
        support::recipe("linear", None, &[a, b.clone()], "{weight: 1}") + "tokenizer_source: union\n";
    let told = run(&plan(&recipe), &Cpu::new(), 1).err().unwrap().to_string();
    assert!(told.contains(&format!("model {} has NaN in row 2, column 1", b.display())), "{told}");
}
