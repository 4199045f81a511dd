//! The driver behind the CUDA device, on a driver and an NVRTC without a card (`cuda_driver/fake.c`, `nvrtc.c`): whatever is queued there
//! is done as late as may be. Each test runs in a process of its own, in which the fake libraries are found first.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "cuda_driver/machine.rs"]
mod machine;

use std::process::Command;

use growmerge::device::cuda::driver::{Driver, Missing, Version};
use growmerge::device::cuda::runtime::{Lane, Runtime, Shape};
use growmerge::device::cuda::source::Source;
use growmerge::problem::ExecError;
use machine::fake;
use sha2::{Digest, Sha256};

const INSIDE: &str = "GROWMERGE_TEST_INSIDE";

/// Runs the calling test, called `name`, once more in a process of its own; true in that process.
fn inside(name: &str, machine: &[(&str, &str)]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    fake(again.args([name, "--exact", "--nocapture"]).env(INSIDE, "1"), machine);
    let output = again.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{machine:?}\n{out}\n{error}");
    false
}

fn source(text: &str) -> Source {
    Source { text: text.into(), words: 3 }
}

fn open() -> Driver {
    Driver::open(0).unwrap()
}

fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 31 + seed) ^ (i >> 11)) as u8).collect()
}

const ONE: Shape = Shape { blocks: 3, threads: 64 };
const MIB: usize = 1 << 20;

#[test]
fn copies_of_any_length_arrive_whole_and_in_order() {
    if !inside("copies_of_any_length_arrive_whole_and_in_order", &[]) {
        return;
    }
    let driver = open();
    let mut lane = driver.lane().unwrap();
    for length in [0, 1, 255, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 16 * MIB, 37 * MIB + 5] {
        let at = lane.allocate(length).unwrap();
        assert_eq!(at % 256, 0);
        let want = bytes(length, length);
        let mut given = want.clone();
        lane.upload(at, &given).unwrap();
        given.fill(0x55); // taken already
        let mut got = vec![1; length];
        lane.download(at, &mut got).unwrap();
        assert!(got == want, "{length} bytes");
        lane.clear(at, length / 2).unwrap();
        lane.download(at, &mut got).unwrap();
        assert!(got[..length / 2].iter().all(|b| *b == 0) && got[length / 2..] == want[length / 2..]);
        lane.free(at);
    }
    // Many short ones, of which several share a slot.
    let at = lane.allocate(24 * MIB).unwrap();
    let want = bytes(24 * MIB, 7);
    let mut begin = 0;
    for length in [1, 1000, 65_537, 300, 2 * MIB + 1].into_iter().cycle() {
        let end = want.len().min(begin + length);
        lane.upload(at + begin as u64, &want[begin..end]).unwrap();
        begin = end;
        if begin == want.len() {
            break;
        }
    }
    let mut got = vec![0; want.len()];
    lane.download(at, &mut got).unwrap();
    assert!(got == want);
}

/// Adds to numbers on the card, uploads between and after, and leaves without waiting.
fn add(driver: &Driver, lane: &mut dyn Lane, seed: u32) {
    let kernel = driver.compile(&source("// words 3")).unwrap();
    let numbers: Vec<u32> = (0..100_000).map(|i| i * 3 + seed).collect();
    let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let at = lane.allocate(raw.len()).unwrap();
    for round in 1..20u32 {
        lane.upload(at, &raw).unwrap();
        for _ in 0..round {
            lane.launch(&*kernel, ONE, &[at, numbers.len() as u64, 5]).unwrap();
        }
        let mut got = vec![0; raw.len()];
        lane.download(at, &mut got).unwrap();
        let got = got.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
        assert!(got.eq(numbers.iter().map(|n| n + 5 * round)), "round {round} of {seed}");
    }
    lane.upload(at, &raw).unwrap();
    lane.launch(&*kernel, ONE, &[at, numbers.len() as u64, 5]).unwrap();
    lane.wait().unwrap();
    lane.free(at);
    let left = lane.allocate(1000).unwrap();
    lane.clear(left, 1000).unwrap();
    lane.free(left);
    lane.upload(left, &[]).unwrap();
}

