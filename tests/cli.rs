//! The command line as a user meets it: help, the quickstart from end to end, and every subcommand.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::fmt::Write;
use std::path::Path;

use support::{command, read, values};

const SUBCOMMANDS: [&str; 16] = [
    "plan",
    "explain",
    "merge",
    "inspect",
    "verify",
    "eval",
    "check",
    "tune",
    "count",
    "importance",
    "generate",
    "extract-lora",
    "methods",
    "devices",
    "schema",
    "completions",
];

/// Runs a command in the folder of the repository and returns what it prints.
fn prints(args: &[&str]) -> String {
    let run = command().args(args).assert().success();
    String::from_utf8(run.get_output().stdout.clone()).unwrap()
}

#[test]
fn help() {
    let mut text = prints(&["--help"]);
    for name in SUBCOMMANDS {
        let _ = write!(text, "\n\n$ growmerge {name} --help\n{}", prints(&[name, "--help"]));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn methods() {
    let mut text = prints(&["methods"]);
    for name in ["ties", "dare_linear", "passthrough"] {
        let _ = write!(text, "\n$ growmerge methods {name}\n{}", prints(&["methods", name]));
    }
    insta::assert_snapshot!(text);
    let told = command().args(["methods", "tise"]).assert().code(2);
    assert!(String::from_utf8_lossy(&told.get_output().stderr).contains("did you mean `ties`?"));
}

#[test]
fn plan_of_the_quickstart() {
    let text = prints(&["plan", "recipes/quickstart.yaml"]);
    insta::assert_snapshot!(text);
    let json: serde_json::Value =
        serde_json::from_str(&prints(&["plan", "recipes/quickstart.yaml", "--json", "--tensors"])).unwrap();
    assert_eq!(json["method"], "task_arithmetic");
    assert_eq!(json["models"].as_array().unwrap().len(), 6);
    let tensor = &json["tensors"][0];
    assert_eq!(tensor["sources"].as_array().unwrap().len(), 6);
    assert_eq!(tensor["sources"][0]["parameters"]["weight"], 1.0);
    let listed = prints(&["plan", "recipes/quickstart.yaml", "--tensors"]);
    assert!(
        listed.contains("model.layers.3.mlp.down_proj.weight  BF16 [64, 176]  task_arithmetic"),
        "{listed}"
    );
}

#[test]
fn plan_reports_problems_as_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("bad.yaml");
    std::fs::write(&recipe, "merge_method: lineer\nmodels: [{model: nowhere}]\n").unwrap();
    let run = command().args(["plan", "--json"]).arg(&recipe).assert().code(2);
    let json: serde_json::Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
    let problems = json["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[0]["hint"], "did you mean `linear`?");
    assert_eq!(problems[1]["spot"]["line"], 2);
}

#[test]
fn inspect_shows_roles_and_the_tie() {
    insta::assert_snapshot!(prints(&["inspect", "recipes/quickstart/et"]));
    let json: serde_json::Value =
        serde_json::from_str(&prints(&["inspect", "recipes/quickstart/et", "--json"])).unwrap();
    assert_eq!(json["tied_head"], true);
    assert_eq!(json["layers"], 4);
    command().args(["inspect", "nowhere"]).assert().code(2);
}

/// The README's first command, and its result read by the safetensors crate and compared with the
/// method's definition, applied to the inputs by other code.
#[test]
fn quickstart_from_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = command().args(["merge", "recipes/quickstart.yaml"]).arg(&out).assert().success();
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(said.starts_with("merged 6 models by task_arithmetic into"), "{said}");

    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart");
    let models: Vec<_> = ["en", "et", "fa", "fo", "is", "sv"].map(|m| read(&quickstart.join(m))).into();
    let merged = read(&out);
    assert_eq!(merged.keys().collect::<Vec<_>>(), models[0].keys().collect::<Vec<_>>());
    let (mut off, mut size) = (0.0, 0.0);
    for (name, tensor) in &merged {
        let all: Vec<Vec<f64>> = models.iter().map(|m| values(&m[name])).collect();
        assert_eq!(tensor.shape, models[0][name].shape);
        for (i, x) in values(tensor).into_iter().enumerate() {
            let mean = all[1..].iter().map(|m| m[i] - all[0][i]).sum::<f64>() / 5.0;
            let want = all[0][i] + 2.0 * mean;
            off += (x - want).powi(2);
            size += want.powi(2);
        }
    }
    // Half a unit in the last place of bf16 is 2^-9 of a value at most.
    assert!((off / size).sqrt() < 2f64.powi(-9), "{}", (off / size).sqrt());

    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["model_type"], "llama");
    assert_eq!(config["num_hidden_layers"], 4);
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let original = std::fs::read(quickstart.join("en").join(name)).unwrap();
        assert_eq!(std::fs::read(out.join(name)).unwrap(), original, "{name}");
    }
    let recipe = std::fs::read(quickstart.with_extension("yaml")).unwrap();
    assert_eq!(std::fs::read(out.join("recipe.yaml")).unwrap(), recipe);
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("- merge\n- growmerge\n- task_arithmetic\n---"), "{card}");
    assert!(!card.contains("base_model:\n-"), "local paths are no Hub names: {card}");
    insta::assert_snapshot!(card);

    // Merging again says so; verifying finds everything good, and then a changed byte.
    command().args(["merge", "recipes/quickstart.yaml"]).arg(&out).assert().code(2);
    let again = command().args(["merge", "--resume", "recipes/quickstart.yaml"]).arg(&out).assert().success();
    assert!(String::from_utf8_lossy(&again.get_output().stderr).contains("complete already"));
    let good = command().arg("verify").arg(&out).assert().success();
    assert!(String::from_utf8_lossy(&good.get_output().stdout).contains("all as recorded"));
    let weights = out.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    std::fs::write(out.join("tokenizer.json"), "{}").unwrap();
    let bad = command().args(["verify", "--quiet"]).arg(&out).assert().code(1);
    let said = String::from_utf8_lossy(&bad.get_output().stdout).into_owned();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("tokenizer.json") && said.contains("model.norm.weight"), "{said}");
    // A reader that goes away does not make it good.
    let pipe = "\"$0\" verify \"$1\" | true; exit ${PIPESTATUS[0]}";
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", pipe, env!("CARGO_BIN_EXE_growmerge")]).arg(&out);
    assert_eq!(shell.status().unwrap().code(), Some(1));
}

