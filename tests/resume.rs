//! A merge that is ended at any point continues to the same bytes.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use growmerge::device::cpu::Cpu;
use growmerge::execute::{self, Options, Piece, Sealed, Sink};
use growmerge::plan::{Plan, PlanOptions};
use growmerge::problem::{Error, ExecError};
use growmerge::write::{Draft, Existing, JOURNAL, MANIFEST, Opened, Sync};
use support::{Noise, Silent, Tensors, command, f32s, plan_with, recipe, write};

/// Passes everything on to a draft until so many tensors are sealed, then fails like a machine.
struct Ends<'a> {
    draft: &'a Draft<'a>,
    left: AtomicUsize,
}

impl Sink for Ends<'_> {
    fn piece(&self, job: usize, at: u64, len: usize) -> Piece {
        self.draft.piece(job, at, len)
    }

    fn write(&self, job: usize, at: u64, piece: Piece) -> Result<(), ExecError> {
        self.draft.write(job, at, piece)
    }

    fn seal(&self, job: usize, sealed: Sealed) -> Result<(), ExecError> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if left.is_err() {
            return Err(ExecError::Interrupted);
        }
        self.draft.seal(job, sealed)
    }
}

struct Set {
    folder: tempfile::TempDir,
    recipe: String,
}

fn set() -> Set {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(3);
    let mut models = Vec::new();
    for name in ["base", "a", "b"] {
        let mut tensors = Tensors::new();
        for layer in 0..4 {
            for part in ["mlp.up_proj", "input_layernorm"] {
                let shape = if part == "mlp.up_proj" { vec![40, 300] } else { vec![40] };
                let x: Vec<f32> = (0..shape.iter().product()).map(|_| noise.next()).collect();
                tensors.insert(format!("model.layers.{layer}.{part}.weight"), f32s(&shape, x));
            }
        }
        models.push(folder.path().join(name));
        write(&models[models.len() - 1], &tensors);
        std::fs::write(models[models.len() - 1].join("tokenizer.json"), "{}").unwrap();
    }
    let recipe = recipe("ties", Some(&models[0]), &models[1..], "{weight: 0.5, density: 0.5}");
    Set { folder, recipe }
}

