//! Every kind of adapter as PEFT merges it.

use std::path::{Path, PathBuf};

use growmerge::device::cpu::Cpu;
use safetensors::tensor::Dtype;
use serde_json::Value;

use super::support::toy::{apart, logits, write_model};
use super::support::{plan, read_file, run, values};
use super::{farthest, passthrough};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/adapters")
}

/// Every kind of adapter as PEFT merges it, and as it computes before it merges.
#[test]
fn adapters_do_what_peft_does() {
    // PEFT's merge changes head and embedding together where they are one tensor, twice over where both have
    // an update; what the adapted model computes is what was trained.
    let not_as_trained = ["tied_embedding", "tied_head", "tied_ensured"];
    let (mut seen, mut with_logits) = (0, 0);
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("expected.safetensors").exists() {
            continue;
        }
        seen += 1;
        let case = folder.file_name().unwrap().to_str().unwrap();
        let config: Value =
            serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap();
        let base =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(config["base_model_name_or_path"].as_str().unwrap());
        let plan = plan(&passthrough(&format!("{}+{}", base.display(), folder.display())));
        let merged = run(&plan, &Cpu::new(), 2).unwrap();
        let mut expected = read_file(&folder.join("expected.safetensors"));
        let before = read_file(&base.join("model.safetensors"));
        if let Some(want) = expected.remove("logits") {
            with_logits += 1;
            let out = tempfile::tempdir().unwrap();
            write_model(out.path(), &merged, plan.config.as_ref().unwrap());
            let want: Vec<f32> = values(&want).into_iter().map(|x| x as f32).collect();
            // As of every family: a part of the largest logit (`tests/families.rs`).
            let far = apart(&want, &logits(out.path()));
            println!("{case:16} logits {far:.1e}");
            assert!(far < 1e-5, "{case}: {far:e}");
        }
        if not_as_trained.contains(&case) {
            continue;
        }
        assert!(!expected.is_empty());
        let mut worst = 0f64;
        for (name, tensor) in &merged {
            let tied_head = name == "lm_head.weight" && !before.contains_key(name);
            let own = if tied_head { "model.embed_tokens.weight" } else { name };
            assert_eq!(tensor.dtype, before[own].dtype, "{case}: {name}");
            match expected.remove(name) {
                None => assert!(tensor.bytes == before[own].bytes, "{case}: {name} changed"),
                Some(want) if want.dtype == Dtype::F32 => {
                    let far = farthest(&values(&want), &values(tensor));
                    worst = worst.max(far);
                    assert!(far < 1e-6, "{case}: {name} {far:e}");
                }
                Some(want) => {
                    // Sums in another order, rounded to 8 bits: seldom another neighbour, never farther.
                    let pairs: Vec<(f64, f64)> = values(&want).into_iter().zip(values(tensor)).collect();
                    let differ = pairs.iter().filter(|(x, y)| x != y).count();
                    println!("{case:16} {name}: {differ} of {} differ", pairs.len());
                    assert!(differ * 100 <= pairs.len(), "{case}: {name} differs in {differ}");
                    assert!(pairs.iter().all(|(x, y)| (x - y).abs() <= x.abs() / 127.0), "{case}: {name}");
                }
            }
        }
        assert!(expected.is_empty(), "{case}: {:?} are missing", expected.keys());
        println!("{case:16} weights {worst:.1e}");
    }
    assert_eq!((seen, with_logits), (20, 16));
}
