//! The command itself, ended by the system: killed at random moments, out of space, and what reaches the disk when.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod run;

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use run::{described, names, outcome};

const TRAINER: &str = env!("CARGO_BIN_EXE_growmerge-trainer");

/// A description as a file, and where its texts are kept in tokens.
fn description(folder: &Path) -> PathBuf {
    let run = described(|run| {
        (run.steps, run.sequence, run.batch) = (16, 16, 2);
        run.checkpoints.every = 3;
        // Measuring takes longer than these steps.
        run.validation = None;
    });
    let path = folder.join("run.yaml");
    std::fs::write(&path, serde_yaml::to_string(&run).unwrap()).unwrap();
    path
}

fn train(run: &Path, out: &Path) -> Command {
    let mut command = Command::new(TRAINER);
    command.arg("train").arg(run).arg(out).args(["--resume", "--quiet", "--threads", "2"]);
    command
}

fn succeed(mut command: Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn after_kills_at_random_moments_the_bytes_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let run = description(folder.path());
    let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
    let began = Instant::now();
    succeed(train(&run, &whole));
    let long = began.elapsed();
    let mut killed = Vec::new();
    for i in 0..6 {
        let random = RandomState::new().hash_one(i) as f64 / u64::MAX as f64;
        let mut child = train(&run, &out).stderr(Stdio::null()).spawn().unwrap();
        let after = long.mul_f64(random * 0.8) + Duration::from_millis(1);
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
        if out.join("training.json").exists() {
            break;
        }
        killed.push(after);
    }
    assert!(!killed.is_empty(), "the run was complete before it could be killed");
    succeed(train(&run, &out));
    assert_eq!(outcome(&out), outcome(&whole), "killed after {killed:?}");
    let same =
        |name: &&String| !name.contains("metrics") && *name != "training.json" && *name != "curves.svg";
    for name in names(&whole).iter().filter(same).filter(|name| whole.join(name).is_file()) {
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert!(read(&out) == read(&whole), "{name}, killed after {killed:?}");
    }
    assert_eq!(names(&out), names(&whole), "killed after {killed:?}");
}

/// Runs a command where no file can be larger than so many kilobytes.
fn limited(kilobytes: u64, command: &Command) -> Option<Output> {
    let mut sh = Command::new("sh");
    // Blocks are of 512 bytes; a write too many is then an error, not a signal.
    sh.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {} || exit 99; exec \"$0\" \"$@\"", kilobytes * 2));
    sh.arg(command.get_program()).args(command.get_args());
    sh.output().ok().filter(|done| done.status.code() != Some(99))
}

#[test]
fn a_disk_that_is_full_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = description(folder.path());
    let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
    succeed(train(&run, &whole));
    let model = whole.join("model.safetensors").metadata().unwrap().len() / 1024;
    // No room for the tokens, for a state, for a state that is almost written.
    for kilobytes in [4, model / 2, model * 5] {
        let Some(done) = limited(kilobytes, &train(&run, &out)) else {
            eprintln!("SKIPPED: there is no sh that limits the size of files");
            return;
        };
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{kilobytes} kB: {said}");
        assert!(said.contains("cannot write") && said.contains(".safetensors"), "{kilobytes} kB: {said}");
        let partial = |folder: &Path| names(folder).iter().any(|name| name.ends_with(".partial"));
        assert!(!partial(&out) && !out.join("training.json").exists(), "{:?}", names(&out));
        let hidden = names(&out.join("shards")).iter().any(|name| name.starts_with('.'));
        assert!(!hidden, "{:?}", names(&out.join("shards")));
    }
    succeed(train(&run, &out));
    assert_eq!(outcome(&out), outcome(&whole));
}

/// A file is on the disk before it has its name, and the name before whatever relies on it is removed.
#[test]
fn files_reach_the_disk_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (run, out, trace) =
        (description(folder.path()), folder.path().join("out"), folder.path().join("trace"));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2,unlink,unlinkat", "-o"]);
    let command = train(&run, &out);
    strace.arg(&trace).arg(command.get_program()).args(command.get_args());
    if !strace.output().is_ok_and(|done| done.status.success()) {
        eprintln!("SKIPPED: strace cannot be used here");
        return;
    }
    let out = out.canonicalize().unwrap().display().to_string();
    let lines = std::fs::read_to_string(&trace).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    let first = |after: usize, parts: &[&str]| {
        let found = lines.iter().skip(after).position(|line| parts.iter().all(|part| line.contains(part)));
        found
            .map(|at| at + after)
            .unwrap_or_else(|| panic!("no {parts:?} after {after} in\n{}", lines.join("\n")))
    };
    let mut before = 0;
    for name in ["run.identity", "state.safetensors", "model.safetensors", "training.json"] {
        let written = first(before, &["fsync(", &format!("{out}/{name}.partial>")]);
        let renamed = first(written, &["rename", &format!("{name}.partial\""), &format!("/{name}\"")]);
        before = first(renamed, &["fsync(", &format!("<{out}>")]);
    }
    first(before, &["unlink", "state.safetensors\""]);
}