#[test]
fn lanes_of_many_threads_work_side_by_side_and_leave_nothing_behind() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let machine = [("FAKE_LOG", log.path().to_str().unwrap())];
    if !inside("lanes_of_many_threads_work_side_by_side_and_leave_nothing_behind", &machine) {
        let log = std::fs::read_to_string(log.path()).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        let want = ["compile sm_90", "load", "unload", "released: 0 contexts, 0 bytes of memory, 0 pinned"];
        assert_eq!(lines, want);
        return;
    }
    let driver = open();
    std::thread::scope(|scope| {
        for seed in 0..6 {
            let driver = driver.clone();
            scope.spawn(move || add(&driver, &mut *driver.lane().unwrap(), seed));
        }
    });
    // A lane goes from thread to thread, and outlives the driver with work that nobody waited for.
    let mut lane = driver.lane().unwrap();
    let at = lane.allocate(4000).unwrap();
    let lane = std::thread::spawn(move || {
        lane.upload(at, &[1; 4000]).unwrap();
        lane
    });
    let mut lane = lane.join().unwrap();
    lane.wait().unwrap();
    lane.free(at);
    let at = lane.allocate(64).unwrap();
    let kernel = driver.compile(&source("// words 3")).unwrap();
    let mut other = driver.lane().unwrap();
    for queue in [&mut lane, &mut other] {
        queue.upload(at, &[0; 64]).unwrap();
        queue.launch(&*kernel, ONE, &[at, 16, 1]).unwrap();
    }
    drop((kernel, driver));
    drop(other);
    lane.wait().unwrap();
    lane.free(at);
    let at = lane.allocate(64).unwrap();
    lane.upload(at, &[2; 64]).unwrap();
    let mut got = [0; 64];
    lane.download(at, &mut got).unwrap();
    assert_eq!(got, [2; 64]);
    lane.free(at);
}

#[test]
fn a_source_is_compiled_once_and_found_by_later_processes() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, log) = (folder.path().join("cache"), folder.path().join("log"));
    let machine = [("GROWMERGE_KERNEL_CACHE", cache.to_str().unwrap()), ("FAKE_LOG", log.to_str().unwrap())];
    let name = "a_source_is_compiled_once_and_found_by_later_processes";
    if std::env::var_os(INSIDE).is_none() {
        // What a run of eight threads wrote to the log.
        let run = |machine: &[(&str, &str)]| {
            let _ = std::fs::remove_file(&log);
            inside(name, machine);
            let log = std::fs::read_to_string(&log).unwrap();
            log.lines().map(str::to_owned).filter(|l| !l.starts_with("released")).collect::<Vec<_>>()
        };
        assert_eq!(run(&machine), ["compile sm_90", "load", "unload"]);
        assert_eq!(run(&machine), ["load", "unload"], "found on disk");
        let kernel = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&kernel).unwrap();
        std::fs::write(&kernel, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(run(&machine), ["compile sm_90", "load", "unload"], "cut off");
        let foreign = b"\x7fELF of another machine";
        std::fs::write(&kernel, [&Sha256::digest(foreign)[..], &foreign[..]].concat()).unwrap();
        assert_eq!(run(&machine), ["compile sm_90", "load", "unload"], "whole, but does not load");
        assert_eq!(std::fs::read(&kernel).unwrap(), whole);
        let newer = [machine[0], machine[1], ("FAKE_NVRTC", "131")];
        assert_eq!(run(&newer), ["compile sm_90", "load", "unload"], "another compiler");
        let other = [machine[0], machine[1], ("FAKE_ARCH", "86")];
        assert_eq!(run(&other), ["compile compute_80", "load", "unload"], "PTX for a card of its own");
        assert_eq!(run(&other), ["load", "unload"]);
        let none = [("GROWMERGE_KERNEL_CACHE", ""), machine[1]];
        assert_eq!(run(&none), ["compile sm_90", "load", "unload"]);
        assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 3);
        return;
    }
    let driver = open();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| driver.compile(&source("// words 3")).unwrap());
        }
    });
}

