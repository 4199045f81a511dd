//! Too little memory, and inputs that stay on the device.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use growmerge::device::LINE;
use growmerge::device::cpu::Cpu;
use growmerge::device::cuda::{Cuda, HeldFile};
use growmerge::execute::{self, Observer, Options, UNIT};
use growmerge::plan::Plan;
use safetensors::tensor::Dtype;

use super::host::{Host, Threads};
use super::support::every::{same, set};
use super::support::{Memory, plan, run};

/// Remembers what it was told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn advance(&self, _: u64) {}

    fn note(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }
}

fn notes(plan: &Plan, cuda: &Cuda) -> Vec<String> {
    let (notes, cancel) = (Notes::default(), AtomicBool::new(false));
    let jobs: Vec<usize> = (0..plan.jobs.len()).collect();
    let options = Options { threads: 2, cancel: &cancel };
    execute::run(cuda, plan, &jobs, &options, &Memory::default(), &notes).unwrap();
    notes.0.into_inner().unwrap()
}

/// What a thread takes before it loads anything.
fn least() -> usize {
    Cuda::worker_memory(0, UNIT) as usize
}

#[test]
fn too_little_memory_costs_time_and_no_byte() {
    let set = set(true, [Dtype::BF16; 4]);
    let mut told = 0;
    for text in set.recipes() {
        let plan = plan(&text);
        let want = run(&plan, &Cpu::new(), 2).unwrap();
        // Enough for one thread's blocks, for small ones, and for none.
        for room in [least() * 2 + (3 << 20), least() * 2 + (1 << 17), least() * 2 + 4096] {
            let Some(host) = Host::new(Threads::One, room) else { return };
            let (cuda, _) = host.device();
            assert!(same(&want, &run(&plan, &cuda, 2).unwrap()), "{room} bytes\n{text}");
            told += notes(&plan, &cuda).len();
        }
    }
    assert!(told > 0, "the least of them leaves the device");
}

#[test]
fn who_helps_out_is_said_once() {
    let set = set(true, [Dtype::BF16; 4]);
    let plan = plan(&set.recipes()[2]);
    let Some(host) = Host::new(Threads::One, least() * 2 + 4096) else { return };
    let (cuda, _) = host.device();
    let told = notes(&plan, &cuda);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("merged on the CPU"), "{told:?}");
}

fn held(plan: &Plan) -> Vec<HeldFile<'_>> {
    plan.files().enumerate().map(|(i, file)| HeldFile { identity: i as u64, bytes: file.bytes() }).collect()
}

#[test]
fn inputs_that_are_held_are_uploaded_once() {
    let set = set(true, [Dtype::BF16; 4]);
    let text = &set.recipes()[2];
    let plan = plan(text);
    assert_eq!(plan.method.name, "ties");
    let want = run(&plan, &Cpu::new(), 2).unwrap();
    let input: u64 = plan.files().map(|file| file.bytes().len() as u64).sum();
    let Some(host) = Host::new(Threads::One, 1 << 30) else { return };
    let (cuda, shared) = host.device();
    let uploads = || shared.uploaded.swap(0, Ordering::Relaxed);
    // Two passes read the inputs twice …
    assert!(same(&want, &run(&plan, &cuda, 2).unwrap()));
    assert!(uploads() > input * 3 / 2);
    // … held ones once (two threads may both bring the same) …
    let holding = |threads| cuda.holding(held(&plan), 1 << 30, || run(&plan, &cuda, threads).unwrap());
    assert!(same(&want, &holding(1)));
    let once = uploads();
    assert!(once <= input && once > input / 2, "{once} of {input}");
    // … and in the next merge not at all.
    assert!(same(&want, &holding(2)));
    assert_eq!(uploads(), 0);
    assert!(same(&want, &run(&plan, &cuda, 2).unwrap()));
    assert!(uploads() > input, "what is not held is not known");
    // With room for half of them, that half stays.
    let (cuda, shared) = Host::new(Threads::One, 1 << 30).unwrap().device();
    let uploads = || shared.uploaded.swap(0, Ordering::Relaxed);
    let half = || cuda.holding(held(&plan), input / 2, || run(&plan, &cuda, 2).unwrap());
    assert!(same(&want, &half()));
    uploads();
    assert!(same(&want, &half()));
    let again = uploads();
    assert!(again < input * 13 / 10 && again > input / 2, "{again} of {input} twice");
}

#[test]
fn inputs_on_the_device_give_way() {
    let set = set(true, [Dtype::BF16; 4]);
    for text in [&set.recipes()[0], &set.recipes()[2]] {
        let plan = plan(text);
        let want = run(&plan, &Cpu::new(), 2).unwrap();
        // Room for the work and a part of the inputs.
        let Some(host) = Host::new(Threads::One, least() * 2 + (6 << 20)) else { return };
        let (cuda, _) = host.device();
        let small = cuda.clone().with_block_elements(64 * LINE);
        for _ in 0..2 {
            let merged = cuda.holding(held(&plan), 1 << 30, || run(&plan, &small, 2).unwrap());
            assert!(same(&want, &merged), "{text}");
        }
    }
}