impl Set {
    fn plan(&self) -> Plan {
        // Several shards, so that ends between two renames can be tried.
        plan_with(&self.recipe, &PlanOptions { shard_size: 100_000, ..PlanOptions::default() })
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Merges into `out`, ending after `seals` tensors; with `None` to the end.
fn merge(plan: &Plan, out: &Path, existing: Existing, seals: Option<usize>) -> Result<(), Error> {
    let (draft, todo) = match Draft::open(plan, out, existing, Sync::System)? {
        Opened::Draft(draft, todo) => (draft, todo),
        Opened::Complete => return Ok(()),
    };
    let cancel = AtomicBool::new(false);
    let options = Options { threads: 2, cancel: &cancel };
    let sink = Ends { draft: &draft, left: AtomicUsize::new(seals.unwrap_or(usize::MAX)) };
    execute::run(&Cpu::new(), plan, &todo, &options, &sink, &Silent)?;
    draft.finish(None)?;
    Ok(())
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entry = |e: std::io::Result<std::fs::DirEntry>| {
        let e = e.unwrap();
        (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(entry).collect()
}

/// What a merge without interruption writes.
fn undisturbed(set: &Set) -> BTreeMap<String, Vec<u8>> {
    merge(&set.plan(), &set.out("whole"), Existing::Refuse, None).unwrap();
    let whole = files(&set.out("whole"));
    assert!(whole.contains_key(MANIFEST) && !whole.contains_key(JOURNAL));
    whole
}

#[test]
fn after_every_line_of_the_journal() {
    let set = set();
    let (plan, whole) = (set.plan(), undisturbed(&set));
    for seals in 0..plan.jobs.len() {
        let out = set.out(&format!("ended-{seals}"));
        merge(&plan, &out, Existing::Refuse, Some(seals)).unwrap_err();
        let half = files(&out);
        assert!(half.contains_key(JOURNAL) && !half.contains_key(MANIFEST), "nothing looks whole");
        assert!(!half.keys().any(|f| f.ends_with(".safetensors")), "nor any shard");
        merge(&plan, &out, Existing::Resume, None).unwrap();
        assert!(files(&out) == whole, "after {seals} tensors");
    }
}

#[test]
fn with_a_journal_that_is_cut_anywhere() {
    let set = set();
    let (plan, whole) = (set.plan(), undisturbed(&set));
    let out = set.out("cut");
    merge(&plan, &out, Existing::Refuse, Some(5)).unwrap_err();
    let before = files(&out);
    let journal = &before[JOURNAL];
    for len in (0..journal.len()).step_by(37).chain([journal.len() - 1]) {
        for (name, bytes) in &before {
            std::fs::write(out.join(name), bytes).unwrap();
        }
        std::fs::write(out.join(JOURNAL), &journal[..len]).unwrap();
        merge(&plan, &out, Existing::Resume, None).unwrap();
        assert!(files(&out) == whole, "a journal of {len} bytes");
        std::fs::remove_dir_all(&out).unwrap();
        std::fs::create_dir(&out).unwrap();
    }
}

#[test]
fn with_tensors_that_never_reached_the_disk() {
    let set = set();
    let (plan, whole) = (set.plan(), undisturbed(&set));
    let out = set.out("lost");
    merge(&plan, &out, Existing::Refuse, Some(6)).unwrap_err();
    // The journal claims six tensors; of one shard no byte arrived, another is not there at all.
    let shards: Vec<PathBuf> =
        plan.layout.shards.iter().map(|s| out.join(format!("{}.partial", s.file))).collect();
    let len = shards[0].metadata().unwrap().len();
    std::fs::write(&shards[0], vec![0; len as usize]).unwrap();
    std::fs::remove_file(&shards[1]).unwrap();
    merge(&plan, &out, Existing::Resume, None).unwrap();
    assert!(files(&out) == whole);
}

#[test]
fn between_the_renames_and_before_the_manifest() {
    let set = set();
    let (plan, whole) = (set.plan(), undisturbed(&set));
    let out = set.out("late");
    merge(&plan, &out, Existing::Refuse, Some(plan.jobs.len() - 1)).unwrap_err();
    let journal = files(&out)[JOURNAL].clone();
    for renamed in 0..=plan.layout.shards.len() {
        merge(&plan, &out, Existing::Resume, None).unwrap();
        // Back to the state with so many shards renamed, all small files there, and no manifest.
        std::fs::remove_file(out.join(MANIFEST)).unwrap();
        std::fs::write(out.join(JOURNAL), &journal).unwrap();
        for shard in plan.layout.shards.iter().skip(renamed) {
            std::fs::rename(out.join(&shard.file), out.join(format!("{}.partial", shard.file))).unwrap();
        }
        merge(&plan, &out, Existing::Resume, None).unwrap();
        assert!(files(&out) == whole, "{renamed} shards renamed");
        // The manifest there, the journal not yet gone.
        std::fs::write(out.join(JOURNAL), &journal).unwrap();
        merge(&plan, &out, Existing::Resume, None).unwrap();
        assert!(files(&out) == whole);
    }
    merge(&plan, &out, Existing::Resume, None).unwrap();
    assert!(files(&out) == whole, "resuming what is complete changes nothing");
}

fn refusal(plan: &Plan, out: &Path, existing: Existing) -> String {
    match merge(plan, out, existing, None) {
        Err(Error::Input(problems)) => problems.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn another_plan_or_a_changed_input_is_refused_and_nothing_lost() {
    let mut set = set();
    let out = set.out("other");
    let plan = set.plan();
    merge(&plan, &out, Existing::Refuse, Some(3)).unwrap_err();
    let before = files(&out);
    assert!(refusal(&plan, &out, Existing::Refuse).contains("--resume continues it"));
    let recipe = set.recipe.clone();
    set.recipe = recipe.replace("0.5}", "0.6}");
    assert!(refusal(&set.plan(), &out, Existing::Resume).contains("is of another plan"));
    set.recipe = recipe;
    // The same bytes, written again: whether they are the same cannot be known without reading them.
    let input = set.folder.path().join("a/model.safetensors");
    let bytes = std::fs::read(&input).unwrap();
    std::fs::write(&input, bytes).unwrap();
    assert!(refusal(&set.plan(), &out, Existing::Resume).contains("inputs"));
    assert!(files(&out) == before);
    merge(&set.plan(), &out, Existing::Overwrite, None).unwrap();
    assert!(files(&out) == undisturbed(&set));
}

#[test]
fn a_finished_merge_of_another_plan_is_told_and_left_alone() {
    let mut set = set();
    let out = set.out("finished");
    merge(&set.plan(), &out, Existing::Refuse, None).unwrap();
    let before = files(&out);
    set.recipe = set.recipe.replace("0.5}", "0.6}");
    let told = refusal(&set.plan(), &out, Existing::Resume);
    assert!(
        told.contains("the finished merge here is of another plan") && told.contains("--overwrite"),
        "{told}"
    );
    assert!(refusal(&set.plan(), &out, Existing::Refuse).contains("not empty"));
    assert!(files(&out) == before);
    // A manifest that says nothing is nobody's merge.
    std::fs::write(out.join(MANIFEST), "{}").unwrap();
    assert!(refusal(&set.plan(), &out, Existing::Resume).contains("not empty"));
}

#[test]
fn a_second_merge_into_the_folder_is_told() {
    let set = set();
    let plan = set.plan();
    let out = set.out("busy");
    let Opened::Draft(draft, _) = Draft::open(&plan, &out, Existing::Refuse, Sync::System).unwrap() else {
        panic!("new folder")
    };
    let recipe = set.out("recipe.yaml");
    std::fs::write(&recipe, &set.recipe).unwrap();
    for flag in ["--quiet", "--resume", "--overwrite"] {
        let told = command().arg("merge").arg(&recipe).arg(&out).arg(flag).assert().code(2);
        let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
        assert!(told.contains("another merge is writing into this folder"), "{told}");
    }
    drop(draft);
    command().arg("merge").arg(&recipe).arg(&out).args(["--quiet", "--overwrite"]).assert().success();
}

/// A merge that takes long enough to be ended in the middle: a recipe over forty megabytes.
fn slow_recipe(folder: &Path) -> PathBuf {
    let mut noise = Noise(9);
    let mut models = Vec::new();
    let x: Vec<f32> = (0..1 << 18).map(|_| noise.next()).collect();
    for name in ["base", "a", "b"] {
        models.push(folder.join(name));
        let scale = 1.0 + models.len() as f32 / 10.0;
        let tensor = f32s(&[512, 512], x.iter().map(|x| x * scale));
        let named = |layer: usize| (format!("model.layers.{layer}.mlp.up_proj.weight"), tensor.clone());
        write(&models[models.len() - 1], &(0..40).map(named).collect());
    }
    let path = folder.join("recipe.yaml");
    let parameters = "{weight: 0.5, density: 0.5}";
    std::fs::write(&path, recipe("dare_ties", Some(&models[0]), &models[1..], parameters)).unwrap();
    path
}

/// Starts a merge and sends a signal when its journal has so many lines; returns the exit.
fn signalled(recipe: &Path, out: &Path, lines: usize, signal: &str) -> std::process::Output {
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_growmerge"))
        .args(["merge", "--threads", "1", "--resume"])
        .args([recipe, out])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    let journal = || std::fs::read(out.join(JOURNAL)).unwrap_or_default();
    while journal().iter().filter(|b| **b == b'\n').count() < lines && Instant::now() < patience {
        if out.join(MANIFEST).exists() {
            break;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let id = child.id().to_string();
    let _ = std::process::Command::new("kill").args([signal, &id]).status().unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn after_real_kills_and_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = slow_recipe(folder.path());
    let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
    command().arg("merge").arg(&recipe).arg(&whole).arg("--quiet").assert().success();
    let mut ended = 0;
    for (lines, signal) in [(1, "-KILL"), (9, "-INT"), (17, "-KILL"), (25, "-TERM")] {
        let exit = signalled(&recipe, &out, lines, signal);
        if signal != "-KILL" && !out.join(MANIFEST).exists() {
            assert_eq!(exit.status.code(), Some(130));
            assert!(String::from_utf8_lossy(&exit.stderr).contains("--resume to continue"));
        }
        ended += usize::from(!out.join(MANIFEST).exists());
    }
    assert!(ended > 0, "every merge was done before it could be ended");
    command().arg("merge").arg(&recipe).arg(&out).args(["--quiet", "--resume"]).assert().success();
    assert!(files(&out) == files(&whole));
}