#[test]
fn what_a_card_or_compiler_refuses_is_an_error() {
    if !inside("what_a_card_or_compiler_refuses_is_an_error", &[]) {
        return;
    }
    let driver = open();
    assert_eq!((driver.name().as_str(), driver.processors()), ("Fake 0", 7));
    let memory = driver.memory().unwrap();
    assert_eq!((memory.free, memory.total), (1 << 30, 1 << 30));
    let told = driver.compile(&source("#error")).unwrap_err();
    let want = "NVRTC refused a kernel (NVRTC_ERROR_COMPILATION):\nline 1: no";
    assert!(matches!(&told, ExecError::Device { what } if what == want), "{told}");
    // Parameters are read through one pointer: nothing but the right number will do.
    for (text, words) in [("// words 3", 2), ("// words 4", 3)] {
        let told = driver.compile(&Source { text: text.into(), words }).unwrap_err().to_string();
        let want = format!("the kernel growmerge_kernel does not take {words} words and nothing else");
        assert_eq!(told, want);
    }
    assert!(driver.compile(&source("a\0b")).unwrap_err().to_string().contains("a zero in it"));
    let mut lane = driver.lane().unwrap();
    let kernel = driver.compile(&source("// words 3")).unwrap();
    let told = lane.launch(&*kernel, ONE, &[0, 0]).unwrap_err().to_string();
    assert_eq!(told, "a kernel of 3 words was given 2");
    let told = lane.launch(&*kernel, Shape { blocks: 0, threads: 1 }, &[0, 0, 0]).unwrap_err().to_string();
    let want = "the CUDA device cannot start a kernel: something is wrong (CUDA_ERROR_INVALID_VALUE)";
    assert_eq!(told, want);
    let told = Driver::open(0).unwrap().lane().unwrap().launch(&*kernel, ONE, &[0, 0, 0]).unwrap_err();
    assert_eq!(told.to_string(), "a kernel was compiled for another device");
    let all = lane.allocate(1 << 29).unwrap();
    let told = lane.allocate(1 << 30).unwrap_err();
    assert!(matches!(told, ExecError::DeviceMemory { bytes: 0x4000_0000 }), "{told}");
    lane.free(all);
    let again = lane.allocate(1 << 30).unwrap();
    lane.free(again);
}

#[test]
fn a_system_short_of_pinned_memory_is_slower_or_says_so() {
    let name = "a_system_short_of_pinned_memory_is_slower_or_says_so";
    if std::env::var_os(INSIDE).is_none() {
        for most in ["0", "8388608", "13000000"] {
            inside(name, &[("FAKE_PINNED", most)]);
        }
        return;
    }
    let mut lane = open().lane().unwrap();
    let want = bytes(30 * MIB, 3);
    let at = lane.allocate(want.len()).unwrap();
    let uploaded = lane.upload(at, &want);
    if std::env::var("FAKE_PINNED").unwrap() == "0" {
        assert!(matches!(uploaded, Err(ExecError::Memory { .. })), "{uploaded:?}");
        return;
    }
    uploaded.unwrap();
    let mut got = vec![0; want.len()];
    let downloaded = lane.download(at, &mut got);
    match downloaded {
        Ok(()) => assert!(got == want),
        Err(error) => assert!(matches!(error, ExecError::Memory { .. }), "{error}"),
    }
}

