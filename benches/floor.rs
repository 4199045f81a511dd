//! What reading all inputs and writing one output costs by itself: the floor under a merge.
//!
//!     cargo run --release --example floor -- OUT THREADS MODEL.safetensors...
//!
//! Maps every file and adds up all of its bytes once, hashes as many bytes as the first file has with
//! SHA-256, and writes them to OUT, preallocated, straight from the mapped file and past the page cache
//! where possible, by a thread that does nothing else; syncs at the end, as a merge does. Threads share
//! the reading and hashing as equal runs of 1 MiB pieces. There is no arithmetic, no conversion, no check
//! and no checksum of inputs, and hashing needs no order.
#![allow(missing_docs, unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use anyhow::{Context, bail};
use memmap2::{Advice, Mmap};
use sha2::{Digest, Sha256};

const PIECE: usize = 1 << 20;
const PAGE: usize = 4096;

/// Reads every byte, eight at a time.
fn sum(bytes: &[u8]) -> u64 {
    bytes.as_chunks::<8>().0.iter().fold(0, |sum, b| sum.wrapping_add(u64::from_le_bytes(*b)))
}

/// Pieces begin at pages, in the file and in the map; only the last one may end within a page.
fn write(
    queue: mpsc::Receiver<Range<usize>>,
    bytes: &[u8],
    cached: &File,
    direct: Option<&File>,
) -> io::Result<()> {
    for piece in queue {
        let whole = piece.start + piece.len() / PAGE * PAGE;
        match direct {
            Some(direct) => {
                direct.write_all_at(&bytes[piece.start..whole], piece.start as u64)?;
                cached.write_all_at(&bytes[whole..piece.end], whole as u64)?;
            }
            None => cached.write_all_at(&bytes[piece.clone()], piece.start as u64)?,
        }
    }
    cached.sync_all()
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
    let cached = File::create(out)?;
    rustix::fs::fallocate(&cached, rustix::fs::FallocateFlags::empty(), 0, first.len() as u64)?;
    let flag = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let direct = OpenOptions::new().write(true).custom_flags(flag).open(out).ok();
    let total = AtomicU64::new(0);
    let share = first.len().div_ceil(threads).next_multiple_of(PIECE);
    std::thread::scope(|scope| {
        let (pieces, queue) = mpsc::sync_channel(4);
        let (cached, direct) = (&cached, direct.as_ref());
        let writer = scope.spawn(move || write(queue, first, cached, direct));
        for thread in 0..threads {
            let (maps, total, pieces) = (&maps, &total, pieces.clone());
            scope.spawn(move || {
                let mut hash = Sha256::new();
                let end = ((thread + 1) * share).min(first.len());
                for start in (thread * share..end).step_by(PIECE) {
                    let piece = start..(start + PIECE).min(end);
                    for map in maps {
                        let _ = map.advise_range(Advice::PopulateRead, piece.start, piece.len());
                        total.fetch_add(sum(&map[piece.clone()]), Ordering::Relaxed);
                    }
                    hash.update(&first[piece.clone()]);
                    if pieces.send(piece).is_err() {
                        return; // the writer failed, and says why
                    }
                }
                total.fetch_add(sum(&hash.finalize()), Ordering::Relaxed);
            });
        }
        drop(pieces);
        writer.join().unwrap_or(Ok(()))
    })?;
    println!("{:x}", total.into_inner());
    Ok(())
}