#[test]
fn json_and_input_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut merge = command();
    merge.args(["merge", "--json", "--hash-inputs", "--shard-size", "200kB", "--dtype", "float32"]);
    let run = merge.arg("recipes/quickstart.yaml").arg(&out).assert().success();
    let json: serde_json::Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
    assert_eq!(json["tensors"], 38);
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("growmerge.json")).unwrap()).unwrap();
    let file = &manifest["inputs"][0]["files"][0];
    let bytes = std::fs::read("recipes/quickstart/et/model.safetensors").unwrap();
    assert_eq!(file["sha256"], growmerge::write::sha256_hex(&bytes));
    assert!(manifest["tensors"][0]["sources"][0]["crc64nvme"].is_string());
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("model.safetensors.index.json")).unwrap()).unwrap();
    for file in index["weight_map"].as_object().unwrap().values() {
        let name = file.as_str().unwrap();
        assert!(name.starts_with("model-0") && out.join(name).exists(), "{name}");
    }
    assert_eq!(index["metadata"]["total_size"], json["bytes"]);
    let config = std::fs::read_to_string(out.join("config.json")).unwrap();
    assert!(config.contains("\"float32\""), "{config}");
    command().arg("verify").arg(&out).assert().success();
}

#[test]
fn the_schema_knows_how_models_are_grown() {
    let schema: serde_json::Value = serde_json::from_str(&prints(&["schema"])).unwrap();
    for entry in ["model", "source"] {
        let grow = &schema["$defs"][entry]["properties"]["grow"];
        assert_eq!(grow["$ref"], "#/$defs/grow", "{entry}");
    }
    assert_eq!(schema["properties"]["base_model"]["$ref"], "#/$defs/reference");
    let forms = &schema["$defs"]["grow"]["anyOf"];
    assert_eq!(forms[0]["type"], "integer");
    assert_eq!(
        forms[1]["properties"]["head"]["anyOf"][0]["enum"],
        serde_json::json!(["norm", "factor", "untied"])
    );
    assert_eq!(forms[1]["properties"].as_object().unwrap().len(), 6);
}

#[test]
fn the_plan_shows_what_is_grown() {
    let text = prints(&["plan", "recipes/grow.yaml", "--tensors"]);
    assert!(text.contains("recipes/quickstart/fo  38 tensors, 0.6 MB, grown 2x\n"), "{text}");
    assert!(text.contains("recipes/quickstart/en  (2 x 2 copies / 2)  base"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&prints(&["plan", "recipes/grow.yaml", "--tensors", "--json"])).unwrap();
    assert_eq!(json["models"][0]["grow"], serde_json::json!({"width": 2, "intermediate": 2}));
    assert_eq!(json["tensors"][0]["sources"][0]["view"], "1 x 2 copies");
}

#[test]
fn the_schema_knows_every_method_and_parameter() {
    let schema: serde_json::Value = serde_json::from_str(&prints(&["schema"])).unwrap();
    let methods = schema["properties"]["merge_method"]["anyOf"][0]["enum"].as_array().unwrap();
    for method in growmerge::method::METHODS {
        assert!(methods.iter().any(|m| m == method.name));
        for param in method.params {
            assert!(schema["$defs"]["parameters"]["properties"][param.name].is_object(), "{}", param.name);
        }
    }
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(prints(&["completions", shell]).contains("overwrite"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let pipe = "\"$0\" plan recipes/quickstart.yaml --tensors | head -1 >&2; exit ${PIPESTATUS[0]}";
    let status = std::process::Command::new("bash")
        .args(["-c", pipe, env!("CARGO_BIN_EXE_growmerge")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
    assert!(!String::from_utf8_lossy(&status.stderr).contains("error"), "{status:?}");
}
