//! What reading six inputs and writing one output costs by itself: the floor under a merge.
//!
//!     cargo run --release --example floor -- OUT THREADS MODEL.safetensors...
//!
//! Maps every file and adds up all of its bytes once; hashes with SHA-256 and writes as many bytes as
//! the first file has into OUT, preallocated, at their places; syncs, as a merge does. Threads share
//! the work as equal runs of 1 MiB pieces. There is no arithmetic, no check and no checksum of inputs.
#![allow(missing_docs, unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use memmap2::Mmap;
use sha2::{Digest, Sha256};

const PIECE: usize = 1 << 20;

/// Reads every byte, eight at a time.
fn sum(bytes: &[u8]) -> u64 {
    bytes.as_chunks::<8>().0.iter().fold(0, |sum, b| sum.wrapping_add(u64::from_le_bytes(*b)))
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [out, threads, inputs @ ..] = args.as_slice() else { bail!("usage: floor OUT THREADS MODEL...") };
    let threads: usize = threads.parse().context("THREADS")?;
    let maps = inputs
        .iter()
        .map(|path| {
            let file = File::open(path).with_context(|| path.clone())?;
            // SAFETY: a bench on files that nobody changes meanwhile.
            Ok(unsafe { Mmap::map(&file)? })
        })
        .collect::<anyhow::Result<Vec<Mmap>>>()?;
    let Some(first) = maps.first() else { bail!("no model") };
    let file = File::create(out)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, first.len() as u64)?;
    let total = AtomicU64::new(0);
    let share = first.len().div_ceil(threads).next_multiple_of(PIECE);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (maps, file, total) = (&maps, &file, &total);
            scope.spawn(move || -> anyhow::Result<()> {
                let mut hash = Sha256::new();
                let end = ((thread + 1) * share).min(first.len());
                for start in (thread * share..end).step_by(PIECE) {
                    let piece = start..(start + PIECE).min(end);
                    for map in maps {
                        total.fetch_add(sum(&map[piece.clone()]), Ordering::Relaxed);
                    }
                    hash.update(&first[piece.clone()]);
                    file.write_all_at(&first[piece.clone()], start as u64)?;
                }
                total.fetch_add(sum(&hash.finalize()), Ordering::Relaxed);
                Ok(())
            });
        }
    });
    file.sync_all()?;
    println!("{:x}", total.into_inner());
    Ok(())
}
