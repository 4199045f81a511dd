//! Every method that takes them, against an oracle in which each element has weights of its own.

use growmerge::device::philox;
use proptest::prelude::*;

use super::oracle::rows::{self, RowDeltas, Weight};
use super::oracle::{self, Drop, Rescale};
use super::support::{merge, values};
use super::{NAME, assert_near, set};

/// What a model's weight is like, before there is a shape.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Number,
    Rows,
    Columns,
    Both,
    Norms,
}

/// Quarters are exact in f32, so votes at a zero sum agree with the oracle's.
fn weight(kind: Kind, seed: u64, rows: usize, width: usize) -> Weight {
    let mut noise = super::Noise(seed);
    let mut quarter = move || f64::from((noise.next() * 4.0 + 4.5) as i32 + 1) / 4.0;
    let mut list = |n: usize| (0..n).map(|_| quarter()).collect::<Vec<f64>>();
    match kind {
        Kind::Number => Weight::Number(list(1)[0]),
        Kind::Rows => Weight::Rows(list(rows), Vec::new()),
        Kind::Columns => Weight::Rows(list(1), list(width)),
        Kind::Both => Weight::Rows(list(rows), list(width)),
        Kind::Norms => Weight::Norms([0.5, 1.0, 1.3][seed as usize % 3], list(1)[0]),
    }
}

fn kinds(norms: bool) -> impl Strategy<Value = Vec<Kind>> {
    let mut all = vec![Kind::Number, Kind::Rows, Kind::Columns, Kind::Both];
    all.extend(norms.then_some(Kind::Norms));
    proptest::collection::vec(proptest::sample::select(all), 2..4)
}

fn of(kinds: &[Kind], seed: u64, rows: usize, width: usize) -> Vec<Weight> {
    kinds
        .iter()
        .enumerate()
        .map(|(i, kind)| weight(*kind, seed.wrapping_add(i as u64 * 77), rows, width))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linear(seed: u64, rows in 1usize..60, width in 1usize..400, kinds in kinds(false), normalize: bool) {
        let set = set(seed, NAME, &[rows, width], kinds.len());
        let weights = of(&kinds, seed, rows, width);
        set.save(NAME, &weights);
        let text = set.recipe("linear", &weights, "", &format!("normalize: {normalize}"));
        let each = rows::weights(&weights, &set.model_values, width);
        assert_near(&values(&merge(&text)[NAME]), &rows::linear(&set.model_values, &each, normalize))?;
    }

    #[test]
    fn differences(
        seed: u64, rows in 3usize..60, width in 20usize..400, kinds in kinds(true), normalize: bool,
        method in 0usize..9, density in 0.2..0.9f64, lambda in 0.1..2.0f64, rescale in 0usize..3,
    ) {
        let n = kinds.len();
        let set = set(seed, NAME, &[rows, width], n);
        let weights = of(&kinds, seed, rows, width);
        set.save(NAME, &weights);
        let (word, rule) = [
            ("false", Rescale::None), ("true", Rescale::L1), ("density", Rescale::By(1.0 / density)),
        ][rescale];
        let len = rows * width;
        let keep = (density * len as f64) as usize;
        let epsilon = 0.3 * density.min(1.0 - density);
        let top = ((0.1 * len as f64) as usize).min(len - keep);
        let mask = |i| Drop::Mask(oracle::mask(philox::key(0, NAME, i), len, density), rule);
        let band = |top| move |_: usize| Drop::Band { top, keep, rescale: rule };
        let ranked = |i| Drop::Ranked { key: philox::key(0, NAME, i), width, density, epsilon, rescale: rule };
        let drops = |drop: &dyn Fn(usize) -> Drop| (0..n).map(drop).collect::<Vec<_>>();
        let (name, elect, drops, more) = [
            ("task_arithmetic", false, drops(&|_| Drop::Nothing), String::new()),
            ("ties", true, drops(&band(0)), String::new()),
            ("dare_linear", false, drops(&mask), String::new()),
            ("dare_ties", true, drops(&mask), String::new()),
            ("breadcrumbs", false, drops(&band(top)), ", gamma: 0.1".into()),
            ("breadcrumbs_ties", true, drops(&band(top)), ", gamma: 0.1".into()),
            ("della_linear", false, drops(&ranked), format!(", epsilon: {epsilon}")),
            ("della", true, drops(&ranked), format!(", epsilon: {epsilon}")),
            ("task_arithmetic", false, drops(&|_| Drop::Nothing), String::new()),
        ].into_iter().nth(method).unwrap();
        let each = if name == "task_arithmetic" { String::new() } else { format!(", density: {density}{more}") };
        let rescales = if name == "task_arithmetic" { String::new() } else { format!(", rescale: {word}") };
        let all = format!("normalize: {normalize}, lambda: {lambda}{rescales}");
        let text = set.recipe(name, &weights, &each, &all);
        let deltas = rows::differences(&set.base_values, &set.model_values);
        let want = RowDeltas {
            weights: rows::weights(&weights, &deltas, width), drops, elect, normalize, lambda,
        };
        let got = values(&merge(&text)[NAME]);
        assert_near(&got, &want.merge_near(&set.base_values, &set.model_values, &got))?;
    }

    /// A factor that is the same for all rows, or columns of ones, is a number.
    #[test]
    fn equal_rows_are_a_number(
        seed: u64, rows in 1usize..40, width in 1usize..300, method in 0usize..4, normalize: bool, columns: bool,
    ) {
        let set = set(seed, NAME, &[rows, width], 3);
        let numbers: Vec<Weight> = [0.3, 1.7, 0.9].map(Weight::Number).into();
        let ones = if columns { vec![1.0; width] } else { Vec::new() };
        let equal: Vec<Weight> = [0.3, 1.7, 0.9].map(|x| Weight::Rows(vec![x; rows], ones.clone())).into();
        set.save(NAME, &equal);
        let method = ["linear", "task_arithmetic", "ties", "dare_ties"][method];
        let each = if method.ends_with("ties") { ", density: 0.7" } else { "" };
        let all = format!("normalize: {normalize}") + if method == "dare_ties" { ", rescale: density" } else { "" };
        // A hundredth of a number that is exact in f64 only is not the number itself.
        let exact = |text: String| text.replace("0.3", &f64::from(0.3f32).to_string())
            .replace("1.7", &f64::from(1.7f32).to_string()).replace("0.9", &f64::from(0.9f32).to_string());
        if each.is_empty() || (0.7 * (rows * width) as f64) >= 1.0 {
            let a = merge(&exact(set.recipe(method, &numbers, each, &all)));
            let b = merge(&set.recipe(method, &equal, each, &all));
            prop_assert_eq!(&a[NAME].bytes, &b[NAME].bytes);
        }
    }
}

