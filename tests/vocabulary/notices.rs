//! Tokens and rules that a plan tells of: left out, without a row, without effect.

use std::path::Path;

use growmerge::device::cpu::Cpu;

use crate::support::{self, Noise, plan, run};
use crate::{Made, TABLES, checkpoint, ids, list, row};

struct World(tempfile::TempDir, Noise);

impl World {
    fn new(seed: u64) -> Self {
        Self(tempfile::tempdir().unwrap(), Noise(seed))
    }

    fn model(&mut self, name: &str, tokens: &[&str], added: usize, rows: usize) -> Made {
        checkpoint(&self.0.path().join(name), &list(tokens), added, rows, false, &mut self.1)
    }
}

fn linear(made: &[&Made], rule: &str) -> String {
    let models: Vec<_> = made[1..].iter().map(|m| m.path.clone()).collect();
    support::recipe("linear", Some(&made[0].path), &models, "{weight: 1}") + rule + "\n"
}

fn warnings(recipe: &str) -> String {
    plan(recipe).warnings.to_string()
}

#[test]
fn a_union_names_the_tokens_that_it_leaves_out() {
    let mut world = World::new(19);
    let a = world.model("a", &["[UNK]", "x", "</s>"], 1, 3);
    let b = world.model("b", &["[UNK]", "x", "y", "z", "</s>", "<e>", "<f>", "<g>", "<h>"], 5, 3);
    let c = world.model("c", &["[UNK]", "z", "</s>"], 1, 3);
    let union = "tokenizer_source: union";
    let told = warnings(&linear(&[&a, &b], union));
    assert!(
        told.contains(
            "its 3 rows do not reach 5 of its tokens, left out of the union: `z`, `<e>`, `<f>` and 2 more"
        ),
        "{told}"
    );
    assert!(told.contains(&format!("warning: {}: ", b.path.display())), "{told}");
    // The row of another model serves for all.
    let recipe = linear(&[&a, &b, &c], union);
    let planned = plan(&recipe);
    let told = planned.warnings.to_string();
    assert!(told.contains("do not reach 4 of its tokens, left out of the union: `<e>`, `<f>`"), "{told}");
    let ours = ids(&planned);
    assert!(!ours.contains_key("<e>"));
    let merged = run(&planned, &Cpu::new(), 1).unwrap();
    for (table, name) in TABLES.into_iter().enumerate() {
        let (got, want) = (row(&merged, name, ours["z"]), c.tables[table].row("z").unwrap());
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{name}");
    }
    let summary = planned.vocabulary.as_ref().unwrap();
    let of_b = summary.models.iter().find(|m| m.model == b.path.display().to_string()).unwrap();
    assert_eq!((of_b.counts.dropped, of_b.counts.added), (4, 2), "`z` and `</s>` get rows of others");
    // One that a rule adds is in.
    let told = warnings(&linear(&[&a, &b], "tokenizer: {tokens: {\"<e>\": }}"));
    assert!(told.contains("do not reach 4 of its tokens, left out of the union: `z`, `<f>`"), "{told}");
    // Without a union the base alone decides, and nothing is left out of it.
    assert_eq!(warnings(&linear(&[&a, &b], "tokenizer_source: base")), "");
}

#[test]
fn tokens_that_get_a_mean_because_nobody_has_a_row_are_named() {
    let mut world = World::new(23);
    let a = world.model("a", &["[UNK]", "x", "</s>"], 1, 2);
    let b = world.model("b", &["[UNK]", "y"], 1, 2);
    let wanted = "no model has a row for 1 of its tokens, which get the mean of all other rows: `</s>`";
    let told = warnings(&linear(&[&a, &b], "tokenizer_source: base"));
    assert!(told.contains(wanted), "{told}");
    // Whoever names it, knows; and a model that has a row gives it.
    assert_eq!(
        warnings(&linear(&[&a, &b], "tokenizer: {source: base, tokens: {\"</s>\": {source: {kind: zero}}}}")),
        ""
    );
    let c = world.model("c", &["x", "</s>"], 1, 2);
    assert_eq!(warnings(&linear(&[&a, &c], "tokenizer_source: base")), "");
}

#[test]
fn rules_without_effect_are_named() {
    let mut world = World::new(29);
    let a = world.model("a", &["[UNK]", "x", "w", "</s>"], 1, 4);
    let b = world.model("b", &["[UNK]", "x", "</s>"], 1, 3);
    let of = |path: &Path| path.display().to_string();
    let recipe = |tokens: &str| {
        let tokens = tokens.replace("@A@", &of(&a.path));
        linear(&[&a, &b], &format!("tokenizer:\n  source: base\n  tokens: {{{tokens}}}"))
    };
    let told = warnings(&recipe("x: {source: @A@}, \"</s>\": {source: {kind: zero}}, w: {source: @A@}"));
    assert!(told.contains("no effect: all models have rows of their own for `x`, `</s>`\n"), "{told}");
    assert!(told.contains("`force: true` puts the row of `source` in their place"), "{told}");
    assert!(told.contains("tokens: {x: {source"), "the line is shown: {told}");
    for with_effect in
        ["x: {source: @A@, force: true}", "w: {source: {kind: zero}}", "new: ", "new: {source: {kind: zero}}"]
    {
        assert_eq!(warnings(&recipe(with_effect)), "", "{with_effect}");
    }
    let told = warnings(&recipe("w: "));
    assert!(told.contains("without a `source` a rule adds a token, but the output has `w`\n"), "{told}");
}
