//! Runs whose loss runs away: they end, and leave the last model that was good.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod run;

use growmerge_trainer::train::config::{Run, Start};
use growmerge_trainer::train::{Line, Unfinished, read_metrics};
use run::{carry_out, described, interrupted, names, problem, whole};

/// A learning rate that grows until it is far too large.
fn reckless(run: &mut Run) {
    run.steps = 120;
    run.schedule.warmup = Some(120);
    run.schedule.decay = Some(0);
    run.optimizer.lr = 1.2;
    run.optimizer.clip = None;
    run.optimizer.weight_decay = 0.0;
    run.checkpoints.keep.clear();
    run.checkpoints.every = 5;
    run.validation = None;
}

fn first_loss(out: &std::path::Path) -> f64 {
    let lines = read_metrics(&out.join("metrics.jsonl")).unwrap();
    let loss = |line: &Line| match line {
        Line::Step { loss, .. } => Some(*loss),
        Line::Measured { .. } => None,
    };
    lines.iter().find_map(loss).unwrap()
}

#[test]
fn the_last_good_model_is_kept_and_can_be_trained_further() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = described(reckless);
    let said = problem(carry_out(&run, &out, Unfinished::Refuse, u64::MAX, 2));
    let good = out.join("last-good");
    for part in ["step ", "lower learning rate", &format!("start: {{checkpoint: {}}}", good.display())] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!out.join("model.safetensors").exists());
    assert!(good.join("tokenizer.json").is_file());

    let next = described(|run| {
        run.start = Start::Checkpoint(good.clone());
        run.validation = None;
    });
    whole(&next, &folder.path().join("next"));
    let (before, after) = (first_loss(&out), first_loss(&folder.path().join("next")));
    assert!(after < before, "the last good model has a loss of {after}, the first one {before}");

    // Continued, the run knows what it had seen, and ends in the same place.
    let parts = folder.path().join("parts");
    for steps in [1, 3] {
        assert!(interrupted(&carry_out(&run, &parts, Unfinished::Continue, steps, 1)));
    }
    let again = problem(carry_out(&run, &parts, Unfinished::Continue, u64::MAX, 1));
    assert_eq!(again.replace("parts", "out"), said);
    let model = |out: &std::path::Path| std::fs::read(out.join("last-good/model.safetensors")).unwrap();
    assert!(model(&parts) == model(&out));
}

/// A state is saved only when the next loss has shown that it is good: here none is.
#[test]
fn a_state_after_a_step_that_was_far_too_large_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let run = described(|run| {
        reckless(run);
        run.optimizer.lr = 60.0;
        run.schedule.warmup = Some(0);
    });
    let said = problem(carry_out(&run, folder.path(), Unfinished::Refuse, u64::MAX, 2));
    assert!(said.contains("no state was kept"), "{said}");
    let left = names(folder.path());
    assert!(!left.iter().any(|name| name.contains("state") || name == "last-good"), "{left:?}");
}
