//! Every method against the naive oracle, on fresh random inputs.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod oracle;
mod support;

use std::path::PathBuf;

use growmerge::device::philox;
use oracle::{Deltas, Drop, Rescale, agents, sce, sphere};
use proptest::prelude::*;
use support::{Noise, Tensors, f32s, merge, recipe, values, write};

const NAME: &str = "model.layers.0.mlp.up_proj.weight";

struct Set {
    _folder: tempfile::TempDir,
    base: PathBuf,
    models: Vec<PathBuf>,
    base_values: Vec<f64>,
    model_values: Vec<Vec<f64>>,
}

/// One tensor of `len` elements in a base and `n` fine-tunes of it.
fn set(seed: u64, len: usize, n: usize) -> Set {
    shaped(seed, &[len], n)
}

/// The same of any shape.
fn shaped(seed: u64, shape: &[usize], n: usize) -> Set {
    let len = shape.iter().product();
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(seed);
    let base: Vec<f32> = (0..len).map(|_| noise.next()).collect();
    let one = |x: &[f32]| Tensors::from([(NAME.to_owned(), f32s(shape, x.iter().copied()))]);
    let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let base_path = folder.path().join("base");
    write(&base_path, &one(&base));
    let (mut models, mut model_values) = (Vec::new(), Vec::new());
    for i in 0..n {
        let tuned = noise.tuned(&base);
        models.push(folder.path().join(format!("m{i}")));
        write(&models[i], &one(&tuned));
        model_values.push(wide(&tuned));
    }
    Set { _folder: folder, base: base_path, models, base_values: wide(&base), model_values }
}

fn with_weights(set: &Set, method: &str, base: bool, weights: &[f64], each: &str, all: &str) -> String {
    let mut text = format!("merge_method: {method}\nmodels:\n");
    for (model, w) in set.models.iter().zip(weights) {
        text += &format!("  - model: {}\n    parameters: {{weight: {w}{each}}}\n", model.display());
    }
    if base {
        text += &format!("base_model: {}\n", set.base.display());
    }
    text + &format!("parameters: {{{all}}}\ndtype: float32\n")
}

/// Distance relative to the size of the expected tensor.
fn assert_near(got: &[f64], want: &[f64]) -> Result<(), TestCaseError> {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut got.iter().zip(want).map(|(a, b)| a - b));
    let size = norm(&mut want.iter().copied());
    prop_assert!(off <= 3e-7 * size, "off by {off:e} of {size:e}");
    Ok(())
}