#[test]
fn what_is_missing_is_said() {
    let name = "what_is_missing_is_said";
    let nowhere = tempfile::tempdir().unwrap();
    let path = nowhere.path().to_str().unwrap();
    if std::env::var_os(INSIDE).is_none() {
        let machines: [&[(&str, &str)]; 6] = [
            &[("WANT", "too old"), ("FAKE_VERSION", "12040")],
            &[("WANT", "card"), ("FAKE_CARDS", "0")],
            &[("WANT", "ordinal"), ("FAKE_CARDS", "2")],
            &[("WANT", "nvrtc"), ("GROWMERGE_NVRTC", path)],
            &[("WANT", "nvrtc too old"), ("FAKE_NVRTC", "114")],
            &[("WANT", "newer cards"), ("FAKE_ARCH", "75")],
        ];
        for machine in machines {
            inside(name, machine);
        }
        return;
    }
    let ordinal = 2;
    let missing = Driver::open(if std::env::var("WANT").unwrap() == "ordinal" { ordinal } else { 0 });
    let (thirteen, twelve) = (Version { major: 13, minor: 0 }, Version { major: 12, minor: 4 });
    match (std::env::var("WANT").unwrap().as_str(), missing.unwrap_err()) {
        ("too old", Missing::DriverTooOld { found, needed }) => {
            assert_eq!((found, needed), (twelve, thirteen));
        }
        ("ordinal", Missing::Ordinal { ordinal: 2, count: 2 }) | ("card", Missing::Card) => {}
        ("nvrtc", Missing::Compiler { looked }) => {
            let folder = std::env::var("GROWMERGE_NVRTC").unwrap();
            assert_eq!(looked[0], format!("{folder}/libnvrtc.so.13"));
            assert!(looked.iter().all(|path| path.starts_with(&folder)), "{looked:?}");
        }
        ("nvrtc too old", Missing::CompilerTooOld { found: Version { major: 11, minor: 4 }, .. }) => {}
        ("newer cards", Missing::Other { what }) => {
            let want =
                "NVRTC 13.0 makes no code for compute capability 7.5; the oldest that it knows is 8.0.";
            assert_eq!(what, want);
        }
        (want, missing) => panic!("{want}: {missing:?}"),
    }
}

/// What `growmerge devices` prints.
fn devices(arguments: &[&str], machine: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_growmerge"));
    fake(command.arg("devices").args(arguments), machine);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn devices_are_listed_with_what_they_are() {
    let text = devices(&[], &[("FAKE_CARDS", "2")]);
    assert!(text.contains("driver   CUDA 13.0\n"), "{text}");
    let card = "card 1   Fake 1, compute capability 9.0, 7 multiprocessors, 1.07 GB of 1.07 GB free\n";
    assert!(text.contains(card) && text.contains(" GB/s from it\n"), "{text}");
    assert!(text.ends_with("kernels  not kept\n"), "nothing is missing: {text}");
    let json: serde_json::Value =
        serde_json::from_str(&devices(&["--json"], &[("FAKE_CARDS", "2")])).unwrap();
    assert_eq!((&json["driver"], &json["nvrtc"]["version"]), (&"13.0".into(), &"13.0".into()));
    assert_eq!(json["cards"][1]["compute_capability"], "9.0");
    assert!(json["cards"][0]["copies_bytes_per_second"]["to"].as_f64().unwrap() > 0.0);
    assert_eq!((&json["kernels"], &json["missing"]), (&serde_json::Value::Null, &serde_json::json!([])));
}

#[test]
fn a_machine_without_a_card_is_told_so_and_fails_nothing() {
    let nowhere = tempfile::tempdir().unwrap();
    let machine = [("FAKE_CARDS", "0"), ("GROWMERGE_NVRTC", nowhere.path().to_str().unwrap())];
    let text = devices(&[], &machine);
    assert!(
        text.contains("\nThe CUDA driver sees no card.\n") && text.contains("driver   CUDA 13.0"),
        "{text}"
    );
    assert!(text.contains("\nNVRTC, which compiles kernels for the card, was not found: "), "{text}");
    assert!(text.contains("pip install \"nvidia-cuda-nvrtc==13.0.*\""), "{text}");
    let json: serde_json::Value = serde_json::from_str(&devices(&["--json"], &machine)).unwrap();
    assert_eq!((json["missing"].as_array().unwrap().len(), &json["cards"]), (2, &serde_json::json!([])));
    assert_eq!(json["missing"][0]["what"], "The CUDA driver sees no card.");
    let old = devices(&[], &[("FAKE_VERSION", "12080")]);
    assert!(old.contains("it is of CUDA 12.8, and 13.0 is needed.\n"), "{old}");
}
