//! Every row of every model's matrices, against a naive version, and what is copied without arithmetic.

use std::path::Path;

use growmerge::device::cpu::Cpu;
use serde_json::json;

use crate::oracle;
use crate::oracle::vocabulary::{Model, Rule, matrix, union};
use crate::support;
use crate::support::{Noise, Tensors, merge, plan, run, stored, values};
use crate::{Made, TABLES, checkpoint, ids, list};

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

#[test]
fn rows_that_are_only_copied_keep_their_bits_and_type() {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(11);
    let made = [
        checkpoint(&folder.path().join("a"), &list(&["[UNK]", "x", "</s>"]), 1, 3, false, &mut noise),
        checkpoint(&folder.path().join("b"), &list(&["x", "[UNK]", "q", "</s>"]), 1, 4, false, &mut noise),
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

#[test]
fn a_number_that_is_none_is_found_in_the_model_whose_row_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(13);
    let a =
        checkpoint(&folder.path().join("a"), &list(&["[UNK]", "x", "</s>"]), 1, 3, false, &mut noise).path;
    let b =
        checkpoint(&folder.path().join("b"), &list(&["x", "[UNK]", "q", "</s>"]), 1, 4, false, &mut noise)
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
