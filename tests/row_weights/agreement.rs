//! The same bytes whatever the threads, blocks and element types.

use growmerge::device::LINE;
use growmerge::device::cpu::Cpu;
use growmerge::execute::UNIT;
use safetensors::tensor::Dtype;

use super::host::{Host, Threads};
use super::oracle::rows::Weight;
use super::support::{Noise, Tensors, merge, plan, read, run, stored, write};
use super::{EMBEDDING, NAME, Set, set};

/// Shapes at the edges: several units, rows longer than a block, one column, one row.
const SHAPES: [[usize; 2]; 5] =
    [[2 * UNIT / 1000 + 7, 1000], [5, 40_001], [70_000, 1], [1, 30_000], [37, 331]];

fn weights([rows, width]: [usize; 2]) -> Vec<Weight> {
    let mut noise = Noise(3);
    let mut list = |n: usize| (0..n).map(|_| f64::from(noise.next() * 0.5 + 0.6)).collect::<Vec<f64>>();
    vec![
        Weight::Number(0.3),
        Weight::Rows(list(rows), Vec::new()),
        Weight::Rows(list(rows), list(width)),
        Weight::Norms(0.7, 1.5),
    ]
}

fn recipes(set: &Set, weights: &[Weight]) -> Vec<String> {
    let of = |method: &str, each: &str, all: &str| set.recipe(method, weights, each, all);
    vec![
        of("task_arithmetic", "", "normalize: true, lambda: 1.3"),
        of("ties", ", density: 0.37", ""),
        of("dare_ties", ", density: 0.5", "normalize: true"),
        of("breadcrumbs", ", density: 0.4, gamma: 0.1", "rescale: l1"),
        of("della", ", density: 0.5", ""),
        set.recipe("linear", &weights[..3], "", ""),
    ]
}

#[test]
fn threads_and_blocks_change_no_byte() {
    for shape in SHAPES {
        let set = set(7, NAME, &shape, 4);
        let weights = weights(shape);
        set.save(NAME, &weights);
        for text in recipes(&set, &weights) {
            let plan = plan(&text);
            let one = run(&plan, &Cpu::new(), 1).unwrap();
            for (threads, block) in [(2, LINE), (7, 1 << 24), (2, 1)] {
                let other = run(&plan, &Cpu::new().with_block_elements(block), threads).unwrap();
                assert_eq!(
                    one[NAME].bytes, other[NAME].bytes,
                    "{threads} threads, blocks of {block}:\n{text}"
                );
            }
        }
    }
}

/// The kernels of a card, compiled for the host.
#[test]
fn devices_change_no_byte() {
    for shape in SHAPES {
        let set = set(7, NAME, &shape, 4);
        let weights = weights(shape);
        set.save(NAME, &weights);
        for text in recipes(&set, &weights) {
            let Some(host) = Host::new(Threads::One, 1 << 30) else { return };
            let (plan, (cuda, _)) = (plan(&text), host.device());
            let (cpu, gpu) = (run(&plan, &Cpu::new(), 2).unwrap(), run(&plan, &cuda, 2).unwrap());
            assert!(cpu[NAME].bytes == gpu[NAME].bytes, "{shape:?}\n{text}");
        }
    }
}

#[test]
fn stored_types_change_no_byte() {
    let shape = [37, 331];
    let set = set(7, EMBEDDING, &shape, 4);
    let weights = weights(shape);
    set.save(EMBEDDING, &weights);
    let paths = set.models.iter().chain([&set.base]);
    // Values that every type can hold.
    let rewrite = |dtype: Dtype| {
        for path in paths.clone() {
            let mut noise = Noise(path.as_os_str().len() as u64 + u64::from(path.ends_with("m1")));
            let values: Vec<f32> = (0..37 * 331).map(|_| (noise.next() * 64.0).round() / 64.0).collect();
            write(path, &Tensors::from([(EMBEDDING.to_owned(), stored(dtype, &shape, &values))]));
        }
    };
    rewrite(Dtype::F32);
    let plain: Vec<Tensors> = recipes(&set, &weights).iter().map(|text| merge(text)).collect();
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F64] {
        rewrite(dtype);
        for (text, plain) in recipes(&set, &weights).iter().zip(&plain) {
            assert_eq!(merge(text)[EMBEDDING].bytes, plain[EMBEDDING].bytes, "{dtype:?}:\n{text}");
        }
    }
}

#[test]
fn vector_width_changes_no_byte() {
    let shape = [61, 1000];
    let set = set(7, NAME, &shape, 4);
    let weights = weights(shape);
    set.save(NAME, &weights);
    for text in recipes(&set, &weights) {
        let recipe = set.folder.path().join("recipe.yaml");
        std::fs::write(&recipe, &text).unwrap();
        let merged = |level: &str| {
            let out = set.folder.path().join("out");
            let mut merge = super::support::command();
            merge.env("GROWMERGE_SIMD", level).args(["merge", "--quiet", "--overwrite"]);
            merge.arg(&recipe).arg(&out).assert().success();
            read(&out).remove(NAME).unwrap().bytes
        };
        let widest = merged("");
        assert!(merged("avx2") == widest && merged("plain") == widest, "{text}");
    }
}
