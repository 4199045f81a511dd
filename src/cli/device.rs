//! Where merges are computed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use growmerge::device::LINE;
use growmerge::device::UNIT;
use growmerge::device::cpu::{BLOCK_ELEMENTS, Cpu};
use growmerge::device::cuda::driver::Driver;
use growmerge::device::cuda::runtime::Runtime;
use growmerge::device::cuda::{Cuda, HeldFile};
use growmerge::execute::{self, Blocks};
use growmerge::plan::Plan;
use growmerge::problem::{Error, ExecError, Problem};
use growmerge::recipe::NonFinite;

use super::size;

/// Where to compute
#[derive(clap::Args)]
#[group(id = "where_to_compute")]
pub(super) struct Options {
    /// Where to compute: cpu, cuda (or cuda:1 and so on for other cards), or auto, which takes a card when it pays.
    /// Results are the same to the byte
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Choice,
    /// Upper bound for memory on the card [default: four fifths of what is free]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    device_memory: Option<u64>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Auto,
    Cpu,
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => match text.strip_prefix("cuda:").map(usize::from_str) {
                Some(Ok(ordinal)) => Ok(Self::Cuda(ordinal)),
                _ => Err("say cpu, cuda, cuda:N with the number of a card, or auto".into()),
            },
        }
    }
}

/// What merges run on.
pub(super) enum Machine {
    Host,
    Card(Cuda, Inputs),
}

/// What becomes of inputs on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inputs {
    /// They are read again, and stay as far as there is memory.
    Stay,
    /// They are read once.
    Pass,
}

/// What there is to do, as far as it decides where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Bytes of inputs, passes counted, of all merges.
    pub(super) read: u64,
    /// Bytes of the inputs of the merge that has most.
    pub(super) inputs: u64,
}

impl Work {
    /// Of one merge.
    pub(super) fn of(plan: &Plan) -> Self {
        let jobs: Vec<usize> = (0..plan.jobs.len()).collect();
        let inputs = plan.jobs.iter().map(|job| job.input_bytes(&plan.inputs)).sum();
        Self { read: execute::total_bytes(plan, &jobs), inputs }
    }

    /// Of both, which mostly read the same files.
    pub(super) fn and(self, other: Self) -> Self {
        Self { read: self.read + other.read, inputs: self.inputs.max(other.inputs) }
    }
}

/// Less than this is merged before a card is ready.
const SMALL: u64 = 4 << 30;
/// How often a byte that was copied to the card must be used there, times ten.
const USES: u64 = 15;

/// Whether a card with so much memory pays, and why.
fn pays(work: Work, memory: u64) -> (bool, String) {
    let read = size::show(work.read);
    if work.read < SMALL {
        return (false, format!("{read} to read are merged before a card is ready"));
    }
    if work.read * 10 < work.inputs * USES {
        return (
            false,
            "every input is read once, and to copy it to a card costs as much as to merge it".into(),
        );
    }
    if work.inputs > memory {
        let inputs = size::show(work.inputs);
        return (
            true,
            format!(
                "inputs are read more than once ({read} of {inputs}, of which {} stay on the card)",
                size::show(memory)
            ),
        );
    }
    (
        true,
        format!(
            "inputs stay on the card and are read more than once there ({read} of {})",
            size::show(work.inputs)
        ),
    )
}

impl Options {
    /// Opens what was asked for, and says why where that was left to this.
    pub(super) fn open(&self, silent: bool, work: Work) -> Result<Machine, Error> {
        let (ordinal, left_to_us) = match self.device {
            Choice::Cpu if self.device_memory.is_some() => {
                let problem = Problem::error("--device-memory", "there is no device but the CPU");
                return Err(problem.hint("add --device cuda or --device auto").into());
            }
            Choice::Cpu => return Ok(Machine::Host),
            Choice::Cuda(ordinal) => (ordinal, false),
            Choice::Auto => (0, true),
        };
        let say = |what: &str| {
            if !silent {
                eprintln!("{what}");
            }
        };
        let driver = match Driver::open(ordinal) {
            Ok(driver) => driver,
            Err(missing) if left_to_us => {
                say(&format!("--device auto takes the CPU: {missing}"));
                return Ok(Machine::Host);
            }
            Err(missing) => return Err(ExecError::from(missing).into()),
        };
        let free = driver.memory()?.free;
        let memory = self.device_memory.unwrap_or(free / 5 * 4);
        if left_to_us {
            let (card, why) = pays(work, memory);
            let taken = if card { driver.name() } else { "the CPU".into() };
            say(&format!("--device auto takes {taken}: {why}"));
            if !card {
                return Ok(Machine::Host);
            }
        }
        let inputs = if work.read > work.inputs { Inputs::Stay } else { Inputs::Pass };
        Ok(Machine::Card(Cuda::new(Arc::new(driver), memory), inputs))
    }
}

/// A device within its bounds.
pub(super) enum Fitted {
    Host(Cpu),
    /// With so many bytes for inputs that stay.
    Card(Cuda, u64),
}

