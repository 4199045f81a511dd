//! Gigabytes of input per second, for every method, by threads and by block size, beside what the machine
//! can read and write at most.
//!
//!     cargo bench
//!
//! Six models of 30 M parameters in bf16 (61 MB each), in the page cache; results are hashed and dropped,
//! so that neither a disk nor a page cache of outputs is in the way.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, unsafe_code)]

mod synthesize;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use growmerge::checkpoint::{Checkpoint, DType, Saved, save};
use growmerge::device::LINE;
use growmerge::device::cpu::{BLOCK_ELEMENTS, Cpu};
use growmerge::execute::{self, Observer, Options, Piece, Sealed, Sink};
use growmerge::method::FileKind;
use growmerge::plan::{Plan, PlanOptions};
use growmerge::problem::ExecError;
use growmerge::recipe::Recipe;
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

/// Method, whether it has a base, and parameters.
const RECIPES: &[(&str, bool, &str)] = &[
    ("linear", false, "weight: 0.2"),
    ("slerp", true, "t: 0.5"),
    ("nuslerp", false, "weight: 0.5"),
    ("multislerp", false, "weight: 0.2"),
    ("karcher", false, ""),
    ("model_stock", true, ""),
    ("task_arithmetic", true, "weight: 0.2"),
    ("ties", true, "weight: 0.2, density: 0.5"),
    ("dare_linear", true, "weight: 0.2, density: 0.5"),
    ("dare_ties", true, "weight: 0.2, density: 0.5"),
    ("breadcrumbs", true, "weight: 0.2, density: 0.5"),
    ("breadcrumbs_ties", true, "weight: 0.2, density: 0.5"),
    ("della_linear", true, "weight: 0.2, density: 0.5"),
    ("della", true, "weight: 0.2, density: 0.5"),
    ("sce", true, "select_topk: 0.5"),
    ("nearswap", true, "t: 0.001"),
    ("ram", true, ""),
    ("ramplus_tl", true, ""),
    ("arcee_fusion", true, ""),
    ("fisher", true, "importance: SET/importance.safetensors"),
    ("regmean", true, "grams: SET/grams.safetensors"),
    ("passthrough", false, ""),
];

fn plan(set: &Path, (method, based, parameters): (&str, bool, &str)) -> Plan {
    let models: &[&str] = match method {
        "slerp" | "nearswap" | "arcee_fusion" | "passthrough" => &["et"],
        "nuslerp" => &["et", "fo"],
        _ => &["et", "fo", "is", "fa", "sv"],
    };
    let parameters = parameters.replace("SET", &set.display().to_string());
    let mut text = format!("merge_method: {method}\nparameters: {{{parameters}}}\nmodels:\n");
    for model in models {
        text += &format!("  - model: {}\n", set.join(model).display());
    }
    if based {
        text += &format!("base_model: {}\n", set.join("base").display());
    }
    let recipe = Recipe::parse("bench", &text).unwrap_or_else(|p| panic!("{p}"));
    Plan::build(&recipe, &PlanOptions::default()).unwrap_or_else(|p| panic!("{p}"))
}

/// Files that stand beside every model: magnitudes of one as its importance, and the identity for all that goes into
/// projections, one for each width.
fn write_beside(set: &Path) {
    let model = Checkpoint::open(set.join("et").to_str().unwrap()).unwrap();
    let (mut importance, mut grams, mut shared) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut widths: BTreeMap<usize, String> = BTreeMap::new();
    for tensor in model.tensors() {
        let bytes: Vec<u8> = model.bytes(tensor).chunks(2).flat_map(|b| [b[0], b[1] & 0x7f]).collect();
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        importance.push(Saved { name, dtype: tensor.dtype, shape, bytes: Cow::Owned(bytes) });
        if !tensor.name.contains("proj") {
            continue;
        }
        let width = tensor.shape[1];
        if let Some(first) = widths.get(&width) {
            shared.insert(tensor.name.clone(), first.clone());
            continue;
        }
        widths.insert(width, tensor.name.clone());
        let entry = |at: usize| f32::from(u8::from(at.is_multiple_of(width + 1))).to_le_bytes();
        let bytes = (0..width * width).flat_map(entry).collect();
        let (name, shape) = (tensor.name.clone(), vec![width; 2]);
        grams.push(Saved { name, dtype: DType::F32, shape, bytes: Cow::Owned(bytes) });
    }
    let about = |kind: FileKind| ("format", kind.format().to_owned());
    let mean = ("mean", "0.01".to_owned());
    let path = set.join("importance.safetensors");
    save(&path, &[about(FileKind::Importance), mean], &importance).unwrap();
    let shared = ("shared", serde_json::to_string(&shared).unwrap());
    save(&set.join("grams.safetensors"), &[about(FileKind::Grams), shared], &grams).unwrap();
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
    write_beside(folder.path());

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

    for recipe in RECIPES {
        let plan = plan(folder.path(), *recipe);
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
