//! `--device` as a user gives it, on a machine whose cards are hidden.

use std::path::Path;

use super::support::{command, read};

fn merge(out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut merge = command();
    // With no driver, or no compiler, it is these that are missing.
    merge
        .env("CUDA_VISIBLE_DEVICES", "")
        .args(["merge", "recipes/quickstart.yaml"])
        .arg(out)
        .args(more)
        .assert()
}

fn told(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

#[test]
fn without_a_card_auto_takes_the_cpu_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, auto) = (folder.path().join("plain"), folder.path().join("auto"));
    merge(&plain, &[]).success();
    let merged = merge(&auto, &["--device", "auto", "--device-memory", "1GiB"]).success();
    let told = told(&merged);
    assert!(told.contains("--device auto takes the CPU: ") && told.contains("CUDA"), "{told}");
    let (plain, auto) = (read(&plain), read(&auto));
    assert!(plain.iter().zip(&auto).all(|(a, b)| a.0 == b.0 && a.1.bytes == b.1.bytes));
    let quiet = merge(&folder.path().join("quiet"), &["--device", "auto", "--quiet"]).success();
    assert_eq!(quiet.get_output().stderr, b"");
}

#[test]
fn a_card_that_is_not_there_is_a_sentence_and_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for device in ["cuda", "cuda:1"] {
        let failed = merge(&out, &["--device", device]).code(3);
        let told = told(&failed);
        assert!(told.contains("CUDA") && !told.contains("panicked"), "{told}");
        assert!(!out.exists(), "nothing was begun");
    }
}

#[test]
fn devices_that_nobody_has_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for device in ["gpu", "cuda:", "cuda:x"] {
        let told = told(&merge(&out, &["--device", device]).code(2));
        assert!(told.contains("say cpu, cuda, cuda:N with the number of a card, or auto"), "{told}");
    }
    let told = told(&merge(&out, &["--device-memory", "1GB"]).code(2));
    assert!(told.contains("add --device cuda or --device auto"), "{told}");
    assert!(!out.exists());
}
