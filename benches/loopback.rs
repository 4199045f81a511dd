//! Serves folders as a Hub on this machine, for comparisons and for trying commands by hand.
//!
//!     cargo run --release --example loopback -- FOLDER [PORT]
//!
//! `FOLDER/owner/name` is the repository `owner/name`. Prints the endpoint, which is what HF_ENDPOINT is set to, and serves
//! until Ctrl-C. The token `hf_OWNER` may write to the repositories of that owner; what is written is gone at the end.
//! Programs that speak Xet need HF_HUB_DISABLE_XET=1.
#![allow(missing_docs)]

#[path = "../tests/hub/loopback/mod.rs"]
mod loopback;

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::Context;
use loopback::{Access, Loopback};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().context("usage: loopback FOLDER [PORT]")?);
    let port = arguments.next().map_or(Ok(0), |port| port.parse()).context("PORT is a number")?;
    let hub = Loopback::start_at(port);
    for owner in folders(&folder)? {
        let owner_name = name(&owner);
        hub.token(&format!("hf_{owner_name}"), &owner_name, Access::Write);
        for model in folders(&owner)? {
            let repository = format!("{owner_name}/{}", name(&model));
            let commit = hub.repo(&repository).put_folder(&model).commit();
            eprintln!("{repository}@{commit}");
        }
    }
    println!("{}", hub.endpoint());
    let (interrupted, wait) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = interrupted.send(()); // twice: the first is enough
    })?;
    Ok(wait.recv()?)
}

fn folders(inside: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(inside).with_context(|| inside.display().to_string())?;
    let mut found: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    found.retain(|path| path.is_dir());
    found.sort();
    Ok(found)
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
