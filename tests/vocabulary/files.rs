//! Files that other programs read, and vocabularies of stages and adapters.

use std::path::Path;

use growmerge::device::cpu::Cpu;
use growmerge::plan::Plan;
use serde_json::{Value, json};

use crate::support;
use crate::support::{Noise, merge, plan, run};
use crate::{TABLES, adapter, checkpoint, file, golden, golden_recipe, ids, list, row, two};

#[test]
fn a_model_whose_tokenizer_is_taken_brings_its_special_tokens() {
    let folder = tempfile::tempdir().unwrap();
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
    let (base, adapter) = (golden().join("inputs/en"), adapter(folder.path()));
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
