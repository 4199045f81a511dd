//! Every method on whole models, from files to merged bytes.

use growmerge::device::LINE;
use growmerge::device::cpu::Cpu;
use growmerge::device::cuda::Cuda;
use growmerge::execute::UNIT;
use growmerge::method::METHODS;
use safetensors::tensor::Dtype;

use super::card::devices;
use super::host::Threads;
use super::support::every::{Set, same, set};
use super::support::{plan, run};

/// The method that a recipe names.
fn method(recipe: &str) -> &str {
    let line = recipe.lines().find_map(|line| line.strip_prefix("merge_method: "));
    line.unwrap_or_else(|| panic!("{recipe}")).trim()
}

fn agree(set: &Set, cuda: &Cuda, threads: usize) -> Vec<String> {
    let mut methods = Vec::new();
    for text in set.recipes() {
        let plan = plan(&text);
        let (cpu, gpu) = (run(&plan, &Cpu::new(), 2).unwrap(), run(&plan, cuda, threads).unwrap());
        assert!(same(&cpu, &gpu), "{}\n{text}", cuda.runtime().name());
        methods.push(method(&text).to_owned());
    }
    methods
}

#[test]
fn every_method_gives_the_same_bytes() {
    let large = set(true, [Dtype::BF16; 4]);
    for cuda in devices(Threads::One) {
        let mut methods = agree(&large, &cuda, 2);
        // Those that read files beside the models run in tests/beside, on the host's kernels.
        methods.extend(["fisher", "regmean"].map(str::to_owned));
        for method in METHODS {
            assert!(methods.iter().any(|m| m == method.name), "{} was not run", method.name);
        }
    }
}

#[test]
fn blocks_types_and_threads_side_by_side_give_the_same_bytes() {
    use Dtype::{BF16, F16, F32, F64};
    let mixed = set(false, [F32, BF16, F16, F64]);
    for (threads, block) in [(Threads::One, LINE), (Threads::One, 1), (Threads::Together(3), UNIT)] {
        for cuda in devices(threads) {
            agree(&mixed, &cuda.with_block_elements(block), 3);
        }
    }
}