/// Rows without weight are the base's; and nothing is divided by nothing.
#[test]
fn rows_without_weight_are_the_base() {
    let (rows, width) = (4, 50);
    let set = set(5, NAME, &[rows, width], 2);
    let some = vec![0.0, 1.0, 0.0, 0.5];
    let weights = vec![Weight::Rows(some.clone(), Vec::new()), Weight::Rows(some, Vec::new())];
    set.save(NAME, &weights);
    for method in ["task_arithmetic", "ties"] {
        let got = values(&merge(&set.recipe(method, &weights, "", "normalize: true"))[NAME]);
        for (row, weighted) in [false, true, false, true].into_iter().enumerate() {
            let part = row * width..(row + 1) * width;
            assert_eq!(got[part.clone()] != set.base_values[part], weighted, "{method}, row {row}");
        }
    }
}

/// The comparison itself must be able to fail.
#[test]
fn rows_in_another_order_would_be_noticed() {
    let (rows, width) = (40, 30);
    let set = set(9, NAME, &[rows, width], 2);
    let weights = of(&[Kind::Rows, Kind::Rows], 3, rows, width);
    set.save(NAME, &weights);
    let text = set.recipe("task_arithmetic", &weights, "", "");
    let mut each = rows::weights(&weights, &set.model_values, width);
    each[0].reverse();
    let drops = vec![Drop::Nothing, Drop::Nothing];
    let want = RowDeltas { weights: each, drops, elect: false, normalize: false, lambda: 1.0 };
    let got = values(&merge(&text)[NAME]);
    assert!(assert_near(&got, &want.merge_near(&set.base_values, &set.model_values, &got)).is_err());
}