impl Fitted {
    /// The device in a word, or its own.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Host(_) => "cpu".into(),
            Self::Card(cuda, _) => cuda.runtime().name(),
        }
    }
}

impl Machine {
    /// What a merge runs on, and how many threads, within `budget` bytes of the host's memory: first fewer threads, then
    /// smaller blocks, and where the card has no room for those, the host.
    pub(super) fn fit(
        &self,
        budget: u64,
        threads: usize,
        plan: &Plan,
        silent: bool,
    ) -> Result<(usize, Fitted), ExecError> {
        if let Self::Card(cuda, inputs) = self {
            let memory = size::show(cuda.memory());
            let why = match on_card(cuda, budget, threads, plan) {
                // Processors make different NaNs, and a magnitude that a tensor is trimmed at may be one.
                _ if plan.non_finite != NonFinite::Refuse => "this recipe allows NaN: it".to_owned(),
                Some((threads, cuda, spare)) => {
                    let spare = if *inputs == Inputs::Stay { spare } else { 0 };
                    return Ok((threads, Fitted::Card(cuda, spare)));
                }
                None => format!("{memory} on the card are too little for this merge; it"),
            };
            if !silent {
                eprintln!("warning: {why} runs on the CPU");
            }
        }
        let (threads, cpu) = on_host(budget, threads, plan)?;
        Ok((threads, Fitted::Host(cpu)))
    }
}

/// Fewer threads, then smaller blocks, until the card has room; and how much it has beside them.
fn on_card(cuda: &Cuda, budget: u64, threads: usize, plan: &Plan) -> Option<(usize, Cuda, u64)> {
    let inputs = plan.jobs.iter().map(|job| job.sources().count()).max().unwrap_or(0);
    let grain = plan.jobs.iter().map(|job| job.grain()).max().unwrap_or(LINE);
    let spare = |threads: usize, block: usize| {
        let each = Cuda::worker_memory(inputs, block.max(grain));
        let spare = cuda.memory().checked_sub(each.saturating_mul(threads as u64))?;
        (execute::memory(plan, threads, Blocks::OnDevice(block)) <= budget).then_some(spare)
    };
    for threads in (1..=threads).rev() {
        if let Some(spare) = spare(threads, UNIT) {
            return Some((threads, cuda.clone(), spare));
        }
    }
    let halves = std::iter::successors(Some(UNIT / 2), |block| Some(block / 2));
    let mut fitting = halves.take_while(|block| *block >= LINE);
    fitting.find_map(|block| Some((1, cuda.clone().with_block_elements(block), spare(1, block)?)))
}

/// Fewer threads, then smaller blocks, until the merge stays within `budget` bytes.
fn on_host(budget: u64, threads: usize, plan: &Plan) -> Result<(usize, Cpu), ExecError> {
    let needs = |threads, block| execute::memory(plan, threads, Blocks::OnHost(block));
    let mut block = BLOCK_ELEMENTS;
    for threads in (1..=threads).rev() {
        if needs(threads, block) <= budget {
            return Ok((threads, Cpu::new().with_block_elements(block)));
        }
    }
    while block > LINE {
        block /= 2;
        if needs(1, block) <= budget {
            return Ok((1, Cpu::new().with_block_elements(block)));
        }
    }
    let needed = size::show(needs(1, LINE));
    Err(ExecError::Memory {
        what: format!(
            "this merge needs at least {needed} of memory, {} are allowed by --memory",
            size::show(budget)
        ),
    })
}

/// A plan's files, known by path, length and time of change.
pub(super) fn files(plan: &Plan) -> impl Iterator<Item = HeldFile<'_>> {
    plan.files().filter(|file| file.is_here()).map(|file| {
        let mut hash = DefaultHasher::new();
        file.path.hash(&mut hash);
        file.bytes().len().hash(&mut hash);
        std::fs::metadata(&*file.path).and_then(|m| m.modified()).ok().hash(&mut hash);
        HeldFile { identity: hash.finish(), bytes: file.bytes() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        for (text, want) in [
            ("cpu", Choice::Cpu),
            ("auto", Choice::Auto),
            ("cuda", Choice::Cuda(0)),
            ("cuda:3", Choice::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(want));
        }
        for text in ["gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA 0", ""] {
            assert!(text.parse::<Choice>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_card_pays_where_what_is_copied_there_is_used_again() {
        let gib = |n: u64| n << 30;
        let takes = |read, inputs, memory| pays(Work { read: gib(read), inputs: gib(inputs) }, gib(memory)).0;
        assert!(!takes(1, 1, 80), "too small");
        assert!(!takes(14, 14, 80), "once");
        assert!(takes(28, 14, 80), "two passes");
        assert!(takes(28, 14, 8), "two passes through little memory");
        let grid = (0..130)
            .fold(Work { read: 0, inputs: 0 }, |all, _| all.and(Work { read: gib(7), inputs: gib(7) }));
        assert!(pays(grid, gib(80)).0, "many merges of the same");
    }
}
