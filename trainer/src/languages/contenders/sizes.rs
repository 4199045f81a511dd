//! Weights by the sizes of differences and of trainings, without any text.

use growmerge::checkpoint::Checkpoint;
use growmerge::device::Chunk;
use growmerge::device::cpu::Cpu;
use growmerge::problem::{Error, Problems};

use crate::languages::bench::{Bench, Made};
use crate::languages::contender::{Contender, Kind, Reads};
use crate::languages::point::Axis;
use crate::reproduce::Language;

const LAMBDA: Axis = Axis::new("lambda", &[0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0], 5);
/// Below zero, the more a model moved the less it counts; at zero all count alike.
const POWER: Axis = Axis::new("power", &[-2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5], 3);

/// All of them.
pub(super) static ALL: &[Contender] = &[
    Contender {
        name: "weights by distance",
        about: "each difference by a power of its length",
        kind: Kind::Structure,
        reads: Reads::Nothing,
        axes: &[LAMBDA, POWER],
        after: &[],
        make: |bench, at| {
            let lengths = bench.experts.iter().map(|e| distance(bench, e));
            let lengths: Vec<f64> = lengths.collect::<Result<_, _>>()?;
            Ok(weighted(bench, &lengths, at.get("power"), at.get("lambda")))
        },
    },
    Contender {
        name: "weights by training",
        about: "each difference by a power of its steps of training",
        kind: Kind::Structure,
        reads: Reads::Nothing,
        axes: &[LAMBDA, POWER],
        after: &[],
        make: |bench, at| {
            let steps =
                |l: Language| bench.shared.lengths.languages.get(l.code()).copied().unwrap_or(1) as f64;
            let steps: Vec<f64> = Language::all().map(steps).collect();
            Ok(weighted(bench, &steps, at.get("power"), at.get("lambda")))
        },
    },
];

/// The sum of differences by powers of sizes, `lambda` in all.
fn weighted(bench: &Bench<'_>, sizes: &[f64], power: f64, lambda: f64) -> Made {
    let total: f64 = sizes.iter().map(|s| s.powf(power)).sum();
    let weight = |i: usize| (lambda * sizes[i].powf(power) / total).to_string();
    bench.merge_from_base("task_arithmetic").with("normalize", false).each("weight", weight).into()
}

/// The length of all weights' difference from the English model's.
fn distance(bench: &Bench<'_>, model: &std::path::Path) -> Result<f64, Error> {
    let open = |path: &std::path::Path| Checkpoint::open(&path.to_string_lossy());
    Ok(length_of_difference(&open(&bench.base)?, &open(model)?)?)
}

fn length_of_difference(base: &Checkpoint, model: &Checkpoint) -> Result<f64, Problems> {
    let cpu = Cpu::new();
    let numbers = |c: &Checkpoint, name: &str| {
        let Some(tensor) = c.tensor(name) else { return Vec::new() };
        let mut numbers = vec![0.0; tensor.elements()];
        cpu.widen(Chunk { dtype: tensor.dtype, bytes: c.bytes(tensor) }, &mut numbers);
        numbers
    };
    let square = |name: &str| -> f64 {
        let pairs = numbers(base, name).into_iter().zip(numbers(model, name));
        pairs.map(|(a, b)| (f64::from(b) - f64::from(a)).powi(2)).sum()
    };
    Ok(base.tensors().iter().map(|t| square(&t.name)).sum::<f64>().sqrt())
}