fn weights(n: usize) -> impl Strategy<Value = Vec<f64>> {
    // Quarters are exact in f32, so votes at a zero sum agree with the oracle's.
    proptest::collection::vec((1i32..8).prop_map(|w| f64::from(w) / 4.0), n)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linear(seed: u64, len in 1usize..9000, w in weights(4), normalize: bool) {
        let set = set(seed, len, 4);
        let text = with_weights(&set, "linear", false, &w, "", &format!("normalize: {normalize}"));
        assert_near(&values(&merge(&text)[NAME]), &oracle::linear(&set.model_values, &w, normalize))?;
    }

    #[test]
    fn slerp(seed: u64, len in 1usize..9000, t in 0.0..1.0f64) {
        let set = set(seed, len, 1);
        // Far enough apart to have an angle.
        let far: Vec<f64> = set.model_values[0].iter().rev().copied().collect();
        let tensor = f32s(&[len], far.iter().map(|x| *x as f32));
        write(&set.models[0], &Tensors::from([(NAME.to_owned(), tensor)]));
        let text = recipe("slerp", Some(&set.base), &set.models, &format!("{{t: {t}}}"));
        assert_near(&values(&merge(&text)[NAME]), &oracle::slerp(&set.base_values, &far, t))?;
    }

    #[test]
    fn nuslerp(
        seed: u64, rows in 1usize..60, width in 1usize..400, w in weights(2), based: bool, extent in 0usize..3,
    ) {
        let set = shaped(seed, &[rows, width], 2);
        let all = ["nuslerp_row_wise: true", "nuslerp_flatten: false",
            "nuslerp_flatten: false, nuslerp_row_wise: true"][extent];
        let text = with_weights(&set, "nuslerp", based, &w, "", all);
        let merge_all = |x: &[Vec<f64>]| match extent {
            0 => sphere::nuslerp(x, &w),
            1 => sphere::each_row(x, width, |x| sphere::nuslerp(x, &w)),
            _ => sphere::each_column(x, width, |x| sphere::nuslerp(x, &w)),
        };
        let want = match based {
            true => sphere::on_differences(&set.base_values, &set.model_values, merge_all),
            false => merge_all(&set.model_values),
        };
        assert_near(&values(&merge(&text)[NAME]), &want)?;
    }

    #[test]
    fn multislerp(
        seed: u64, len in 1usize..9000, w in weights(4), n in 2usize..5, based: bool, normalize: bool,
    ) {
        let set = set(seed, len, n);
        let all = format!("normalize_weights: {normalize}");
        let text = with_weights(&set, "multislerp", based, &w, "", &all);
        let merge_all = |x: &[Vec<f64>]| sphere::multislerp(x, &w[..n], normalize, 1e-8);
        let want = match based {
            true => sphere::on_differences(&set.base_values, &set.model_values, merge_all),
            false => merge_all(&set.model_values),
        };
        assert_near(&values(&merge(&text)[NAME]), &want)?;
    }

    #[test]
    fn karcher(seed: u64, len in 3usize..9000, n in 2usize..5, steps in 0usize..12, far: bool) {
        let mut set = set(seed, len, n);
        if far {
            // Models that have nothing in common, so that the mean takes many steps.
            for (i, (path, x)) in set.models.iter().zip(&mut set.model_values).enumerate() {
                x.rotate_left(i * len / n);
                let tensor = f32s(&[len], x.iter().map(|x| *x as f32));
                write(path, &Tensors::from([(NAME.to_owned(), tensor)]));
            }
        }
        let all = format!("{{max_iter: {steps}, tol: 1e-7}}");
        let text = recipe("karcher", None, &set.models, &all);
        assert_near(&values(&merge(&text)[NAME]), &sphere::karcher(&set.model_values, steps, 1e-7))?;
    }

    #[test]
    fn model_stock(seed: u64, rows in 1usize..60, width in 1usize..400, n in 2usize..5, filter_wise: bool) {
        let set = shaped(seed, &[rows, width], n);
        let all = format!("{{filter_wise: {filter_wise}}}");
        let text = recipe("model_stock", Some(&set.base), &set.models, &all);
        let merge_all = |x: &[Vec<f64>]| match filter_wise {
            true => sphere::each_row(x, width, sphere::model_stock),
            false => sphere::model_stock(x),
        };
        let want = sphere::on_differences(&set.base_values, &set.model_values, merge_all);
        assert_near(&values(&merge(&text)[NAME]), &want)?;
    }

    #[test]
    fn task_arithmetic(seed: u64, len in 1usize..9000, w in weights(3), normalize: bool, lambda in 0.1..2.0f64) {
        let set = set(seed, len, 3);
        let all = format!("normalize: {normalize}, lambda: {lambda}");
        let text = with_weights(&set, "task_arithmetic", true, &w, "", &all);
        let drops = vec![Drop::Nothing, Drop::Nothing, Drop::Nothing];
        let want = Deltas { weights: w, drops, elect: false, normalize, lambda };
        assert_near(&values(&merge(&text)[NAME]), &want.merge(&set.base_values, &set.model_values))?;
    }

    #[test]
    fn ties(seed: u64, len in 40usize..90_000, w in weights(3), normalize: bool, density in 0.05..1.0f64) {
        let set = set(seed, len, 3);
        let all = format!("normalize: {normalize}");
        let text = with_weights(&set, "ties", true, &w, &format!(", density: {density}"), &all);
        let keep = (density * len as f64) as usize;
        let drops = (0..3).map(|_| Drop::Smallest(keep)).collect();
        let want = Deltas { weights: w, drops, elect: true, normalize, lambda: 1.0 };
        assert_near(&values(&merge(&text)[NAME]), &want.merge(&set.base_values, &set.model_values))?;
    }

    #[test]
    fn dare(
        seed: u64, len in 1usize..9000, w in weights(3), normalize: bool, density in 0.05..1.0f64,
        elect: bool, rescale in 0usize..3,
    ) {
        let set = set(seed, len, 3);
        let (word, rule) = [
            ("false", Rescale::None), ("true", Rescale::L1), ("density", Rescale::By(1.0 / density)),
        ][rescale];
        let method = if elect { "dare_ties" } else { "dare_linear" };
        let all = format!("normalize: {normalize}, rescale: {word}");
        let text = with_weights(&set, method, true, &w, &format!(", density: {density}"), &all);
        let mask = |i: usize| oracle::mask(philox::key(0, NAME, i), len, density);
        let drops = (0..3).map(|i| Drop::Mask(mask(i), rule)).collect();
        let want = Deltas { weights: w, drops, elect, normalize, lambda: 1.0 };
        let got = values(&merge(&text)[NAME]);
        assert_near(&got, &want.merge_near(&set.base_values, &set.model_values, &got))?;
    }

    #[test]
    fn breadcrumbs(
        seed: u64, len in 40usize..90_000, w in weights(3), normalize: bool, density in 0.05..1.0f64,
        gamma in 0.0..0.5f64, elect: bool, l1: bool,
    ) {
        let set = set(seed, len, 3);
        let method = if elect { "breadcrumbs_ties" } else { "breadcrumbs" };
        let all = format!("normalize: {normalize}, rescale: {l1}");
        let each = format!(", density: {density}, gamma: {gamma}");
        let text = with_weights(&set, method, true, &w, &each, &all);
        let keep = (density * len as f64) as usize;
        let top = ((gamma * len as f64) as usize).min(len - keep);
        let rescale = if l1 { Rescale::L1 } else { Rescale::None };
        let drops = (0..3).map(|_| Drop::Band { top, keep, rescale }).collect();
        let want = Deltas { weights: w, drops, elect, normalize, lambda: 1.0 };
        let got = values(&merge(&text)[NAME]);
        assert_near(&got, &want.merge_near(&set.base_values, &set.model_values, &got))?;
    }

    #[test]
    fn della(
        seed: u64, rows in 1usize..40, width in 1usize..700, w in weights(3), normalize: bool,
        density in 0.1..0.9f64, part in 0.0..0.99f64, elect: bool, rescale in 0usize..3,
    ) {
        let set = shaped(seed, &[rows, width], 3);
        let (word, rescale) = [
            ("false", Rescale::None), ("true", Rescale::L1), ("density", Rescale::By(1.0 / density)),
        ][rescale];
        let epsilon = part * density.min(1.0 - density);
        let method = if elect { "della" } else { "della_linear" };
        let all = format!("normalize: {normalize}, rescale: {word}");
        let each = format!(", density: {density}, epsilon: {epsilon}");
        let text = with_weights(&set, method, true, &w, &each, &all);
        let drop = |i| Drop::Ranked { key: philox::key(0, NAME, i), width, density, epsilon, rescale };
        let want = Deltas { weights: w, drops: (0..3).map(drop).collect(), elect, normalize, lambda: 1.0 };
        let got = values(&merge(&text)[NAME]);
        assert_near(&got, &want.merge_near(&set.base_values, &set.model_values, &got))?;
    }

    #[test]
    fn sce(seed: u64, len in 1usize..90_000, n in 1usize..5, select in 0.0..1.2f64) {
        let set = set(seed, len, n);
        let select = select.min(1.0);
        let text = recipe("sce", Some(&set.base), &set.models, &format!("{{select_topk: {select}}}"));
        let want = sce::sce(&set.base_values, &set.model_values, select);
        assert_near(&values(&merge(&text)[NAME]), &want)?;
    }

    #[test]
    fn nearswap(seed: u64, len in 1usize..9000, t in 0.0..0.02f64) {
        let set = set(seed, len, 1);
        let text = recipe("nearswap", Some(&set.base), &set.models, &format!("{{t: {t}}}"));
        let want = agents::nearswap(&set.base_values, &set.model_values[0], t);
        assert_near(&values(&merge(&text)[NAME]), &want)?;
    }

    #[test]
    fn ram(
        seed: u64, len in 1usize..5000, n in 1usize..5, epsilon in 0.0..0.01f64,
        plus in proptest::option::of((0.0..2.0f64, 0.0..3.0f64)),
    ) {
        let set = set(seed, len, n);
        let (method, all) = match plus {
            None => ("ram", format!("{{epsilon: {epsilon}}}")),
            Some((r, alpha)) => ("ramplus_tl", format!("{{epsilon: {epsilon}, r: {r}, alpha: {alpha}}}")),
        };
        let text = recipe(method, Some(&set.base), &set.models, &all);
        let want = agents::ram(&set.base_values, &set.model_values, epsilon, plus);
        assert_near(&values(&merge(&text)[NAME]), &want)?;
    }

    #[test]
    fn arcee_fusion(seed: u64, rows in 1usize..60, width in 1usize..400) {
        let set = shaped(seed, &[rows, width], 1);
        let text = recipe("arcee_fusion", Some(&set.base), &set.models, "");
        let want = agents::arcee_fusion(&set.base_values, &set.model_values[0], width);
        assert_near(&values(&merge(&text)[NAME]), &want)?;
    }

    #[test]
    fn passthrough(seed: u64, len in 1usize..9000, scale in proptest::option::of(-2.0..2.0f64)) {
        let set = set(seed, len, 1);
        let all = scale.map_or_else(String::new, |s| format!("{{scale: {s}}}"));
        let text = recipe("passthrough", None, &set.models, &all);
        let want: Vec<f64> = set.model_values[0].iter().map(|x| x * scale.unwrap_or(1.0)).collect();
        assert_near(&values(&merge(&text)[NAME]), &want)?;
    }
}

