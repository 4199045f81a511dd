//! `growmerge merge --device cuda` as a user runs it, on stand-ins for NVIDIA's libraries (`cuda_driver/fake.c`, `nvrtc.c`) whose
//! kernels the system's C++ compiler makes: they compute.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cuda/host.rs"]
mod host;
#[path = "cuda_driver/machine.rs"]
mod machine;

use std::path::{Path, PathBuf};
use std::process::Command;

use machine::fake;
use sha2::{Digest, Sha256};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/host.h");

/// Whether there is a C++ compiler; without one this says so, and `GROWMERGE_REQUIRE_CXX=1` forbids that.
fn computes() -> bool {
    host::compiler().is_some()
}

/// Kernels that were made before, by these sources of the stand-in.
fn cache() -> PathBuf {
    let mut hash = Sha256::new();
    for file in [HOST, "tests/cuda_driver/fake.c", "tests/cuda_driver/nvrtc.c"] {
        hash.update(std::fs::read(Path::new(ROOT).join(file)).unwrap());
    }
    let name: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda_merges").join(name)
}

/// What a command said, and how it ended.
struct Ended {
    code: Option<i32>,
    out: String,
    error: String,
}

fn growmerge(arguments: &[&str], machine: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_growmerge"));
    command.current_dir(ROOT).env("HF_HUB_OFFLINE", "1").env("HF_HOME", "/nowhere");
    fake(command.args(arguments).env("FAKE_HOST", HOST), &[]);
    command.env("GROWMERGE_KERNEL_CACHE", cache()).envs(machine.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ended = Ended { code: output.status.code(), out: text(&output.stdout), error: text(&output.stderr) };
    assert!(!ended.error.contains("panicked"), "{}", ended.error);
    ended
}

fn merge(recipe: &str, out: &Path, more: &[&str], machine: &[(&str, &str)]) -> Ended {
    growmerge(&[&["merge", recipe, out.to_str().unwrap()], more].concat(), machine)
}

/// The same, which must go well.
fn merged(recipe: &str, out: &Path, more: &[&str], machine: &[(&str, &str)]) -> Ended {
    let ended = merge(recipe, out, more, machine);
    assert_eq!(ended.code, Some(0), "{recipe} {more:?}: {}", ended.error);
    ended
}

fn weights(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

const QUICKSTART: &str = "recipes/quickstart.yaml";
const CUDA: [&str; 2] = ["--device", "cuda"];

#[test]
fn merges_on_the_card_have_the_bytes_of_the_cpu() {
    if !computes() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for recipe in [QUICKSTART, "recipes/ties.yaml", "recipes/slerp.yaml", "recipes/stages.yaml"] {
        let name = Path::new(recipe).file_stem().unwrap().to_str().unwrap();
        let (cpu, card) = (folder.path().join(format!("{name}-cpu")), folder.path().join(name));
        merged(recipe, &cpu, &[], &[]);
        let ended = merged(recipe, &card, &CUDA, &[]);
        assert!(
            ended.out.contains(" s on Fake 0, ") && ended.error.is_empty(),
            "{}{}",
            ended.out,
            ended.error
        );
        assert!(weights(&cpu) == weights(&card), "{recipe}");
        let verified = growmerge(&["verify", card.to_str().unwrap()], &[]);
        assert_eq!(verified.code, Some(0), "{}", verified.error);
    }
    let ended = merged(
        QUICKSTART,
        &folder.path().join("json"),
        &["--device", "cuda:1", "--json"],
        &[("FAKE_CARDS", "2")],
    );
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json["device"], "Fake 1");
}

#[test]
fn members_of_a_grid_too() {
    if !computes() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (cpu, card) = (folder.path().join("cpu"), folder.path().join("card"));
    let only = ["--only", "*-et-fo"];
    merged("recipes/grid.yaml", &cpu, &only, &[]);
    merged("recipes/grid.yaml", &card, &[&only[..], &CUDA].concat(), &[]);
    let mut members = 0;
    for member in std::fs::read_dir(&cpu).unwrap().map(|entry| entry.unwrap().file_name()) {
        assert!(weights(&cpu.join(&member)) == weights(&card.join(&member)), "{}", member.display());
        members += 1;
    }
    assert_eq!(members, 3);
}

#[test]
fn what_keeps_a_merge_off_the_card_is_said() {
    if !computes() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    merged(QUICKSTART, &out("cpu"), &[], &[]);
    let auto = merged(QUICKSTART, &out("auto"), &["--device", "auto"], &[]);
    let want = "--device auto takes the CPU: 3.79 MB to read are merged before a card is ready\n";
    assert_eq!((auto.error.as_str(), auto.out.contains("Fake")), (want, false));
    let little = [&CUDA[..], &["--device-memory", "1MiB"]].concat();
    let ended = merged(QUICKSTART, &out("little"), &little, &[]);
    let want = "warning: 1.05 MB on the card are too little for this merge; it runs on the CPU\n";
    assert_eq!((ended.error.as_str(), ended.out.contains("Fake")), (want, false));
    // A card that has less than was allowed.
    let less = [("FAKE_MEMORY", "8390000")];
    let more = [&CUDA[..], &["--device-memory", "1GiB"]].concat();
    let ended = merged(QUICKSTART, &out("less"), &more, &less);
    let want = "warning: the device has not enough memory: blocks that do not fit are merged on the CPU\n";
    assert_eq!(ended.error, want);
    for name in ["auto", "little", "less"] {
        assert!(weights(&out("cpu")) == weights(&out(name)), "{name}");
    }
    for (name, arguments, machine) in [("quiet", &little, &[][..]), ("silent", &more, &less)] {
        let quiet = [&arguments[..], &["--quiet"]].concat();
        let ended = merged(QUICKSTART, &out(name), &quiet, machine);
        assert_eq!(format!("{}{}", ended.out, ended.error), "", "errors only");
    }
}

#[test]
fn kernels_of_one_run_serve_the_next() {
    if !computes() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (kernels, log) = (folder.path().join("kernels"), folder.path().join("log"));
    let machine =
        [("GROWMERGE_KERNEL_CACHE", kernels.to_str().unwrap()), ("FAKE_LOG", log.to_str().unwrap())];
    let run = |name: &str| {
        let _ = std::fs::remove_file(&log);
        merged(QUICKSTART, &folder.path().join(name), &CUDA, &machine);
        let log = std::fs::read_to_string(&log).unwrap();
        let many = |what: &str| log.lines().filter(|line| line.starts_with(what)).count();
        (many("compile"), many("load"))
    };
    let (compiled, loaded) = run("first");
    assert!(compiled > 0 && compiled == loaded, "{compiled} {loaded}");
    assert_eq!(std::fs::read_dir(&kernels).unwrap().count(), compiled);
    assert_eq!(run("second"), (0, loaded));
    assert!(weights(&folder.path().join("first")) == weights(&folder.path().join("second")));
}

#[test]
fn a_card_that_fails_in_the_middle_leaves_what_can_be_resumed() {
    if !computes() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (cpu, out) = (folder.path().join("cpu"), folder.path().join("out"));
    merged(QUICKSTART, &cpu, &[], &[]);
    let failed = merge(QUICKSTART, &out, &CUDA, &[("FAKE_FAILS", "20")]);
    assert_eq!(failed.code, Some(3), "{}", failed.error);
    let told = failed.error.starts_with("error: the CUDA device cannot ");
    assert!(told && failed.error.contains("(CUDA_ERROR_ILLEGAL_ADDRESS)"), "{}", failed.error);
    assert!(!out.join("model.safetensors").exists(), "nothing half-written looks whole");
    let resumed = merged(QUICKSTART, &out, &[&CUDA[..], &["--resume"]].concat(), &[]);
    assert!(resumed.error.contains(" of 38 tensors are there already"), "{}", resumed.error);
    assert!(weights(&cpu) == weights(&out));
}
