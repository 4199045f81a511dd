//! `growmerge-trainer grow` and `convert`, as a user runs them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use growmerge::checkpoint::Checkpoint;
use growmerge::recipe::{Amount, Grow, NoiseWords, Recipe};
use growmerge_trainer::grow::{compare, recipe};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn trainer(args: &[&str]) -> assert_cmd::assert::Assert {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_growmerge-trainer")).current_dir(root()).args(args).assert()
}

fn printed(run: &assert_cmd::assert::Assert) -> String {
    let output = run.get_output();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const FO: &str = "recipes/quickstart/fo";
const TEXT: &str = "recipes/quickstart/texts/fo.txt";

#[test]
fn a_model_is_grown_checked_and_converted_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let grown = trainer(&["grow", FO, &path("wide"), "--width", "2", "--check", TEXT]).success();
    let told = printed(&grown);
    assert!(told.contains("315968 → 1000576 parameters"), "{told}");
    assert!(told.contains("1024 tokens: max |Δlogit|") && told.contains("the function is kept"), "{told}");
    // Everything that a model needs is there, and known to be what was written.
    for file in ["tokenizer.json", "tokenizer_config.json", "growmerge.json", "recipe.yaml", "README.md"] {
        assert!(folder.path().join("wide").join(file).exists(), "{file}");
    }
    assert!(growmerge::write::verify(&folder.path().join("wide")).unwrap().is_good());
    // Forms of the head, there and back: the width is read from the manifest.
    let weights = |name: &str| std::fs::read(folder.path().join(name).join("model.safetensors")).unwrap();
    trainer(&["convert", &path("wide"), &path("factor"), "--head", "factor", "--check", TEXT]).success();
    trainer(&["convert", &path("factor"), &path("untied"), "--head", "untied", "--check", TEXT]).success();
    trainer(&["convert", &path("untied"), &path("norm"), "--head", "norm", "--check", TEXT]).success();
    assert!(weights("norm") == weights("wide") && weights("factor") != weights("wide"));
    let factor = |name: &str| {
        let model = Checkpoint::open(&path(name)).unwrap();
        model.config().unwrap().get("lm_head_normalization_factor").cloned()
    };
    assert_eq!(factor("factor"), Some(2.0.into()));
    assert_eq!(factor("norm"), None);
    // Again is nothing to do, something else is refused.
    trainer(&["grow", FO, &path("wide"), "--width", "2", "--resume"]).success();
    let told = printed(&trainer(&["grow", FO, &path("wide"), "--width", "3", "--resume"]).code(2));
    assert!(told.contains("the finished merge here is of another plan"), "{told}");
}

#[test]
fn noise_and_other_types_keep_the_function_as_far_as_they_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let rest = ["--width", "3", "--intermediate", "2", "--noise-snr", "10", "--seed", "1", "--check", TEXT];
    for (dtype, most) in [("float32", 1e-5), ("float16", 3e-3), ("bfloat16", 3e-2)] {
        trainer(&[&["grow", FO, &path(dtype), "--dtype", dtype][..], &rest].concat()).success();
        let difference =
            compare(&root().join(FO).display().to_string(), &path(dtype), &root().join(TEXT)).unwrap();
        assert!(
            difference.largest > 0.0 && difference.largest < most * difference.logit,
            "{dtype}: {difference:?}"
        );
    }
}

/// The check can fail: a model that is not what it was grown from.
#[test]
fn a_function_that_changed_fails_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("wide");
    let out = out.to_str().unwrap();
    let other = "recipes/quickstart/is";
    trainer(&["grow", other, out, "--width", "2"]).success();
    let difference = compare(&root().join(FO).display().to_string(), out, &root().join(TEXT)).unwrap();
    assert!(difference.largest > difference.allowed(growmerge_trainer::grow::Rounding::Weights));
    // In a complete folder `--resume` only checks; here the configuration was spoilt since.
    let config = folder.path().join("wide/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"rms_norm_eps\": 0.00001", "\"rms_norm_eps\": 1.0")).unwrap();
    let told = printed(&trainer(&["grow", other, out, "--width", "2", "--resume", "--check", TEXT]).code(1));
    assert!(told.contains("the function is NOT kept"), "{told}");
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (args, want) in [
        (vec!["grow", FO, &path("a"), "--width", "0"], "invalid value '0'"),
        (vec!["grow", FO, &path("a"), "--width", "1.5"], "invalid value '1.5'"),
        (vec!["grow", FO, &path("a"), "--width", "2", "--seed", "1"], "--noise-snr"),
        (vec!["grow", FO, &path("a"), "--width", "2", "--noise-snr", "1e9"], "decibels from -100 to 200"),
        (vec!["grow", "tests/families/phi3", &path("a"), "--width", "2"], "no growth formulas are known"),
        (vec!["grow", "nowhere", &path("a"), "--width", "2"], "nowhere"),
        (vec!["convert", FO, &path("a"), "--head", "factor"], "give it: --factor 2"),
        (vec!["convert", FO, &path("a"), "--head", "norm", "--factor", "2"], "goes with `head: factor` only"),
    ] {
        let told = printed(&trainer(&args).code(2));
        assert!(told.contains(want), "{args:?} wanted {want:?}:\n{told}");
        assert!(!folder.path().join("a").exists());
    }
    // A text that is not there is noticed before the work.
    let told = printed(&trainer(&["grow", FO, &path("a"), "--width", "2", "--check", "nowhere.txt"]).code(3));
    assert!(told.contains("nowhere.txt") && !folder.path().join("a").exists(), "{told}");
}

#[test]
fn a_recipe_says_all_that_was_asked_for() {
    let grow = Grow {
        width: 2,
        intermediate: 3,
        noise: Some(NoiseWords { snr: Amount(7.5), seed: 4 }),
        head: Some(growmerge::recipe::HeadForm::Factor),
        factor: Some(Amount(4.0)),
    };
    let text = recipe("a \"b\": c", &grow, Some("bfloat16"));
    let recipe = Recipe::parse("recipe.yaml", &text).unwrap_or_else(|p| panic!("{p}"));
    let models = recipe.models();
    assert_eq!((models[0].value.path.as_str(), models[0].value.grow), ("a \"b\": c", Some(grow)));
}
