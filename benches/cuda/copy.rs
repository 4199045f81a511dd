//! How fast a card copies: to it, from it, and on it.

use std::time::Instant;

use growmerge::device::cuda::driver::Driver;
use growmerge::device::cuda::driver::survey::Survey;
use growmerge::device::cuda::runtime::{Runtime, Shape};
use growmerge::device::cuda::source::Source;

/// Bytes of a copy on the card.
const COPY: usize = 256 << 20;
/// Copies between two waits.
const COPIES: usize = 20;

/// A copy as wide as loads are, in strides of the grid.
const TEXT: &str = r#"
typedef unsigned long long u64;
struct Args { u64 word[3]; };
struct __align__(16) Wide { u64 of[2]; };
extern "C" __global__ void growmerge_kernel(const Args args) {
    const Wide *from = (const Wide *)args.word[0];
    Wide *to = (Wide *)args.word[1];
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < args.word[2]; i += (u64)gridDim.x * blockDim.x) {
        to[i] = from[i];
    }
}
"#;

/// Bytes a second; of a copy on the card, each counted once.
pub(crate) struct Speed {
    pub(crate) up: f64,
    pub(crate) down: f64,
    pub(crate) within: f64,
}

impl Speed {
    pub(crate) fn of(driver: &Driver) -> Self {
        let found = Survey::new().cards.into_iter().next();
        let pinned = found.and_then(|card| card.bandwidth);
        let (up, down) = pinned.map_or((f64::NAN, f64::NAN), |b| (b.upload, b.download));
        Self { up, down, within: within(driver) }
    }
}

fn within(driver: &Driver) -> f64 {
    let kernel = driver.compile(&Source { text: TEXT.into(), words: 3 }).unwrap();
    let mut lane = driver.lane().unwrap();
    let (from, to) = (lane.allocate(COPY).unwrap(), lane.allocate(COPY).unwrap());
    let shape = Shape { blocks: driver.processors() * 16, threads: 256 };
    let words = [from, to, COPY as u64 / 16];
    let mut once = |times: usize| {
        let begun = Instant::now();
        for _ in 0..times {
            lane.launch(kernel.as_ref(), shape, &words).unwrap();
        }
        lane.wait().unwrap();
        begun.elapsed().as_secs_f64()
    };
    once(1);
    let seconds = (0..3).map(|_| once(COPIES)).fold(f64::INFINITY, f64::min);
    lane.free(from);
    lane.free(to);
    (COPY * COPIES) as f64 / seconds
}
