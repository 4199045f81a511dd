//! Against mergekit's matrices.

use std::collections::BTreeMap;

use growmerge::device::cpu::Cpu;
use serde_json::Value;

use crate::support;
use crate::support::{plan, run};
use crate::{TABLES, golden, golden_recipe, ids, row};

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
