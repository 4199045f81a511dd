//! How fast merges are on a card, beside what the card can do.
//!
//!     cargo run --release --example cuda -- sets/572m sets/7b-layers
//!
//! Sets are those of `benches/synthesize.rs`, in the page cache. For each method: a streamed merge whose result is hashed and
//! dropped, in bytes of inputs a second; what of it went to the card, as a share of a plain copy; the kernels alone, on inputs that are
//! on the card, in bytes that they must touch, as a share of a copy on the card; and the CPU. Then a grid of 26 subsets and five methods
//! whose inputs stay. Without a card it says what is missing, and ends.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod copy;
#[path = "../recipes.rs"]
mod recipes;
mod recorder;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use growmerge::device::Device;
use growmerge::device::cpu::Cpu;
use growmerge::device::cuda::driver::Driver;
use growmerge::device::cuda::driver::survey::Survey;
use growmerge::device::cuda::runtime::Runtime;
use growmerge::device::cuda::{Cuda, HeldFile};
use growmerge::execute::{self, Observer, Options, Piece, Sealed, Sink};
use growmerge::method::{AnyOperator, RunsOn};
use growmerge::plan::Plan;
use growmerge::problem::ExecError;
use recorder::Recorder;

/// Runs of which the best counts.
const ROUNDS: usize = 3;
/// Languages of a set.
const LANGUAGES: [&str; 5] = ["et", "fo", "is", "fa", "sv"];

struct Nowhere;

impl Sink for Nowhere {
    fn write(&self, _: usize, _: u64, piece: Piece) -> Result<(), ExecError> {
        std::hint::black_box(piece.bytes());
        Ok(())
    }

    fn seal(&self, _: usize, _: Sealed) -> Result<(), ExecError> {
        Ok(())
    }
}

impl Observer for Nowhere {
    fn advance(&self, _: u64) {}
}

fn main() {
    let driver = match Driver::open(0) {
        Ok(driver) => Arc::new(driver),
        Err(missing) => {
            println!("{missing} {}", missing.hint().unwrap_or_default());
            return;
        }
    };
    let recorder = Arc::new(Recorder::new(driver.clone()));
    let card = Card {
        copies: copy::Speed::of(driver.as_ref()),
        memory: driver.memory().unwrap().free / 5 * 4,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        recorder,
    };
    card.describe(driver.as_ref());
    for set in std::env::args_os().skip(1).map(PathBuf::from) {
        recipes::write_beside(&set);
        card.methods(&set);
        card.grid(&set);
    }
}

struct Card {
    copies: copy::Speed,
    memory: u64,
    threads: usize,
    recorder: Arc<Recorder>,
}

/// The least seconds of a few runs.
fn best(mut run: impl FnMut()) -> f64 {
    let one = |_| {
        let begun = Instant::now();
        run();
        begun.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(one).fold(f64::INFINITY, f64::min)
}

fn merge<D: Device>(device: &D, plan: &Plan, threads: usize)
where
    dyn AnyOperator: RunsOn<D>,
{
    let cancel = AtomicBool::new(false);
    let jobs: Vec<usize> = (0..plan.jobs.len()).collect();
    execute::run(device, plan, &jobs, &Options { threads, cancel: &cancel }, &Nowhere, &Nowhere).unwrap();
}

fn files(plan: &Plan) -> impl Iterator<Item = HeldFile<'_>> {
    let number = |path: &Path| {
        path.as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(7u64, |n, b| n.wrapping_mul(31).wrapping_add(u64::from(*b)))
    };
    plan.files().map(move |file| HeldFile { identity: number(&file.path), bytes: file.bytes() })
}

impl Card {
    fn describe(&self, driver: &Driver) {
        let survey = Survey::new();
        let version = |v: Option<String>| v.unwrap_or_else(|| "unknown".into());
        println!(
            "{}, driver of CUDA {}, NVRTC {}, {} threads; copies of 256 MiB: {:.1} GB/s to the card, {:.1} GB/s back, {:.0} GB/s on it\n",
            driver.name(),
            version(survey.driver.map(|v| v.to_string())),
            version(survey.compiler.map(|c| c.version.to_string())),
            self.threads,
            self.copies.up / 1e9,
            self.copies.down / 1e9,
            self.copies.within / 1e9,
        );
    }

    fn methods(&self, set: &Path) {
        println!("{}\n", set.display());
        println!(
            "| method | streamed GB/s | uploads GB/s | of a copy | kernels GB/s | of a copy | CPU GB/s |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|");
        for recipe in recipes::RECIPES {
            let plan = recipes::plan(set, *recipe);
            let once: u64 = plan.jobs.iter().map(|job| job.input_bytes(&plan.inputs)).sum();
            let read = execute::total_bytes(&plan, &(0..plan.jobs.len()).collect::<Vec<_>>());
            // Warm: kernels are compiled, files in the page cache.
            let cuda = Cuda::new(self.recorder.clone(), self.memory);
            merge(&cuda, &plan, self.threads);
            self.recorder.take_uploaded();
            let streamed = best(|| merge(&cuda, &plan, self.threads));
            let uploaded = self.recorder.take_uploaded() as f64 / ROUNDS as f64;
            // On inputs that are there already, what was launched is written down, and done again by itself.
            let kernels = cuda.holding(files(&plan), self.memory / 2, || {
                merge(&cuda, &plan, self.threads);
                let recording = self.recorder.record(|| merge(&cuda, &plan, self.threads));
                (!recording.is_empty()).then(|| best(|| recording.replay()))
            });
            let touched = (read + plan.output_bytes()) as f64;
            let cpu = best(|| merge(&Cpu::new(), &plan, self.threads));
            // A copy reads and writes each byte.
            let kernels = kernels.map_or("- | -".to_owned(), |seconds| {
                let speed = touched / seconds;
                format!("{:.0} | {:.0} %", speed / 1e9, 100.0 * speed / (2.0 * self.copies.within))
            });
            println!(
                "| {} | {:.2} | {:.2} | {:.0} % | {kernels} | {:.2} |",
                recipe.0,
                once as f64 / streamed / 1e9,
                uploaded / streamed / 1e9,
                100.0 * uploaded / streamed / self.copies.up,
                once as f64 / cpu / 1e9,
            );
        }
        println!();
    }

    /// Every subset of at least two languages, by the paper's methods.
    fn grid(&self, set: &Path) {
        let plans: Vec<Plan> = (1u32..32)
            .filter(|subset| subset.count_ones() > 1)
            .flat_map(|subset| {
                ["linear", "task_arithmetic", "ties", "dare_ties", "multislerp"].map(|method| {
                    let mut text = format!("merge_method: {method}\nparameters: {{weight: 1.0}}\nmodels:\n");
                    for (i, language) in LANGUAGES.iter().enumerate() {
                        if subset & (1 << i) != 0 {
                            text += &format!("  - model: {}\n", set.join(language).display());
                        }
                    }
                    if method != "linear" {
                        text += &format!("base_model: {}\n", set.join("base").display());
                    }
                    recipes::plan_of(&text)
                })
            })
            .collect();
        let cuda = Cuda::new(self.recorder.clone(), self.memory);
        let run = || {
            for plan in &plans {
                cuda.holding(files(plan), self.memory / 2, || merge(&cuda, plan, self.threads));
            }
        };
        run();
        let begun = Instant::now();
        run();
        let rate = plans.len() as f64 / begun.elapsed().as_secs_f64();
        println!(
            "a grid of {} merges, inputs on the card, results hashed and dropped: {rate:.2} merges a second\n",
            plans.len()
        );
    }
}
