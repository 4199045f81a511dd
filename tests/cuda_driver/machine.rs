//! A machine with stand-ins for NVIDIA's libraries.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the fake libraries and says where they are.
pub fn libraries() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda_driver");
    std::fs::create_dir_all(&folder).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda_driver");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    // Made aside and renamed, because other tests may be using them.
    let aside = tempfile::tempdir_in(&folder).unwrap();
    for (source, name) in [("fake.c", "libcuda.so"), ("nvrtc.c", "libnvrtc.so.13")] {
        let library = aside.path().join(name);
        let build = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-O1", "-pthread", "-o"])
            .args([&library, &sources.join(source)])
            .status();
        assert!(build.unwrap().success(), "a C compiler is what links Rust too");
        std::fs::rename(library, folder.join(name)).unwrap();
    }
    folder
}

/// Has a command find the fake libraries, on a machine that is as these variables say.
pub fn fake(command: &mut Command, machine: &[(&str, &str)]) {
    let libraries = libraries();
    command.env("LD_LIBRARY_PATH", &libraries).env("GROWMERGE_NVRTC", &libraries);
    command.env("GROWMERGE_KERNEL_CACHE", "").envs(machine.iter().copied());
}