#[test]
fn ties_of_equal_magnitudes_across_units() {
    let len = growmerge::execute::UNIT + 12_345;
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(11);
    let coarse = |x: f32| (x * 32.0).round() / 32.0;
    let x: Vec<Vec<f32>> = (0..4).map(|_| (0..len).map(|_| coarse(noise.next())).collect()).collect();
    let paths: Vec<PathBuf> = (0..4).map(|i| folder.path().join(i.to_string())).collect();
    for (path, x) in paths.iter().zip(&x) {
        write(path, &Tensors::from([(NAME.to_owned(), f32s(&[len], x.iter().copied()))]));
    }
    let text = recipe("ties", Some(&paths[0]), &paths[1..], "{weight: 0.5, density: 0.43}");
    let wide: Vec<Vec<f64>> = x.iter().map(|x| x.iter().map(|x| f64::from(*x)).collect()).collect();
    let keep = (0.43 * len as f64) as usize;
    let drops = (0..3).map(|_| Drop::Smallest(keep)).collect();
    let want = Deltas { weights: vec![0.5; 3], drops, elect: true, normalize: true, lambda: 1.0 };
    assert_near(&values(&merge(&text)[NAME]), &want.merge(&wide[0], &wide[1..])).unwrap();
}

/// Rows in which the rank of nearly every element has to be counted or looked up.
#[test]
fn della_of_rows_with_few_magnitudes() {
    for (rows, width) in [(3, 5000), (40, 100), (2, 129), (1, 70_000)] {
        let folder = tempfile::tempdir().unwrap();
        let mut noise = Noise(3);
        let base = vec![0.0; rows * width];
        let tuned: Vec<f32> = (0..rows * width).map(|_| (noise.next() * 3.0).round()).collect();
        let paths = ["base", "tuned"].map(|name| folder.path().join(name));
        for (path, x) in paths.iter().zip([&base, &tuned]) {
            let tensor = f32s(&[rows, width], x.iter().copied());
            write(path, &Tensors::from([(NAME.to_owned(), tensor)]));
        }
        let text =
            recipe("della_linear", Some(&paths[0]), &paths[1..], "{weight: 1, density: 0.5, epsilon: 0.4}");
        let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let key = philox::key(0, NAME, 0);
        let drops = vec![Drop::Ranked { key, width, density: 0.5, epsilon: 0.4, rescale: Rescale::L1 }];
        let want = Deltas { weights: vec![1.0], drops, elect: false, normalize: false, lambda: 1.0 };
        let got = values(&merge(&text)[NAME]);
        assert_near(&got, &want.merge(&wide(&base), &[wide(&tuned)])).unwrap();
    }
}

#[test]
fn a_sign_error_would_be_noticed() {
    // The comparison itself must be able to fail.
    let set = set(1, 1000, 3);
    let text = with_weights(&set, "task_arithmetic", true, &[1.0, 1.0, -1.0], "", "");
    let drops = vec![Drop::Nothing, Drop::Nothing, Drop::Nothing];
    let want = Deltas { weights: vec![1.0; 3], drops, elect: false, normalize: false, lambda: 1.0 };
    let got = values(&merge(&text)[NAME]);
    assert!(assert_near(&got, &want.merge(&set.base_values, &set.model_values)).is_err());
}
