//! Where weights came from is in the plan's words, its digest, the explanation and the manifest.

use growmerge::coefficients::{Written, write as write_coefficients};
use growmerge::explain::Explanation;
use serde_json::Value;

use super::support::{command, plan, run};
use super::{NAME, Set, key, recipe, set};

fn two(rows: [f32; 3]) -> (Set, String) {
    let set = set(4, NAME, &[3, 8], 2);
    save(&set, rows);
    let weights = [format!("{{file: {}}}", set.coefficients().display()), "{norms: rows, power: 0.5}".into()];
    let text = recipe("task_arithmetic", Some(&set.base), &set.models, &weights, "", "");
    (set, text)
}

fn save(set: &Set, rows: [f32; 3]) {
    let all = [Written { key: key("m0", NAME), rows: &rows, columns: &[] }];
    write_coefficients(&set.coefficients(), &[], &all).unwrap();
}

#[test]
fn plans_say_where_weights_come_from() {
    let (set, text) = two([0.02, 0.5, 0.97]);
    let file = set.coefficients().display().to_string();
    let planned = plan(&text);
    let told = planned.describe_tensors();
    assert!(told.contains(&format!("weight rows of {file} (m0), 0.02 to 0.97")), "{told}");
    assert!(told.contains("weight share of row norms, power 0.5"), "{told}");
    assert!(
        planned.describe().contains(&format!("{file}  coefficients, SHA-256 ")),
        "{}",
        planned.describe()
    );
    let summary = planned.summary(true);
    assert_eq!(summary["coefficients"][0]["path"], file);
    assert_eq!(summary["tensors"][0]["sources"][0]["parameters"]["weight"]["rows"], 3);
    let explained = Explanation::new(&planned);
    let tables: String = explained.tables().iter().map(|(_, t)| format!("{:?}", t.rows)).collect();
    assert!(tables.contains("0.02 to 0.97") && tables.contains("share of row norms"), "{tables}");
    let json = explained.json(None).unwrap().to_string();
    assert!(json.contains("(m0)"), "{json}");
    assert!(explained.html("x").contains("0.02 to 0.97"));
}

/// Other numbers are another plan; the same numbers elsewhere are the same one.
#[test]
fn the_digest_is_of_the_numbers() {
    let (set, text) = two([0.25, 0.5, 1.0]);
    let first = plan(&text).digest;
    save(&set, [0.25, 0.5, 1.5]);
    assert_ne!(plan(&text).digest, first);
    save(&set, [0.25, 0.5, 1.0]);
    assert_eq!(plan(&text).digest, first);
    let moved = set.folder.path().join("moved.safetensors");
    std::fs::rename(set.coefficients(), &moved).unwrap();
    let text = text.replace(&set.coefficients().display().to_string(), &moved.display().to_string());
    assert_eq!(plan(&text).digest, first);
    assert_ne!(plan(&text.replace("power: 0.5", "power: 0.6")).digest, first);
}

#[test]
fn the_manifest_names_the_file_and_verify_does_without() {
    let (set, text) = two([0.25, 0.5, 1.0]);
    let recipe = set.folder.path().join("r.yaml");
    std::fs::write(&recipe, &text).unwrap();
    let out = set.folder.path().join("out");
    command().args(["merge", "--quiet"]).arg(&recipe).arg(&out).assert().success();
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(out.join("growmerge.json")).unwrap()).unwrap();
    let file = std::fs::read(set.coefficients()).unwrap();
    assert_eq!(manifest["coefficients"][0]["sha256"], growmerge::write::sha256_hex(&file));
    assert_eq!(manifest["coefficients"][0]["holds"], "coefficients");
    assert_eq!(manifest["tensors"][0]["sources"][0]["parameters"]["weight"]["most"], 1.0);
    std::fs::remove_file(set.coefficients()).unwrap();
    command().arg("verify").arg(&out).assert().success();
}

/// A stage is weighed as a plan of its own would be.
#[test]
fn stages_and_grids_have_them_too() {
    let (set, text) = two([0.25, 0.5, 1.0]);
    let alone = run(&plan(&text), &growmerge::device::cpu::Cpu::new(), 2).unwrap();
    let staged = format!("name: first\n{text}---\nmerge_method: passthrough\nmodels: [{{model: first}}]\n");
    let planned = plan(&staged);
    assert_eq!(run(&planned, &growmerge::device::cpu::Cpu::new(), 2).unwrap()[NAME].bytes, alone[NAME].bytes);
    assert_eq!(planned.stages()[0].plan.coefficient_files.len(), 1);
    let grid = text.replace("power: 0.5", "power: \"{power}\"") + "matrix: {power: [0.25, 0.5]}\n";
    let file = set.folder.path().join("grid.yaml");
    std::fs::write(&file, grid).unwrap();
    let out = command().args(["plan", "--json"]).arg(&file).assert().success().get_output().stdout.clone();
    let told: Value = serde_json::from_slice(&out).unwrap();
    let (first, second) = (&told["members"][0], &told["members"][1]);
    assert_eq!((first["name"].as_str(), second["name"].as_str()), (Some("0.25"), Some("0.5")), "{told}");
    assert_ne!(first["digest"], second["digest"], "{told}");
}
