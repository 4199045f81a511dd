//! Gigabytes of input per second, for every method, by threads and by block size, beside what the machine
//! can read and write at most.
//!
//!     cargo bench
//!
//! Six models of 30 M parameters in bf16 (61 MB each), in the page cache; results are hashed and dropped,
//! so that neither a disk nor a page cache of outputs is in the way.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, unsafe_code)]

mod recipes;
mod synthesize;

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use growmerge::device::LINE;
use growmerge::device::cpu::{BLOCK_ELEMENTS, Cpu};
use growmerge::execute::{self, Observer, Options, Piece, Sealed, Sink};
use growmerge::plan::Plan;
use growmerge::problem::ExecError;
use memmap2::Mmap;

struct Nowhere;

impl Sink for Nowhere {
    fn write(&self, _job: usize, _at: u64, piece: Piece) -> Result<(), ExecError> {
        black_box(piece.bytes());
        Ok(())
    }

    fn seal(&self, _job: usize, _sealed: Sealed) -> Result<(), ExecError> {
        Ok(())
    }
}

impl Observer for Nowhere {
    fn advance(&self, _bytes: u64) {}
}

fn merge(plan: &Plan, threads: usize, block: usize) {
    let cancel = AtomicBool::new(false);
    let options = Options { threads, cancel: &cancel };
    let jobs: Vec<usize> = (0..plan.jobs.len()).collect();
    let device = Cpu::new().with_block_elements(block);
    execute::run(&device, plan, &jobs, &options, &Nowhere, &Nowhere).unwrap();
}

fn thread_counts() -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores > 1 { vec![1, cores] } else { vec![1] }
}

fn methods(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    synthesize::write_set("30m", folder.path()).unwrap();
    recipes::write_beside(folder.path());

    let mut limits = c.benchmark_group("limit");
    limits.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    let file = File::open(folder.path().join("et/model.safetensors")).unwrap();
    // SAFETY: nobody changes the file of a temporary folder meanwhile.
    let map = unsafe { Mmap::map(&file).unwrap() };
    limits.throughput(Throughput::Bytes(map.len() as u64));
    for threads in thread_counts() {
        limits.bench_function(BenchmarkId::new("read", threads), |b| b.iter(|| read(&map, threads)));
    }
    let out = folder.path().join("written");
    limits.bench_function("write and sync", |b| {
        b.iter(|| {
            let mut file = File::create(&out).unwrap();
            file.write_all(&map).unwrap();
            file.sync_all().unwrap();
        });
    });
    limits.finish();

    for recipe in recipes::RECIPES {
        let plan = recipes::plan(folder.path(), *recipe);
        let mut group = c.benchmark_group(recipe.0);
        group
            .sample_size(10)
            .measurement_time(Duration::from_secs(2))
            .warm_up_time(Duration::from_millis(500));
        // Input bytes once, however often the method reads them.
        group.throughput(Throughput::Bytes(plan.jobs.iter().map(|j| j.input_bytes(&plan.inputs)).sum()));
        for threads in thread_counts() {
            group.bench_function(BenchmarkId::new("threads", threads), |b| {
                b.iter(|| merge(&plan, threads, BLOCK_ELEMENTS));
            });
        }
        for lines in [1, 4, 16, 64] {
            group.bench_function(
                BenchmarkId::new("block", format!("{} KiB", lines * LINE * 4 / 1024)),
                |b| {
                    b.iter(|| merge(&plan, 1, lines * LINE));
                },
            );
        }
        group.finish();
    }
}

fn read(bytes: &[u8], threads: usize) {
    std::thread::scope(|scope| {
        for part in bytes.chunks(bytes.len().div_ceil(threads)) {
            scope.spawn(move || {
                let words = part.as_chunks::<8>().0;
                black_box(words.iter().fold(0u64, |sum, w| sum.wrapping_add(u64::from_le_bytes(*w))));
            });
        }
    });
}

criterion_group!(benches, methods);
criterion_main!(benches);
