//! What must hold for any models: identities that a method cannot break and still be that method.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::PathBuf;

use proptest::prelude::*;
use safetensors::tensor::Dtype;
use support::{Noise, Tensors, merge, recipe, stored, values, write};

const NAME: &str = "model.layers.0.self_attn.q_proj.weight";

struct Set {
    folder: tempfile::TempDir,
    tensors: Vec<Tensors>,
}

impl Set {
    /// A base and `n` fine-tunes of one tensor, in bf16.
    fn new(seed: u64, len: usize, n: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut noise = Noise(seed);
        let base: Vec<f32> = (0..len).map(|_| noise.next()).collect();
        let mut all = vec![base.clone()];
        all.extend((0..n).map(|_| noise.tuned(&base)));
        let tensors: Vec<Tensors> = all
            .iter()
            .map(|x| Tensors::from([(NAME.to_owned(), stored(Dtype::BF16, &[x.len()], x))]))
            .collect();
        for (i, tensors) in tensors.iter().enumerate() {
            write(&folder.path().join(i.to_string()), tensors);
        }
        Self { folder, tensors }
    }

    fn path(&self, i: usize) -> PathBuf {
        self.folder.path().join(i.to_string())
    }

    /// Merges fine-tunes in a given order.
    fn merge(&self, method: &str, order: &[usize], parameters: &str) -> Vec<f64> {
        let models: Vec<PathBuf> = order.iter().map(|i| self.path(*i)).collect();
        let base = self.path(0);
        let base = (!["linear", "passthrough", "karcher"].contains(&method)).then_some(base.as_path());
        values(&merge(&recipe(method, base, &models, parameters))[NAME])
    }

    fn values(&self, i: usize) -> Vec<f64> {
        values(&self.tensors[i][NAME])
    }
}

fn near(a: &[f64], b: &[f64], limit: f64) -> bool {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) <= limit * norm(&mut b.iter().copied())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linear_of_equal_models_is_the_model(seed: u64, len in 1usize..5000, w in -3.0..3.0f64) {
        prop_assume!(w.abs() > 0.01);
        let set = Set::new(seed, len, 1);
        // The same weights under two other names.
        for copy in [2, 3] {
            write(&set.path(copy), &set.tensors[1]);
        }
        prop_assert_eq!(set.merge("linear", &[1, 2, 3], &format!("{{weight: {w}}}")), set.values(1));
    }

    #[test]
    fn the_order_of_models_does_not_matter(seed: u64, len in 20usize..5000) {
        let set = Set::new(seed, len, 3);
        for (method, parameters) in [
            ("linear", "{weight: 0.3}"),
            ("task_arithmetic", "{weight: 0.3}"),
            ("ties", "{weight: 1, density: 0.5}"),
            ("multislerp", "{weight: 0.3}"),
            ("karcher", ""),
            ("model_stock", ""),
            ("model_stock", "{filter_wise: true}"),
            ("breadcrumbs", "{weight: 0.3, density: 0.5, gamma: 0.1}"),
            ("breadcrumbs_ties", "{weight: 0.3, density: 0.5, gamma: 0.1}"),
            ("sce", "{select_topk: 0.5}"),
            ("ram", ""),
            ("ramplus_tl", ""),
        ] {
            let (a, b) = (set.merge(method, &[1, 2, 3], parameters), set.merge(method, &[3, 1, 2], parameters));
            // bf16: the last bit may round the other way.
            prop_assert!(near(&a, &b, 1e-3), "{method}");
        }
    }

    #[test]
    fn a_mean_on_the_sphere_of_equal_models_is_the_model(seed: u64, len in 1usize..5000) {
        let set = Set::new(seed, len, 1);
        for copy in [2, 3] {
            write(&set.path(copy), &set.tensors[1]);
        }
        for (method, models, parameters) in [
            ("multislerp", &[1, 2, 3][..], "{weight: 0.3}"),
            ("karcher", &[1, 2, 3], ""),
            ("model_stock", &[1, 2, 3], ""),
            ("model_stock", &[1, 2, 3], "{filter_wise: true}"),
            ("nuslerp", &[1, 2], "{weight: 0.3}"),
        ] {
            // bf16: the last bit may round the other way.
            prop_assert!(near(&set.merge(method, models, parameters), &set.values(1), 4e-3), "{method}");
        }
    }

    #[test]
    fn what_no_model_changed_is_the_base(seed: u64, len in 1usize..5000) {
        let set = Set::new(seed, len, 0);
        for copy in [1, 2, 3] {
            write(&set.path(copy), &set.tensors[0]);
        }
        for (method, models, parameters) in [
            ("multislerp", &[1, 2, 3][..], "{weight: 0.3}"),
            ("model_stock", &[1, 2, 3], ""),
            ("model_stock", &[1, 2, 3], "{filter_wise: true}"),
            ("nuslerp", &[1, 2], "{weight: 0.3}"),
            ("nuslerp", &[1, 2], "{weight: 0.3, nuslerp_flatten: false}"),
            ("ram", &[1, 2, 3], "{epsilon: 0}"),
            ("ramplus_tl", &[1, 2, 3], "{epsilon: 0}"),
            ("sce", &[1, 2, 3], ""),
            ("sce", &[1, 2, 3], "{select_topk: 0.5}"),
            ("nearswap", &[1], "{t: 0.1}"),
            ("arcee_fusion", &[1], ""),
        ] {
            prop_assert_eq!(set.merge(method, models, parameters), set.values(0), "{}", method);
        }
    }

    #[test]
    fn nuslerp_ends_at_its_models(seed: u64, len in 2usize..5000) {
        let set = Set::new(seed, len, 2);
        for end in [1, 2] {
            let own = |i: usize| if i == end { 1.0 } else { 0.0 };
            let mut text = String::from("merge_method: nuslerp\nmodels:\n");
            for i in [1, 2] {
                text += &format!("  - model: {}\n    parameters: {{weight: {}}}\n", set.path(i).display(), own(i));
            }
            prop_assert_eq!(values(&merge(&text)[NAME]), set.values(end));
        }
    }

    #[test]
    fn thresholds_at_their_ends_leave_the_base_or_the_model(seed: u64, len in 1usize..5000) {
        let set = Set::new(seed, len, 2);
        for (method, parameters, end) in [
            ("nearswap", "{t: 0}", 0),
            ("nearswap", "{t: 1000}", 1),
            ("ram", "{epsilon: 0}", 1),
            ("ram", "{epsilon: 1000}", 0),
            ("ramplus_tl", "{epsilon: 0, r: 0}", 1),
        ] {
            prop_assert_eq!(set.merge(method, &[1], parameters), set.values(end), "{} {}", method, parameters);
        }
        // Nothing is shared with oneself, but everything with a copy.
        write(&set.path(3), &set.tensors[1]);
        prop_assert_eq!(set.merge("ram", &[1, 3], "{epsilon: 0}"), set.values(1));
        prop_assert_eq!(set.merge("ramplus_tl", &[1, 3], "{epsilon: 0, r: 9}"), set.values(1));
    }

    #[test]
    fn methods_meet_where_their_parameters_do(seed: u64, len in 10usize..5000, density in 0.1..0.9f64) {
        let set = Set::new(seed, len, 2);
        // Without outliers breadcrumbs trims as ties does, and one model agrees with itself.
        let trimmed = format!("{{weight: 1, density: {density}, gamma: 0, normalize: false}}");
        prop_assert_eq!(set.merge("breadcrumbs", &[1], &trimmed), set.merge("ties", &[1], &trimmed));
        prop_assert_eq!(set.merge("breadcrumbs_ties", &[1], &trimmed), set.merge("ties", &[1], &trimmed));
        // With one chance for all ranks della drops as dare does, by the same draws.
        let dropped = format!("{{weight: 0.5, density: {density}, epsilon: 0, normalize: false, rescale: false}}");
        prop_assert_eq!(set.merge("della_linear", &[1, 2], &dropped), set.merge("dare_linear", &[1, 2], &dropped));
        prop_assert_eq!(set.merge("della", &[1, 2], &dropped), set.merge("dare_ties", &[1, 2], &dropped));
        // Without variance there is nothing to select.
        prop_assert_eq!(set.merge("sce", &[1], &format!("{{select_topk: {density}}}")), set.values(0));
        prop_assert_eq!(set.merge("sce", &[1], ""), set.values(1));
    }

    #[test]
    fn arcee_fusion_takes_whole_elements(seed: u64, len in 100usize..5000) {
        let set = Set::new(seed, len, 1);
        let base = set.values(0);
        // One change stands out; the others may be too much alike for that.
        let mut model = set.values(1);
        model[len / 2] += 4.0;
        let x: Vec<f32> = model.iter().map(|x| *x as f32).collect();
        write(&set.path(2), &Tensors::from([(NAME.to_owned(), stored(Dtype::F32, &[len], &x))]));
        let merged = set.merge("arcee_fusion", &[2], "");
        let model: Vec<f64> = x.into_iter().map(f64::from).collect();
        let taken = (0..len).filter(|i| merged[*i] != base[*i]).count();
        // Taken as the base plus the difference, which rounds.
        prop_assert!((0..len).all(|i| merged[i] == base[i] || (merged[i] - model[i]).abs() < 1e-6));
        prop_assert!(merged[len / 2] != base[len / 2] && taken < len / 2, "{taken} of {len}");
    }

    #[test]
    fn density_one_is_task_arithmetic(seed: u64, len in 1usize..5000, w in 0.1..1.0f64) {
        let set = Set::new(seed, len, 3);
        let plain = set.merge("task_arithmetic", &[1, 2, 3], &format!("{{weight: {w}}}"));
        let dare = format!("{{weight: {w}, density: 1}}");
        prop_assert_eq!(&set.merge("dare_linear", &[1, 2, 3], &dare), &plain);
        prop_assert_eq!(&set.merge("breadcrumbs", &[1, 2, 3], &format!("{{weight: {w}, gamma: 0.3}}")), &plain);
        prop_assert_eq!(&set.merge("della_linear", &[1, 2, 3], &dare), &plain);
        let ties = format!("{{weight: {w}, density: 1, normalize: true}}");
        prop_assert_eq!(set.merge("della", &[1, 2, 3], &ties), set.merge("ties", &[1, 2, 3], &ties));
        prop_assert_eq!(set.merge("breadcrumbs_ties", &[1, 2, 3], &ties), set.merge("ties", &[1, 2, 3], &ties));
        // One model always agrees with itself.
        let one = format!("{{weight: {w}, density: 1, normalize: false}}");
        prop_assert_eq!(
            set.merge("ties", &[1], &one),
            set.merge("task_arithmetic", &[1], &format!("{{weight: {w}}}"))
        );
        prop_assert_ne!(set.merge("dare_linear", &[1, 2, 3], &format!("{{weight: {w}, density: 0.01}}")), plain);
    }

    #[test]
    fn lambda_zero_and_weight_zero_are_the_base(seed: u64, len in 8usize..5000) {
        let set = Set::new(seed, len, 2);
        for method in ["task_arithmetic", "ties", "dare_linear", "dare_ties", "breadcrumbs", "della"] {
            prop_assert_eq!(set.merge(method, &[1, 2], "{weight: 0.7, lambda: 0}"), set.values(0), "{}", method);
            prop_assert_eq!(set.merge(method, &[1, 2], "{weight: 0}"), set.values(0), "{}", method);
        }
    }

    #[test]
    fn slerp_ends_at_its_models(seed: u64, len in 2usize..5000) {
        let set = Set::new(seed, len, 2);
        prop_assert_eq!(set.merge("slerp", &[1], "{t: 0}"), set.values(0));
        prop_assert_eq!(set.merge("slerp", &[1], "{t: 1}"), set.values(1));
    }

    #[test]
    fn ties_and_breadcrumbs_keep_exactly_k(seed: u64, len in 10usize..5000, density in 0.1..0.9f64) {
        // From a base of zeros every kept difference shows; no difference is zero here.
        let folder = tempfile::tempdir().unwrap();
        let mut noise = Noise(seed);
        // Few magnitudes, so that the cut falls among equals.
        let x: Vec<f32> = (0..len).map(|_| (noise.next() * 3.0).round() + 0.5).collect();
        for (name, x) in [("base", vec![0.0; len]), ("tuned", x.clone())] {
            let tensor = stored(Dtype::F32, &[len], &x);
            write(&folder.path().join(name), &Tensors::from([(NAME.to_owned(), tensor)]));
        }
        let models = [folder.path().join("tuned")];
        let parameters = format!("{{weight: 1, density: {density}}}");
        let text = recipe("ties", Some(&folder.path().join("base")), &models, &parameters);
        let kept = values(&merge(&text)[NAME]);
        prop_assert_eq!(kept.iter().filter(|x| **x != 0.0).count(), (density * len as f64) as usize);
        let crumbs = format!("{{weight: 1, density: {density}, gamma: 0.2}}");
        let text = recipe("breadcrumbs", Some(&folder.path().join("base")), &models, &crumbs);
        let crumbs = values(&merge(&text)[NAME]);
        prop_assert_eq!(crumbs.iter().filter(|x| **x != 0.0).count(), (density * len as f64) as usize);
        // Among equals the earlier ones.
        let smallest = kept.iter().filter(|x| **x != 0.0).fold(f64::MAX, |m, x| m.min(x.abs()));
        let mut dropped = false;
        for (x, kept) in x.iter().zip(&kept).filter(|(x, _)| f64::from(x.abs()) == smallest) {
            dropped |= *kept == 0.0;
            prop_assert!(!dropped || *kept == 0.0, "{x} is kept after an equal one was dropped");
        }
    }
}

#[test]
fn della_spares_the_large() {
    let (rows, width) = (300, 1000);
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(17);
    // Different magnitudes, none zero.
    let x: Vec<f32> = (0..rows * width).map(|_| noise.next() + 2.0).collect();
    for (name, x) in [("base", vec![0.0; rows * width]), ("tuned", x.clone())] {
        let tensor = stored(Dtype::F32, &[rows, width], &x);
        write(&folder.path().join(name), &Tensors::from([(NAME.to_owned(), tensor)]));
    }
    let models = [folder.path().join("tuned")];
    let text = recipe(
        "della_linear",
        Some(&folder.path().join("base")),
        &models,
        "{weight: 1, density: 0.4, epsilon: 0.3, rescale: false}",
    );
    let merged = values(&merge(&text)[NAME]);
    let mut kept = vec![0; width];
    for (row, merged) in x.chunks(width).zip(merged.chunks(width)) {
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|a, b| row[*a].total_cmp(&row[*b]));
        order.iter().enumerate().for_each(|(rank, i)| kept[rank] += usize::from(merged[*i] != 0.0));
    }
    // The chance rises from 0.1 to 0.7; 30,000 draws in each tenth of the ranks: six standard deviations.
    for (tenth, kept) in kept.chunks(width / 10).enumerate() {
        let share = kept.iter().sum::<usize>() as f64 / (rows * width / 10) as f64;
        let want = 0.1 + 0.6 * (tenth as f64 + 0.5) / 10.0;
        assert!(
            (share - want).abs() < 6.0 * (0.25f64 / 30_000.0).sqrt(),
            "tenth {tenth}: {share} for {want}"
        );
    }
}

#[test]
fn the_drop_of_dare_is_near_its_density_and_keeps_the_sum_of_magnitudes() {
    let set = Set::new(5, 200_000, 1);
    let delta =
        |merged: Vec<f64>| -> Vec<f64> { merged.iter().zip(set.values(0)).map(|(m, b)| m - b).collect() };
    let size = |x: &[f64]| x.iter().map(|x| x.abs()).sum::<f64>();
    let share = |x: &[f64]| x.iter().filter(|x| **x != 0.0).count() as f64 / x.len() as f64;
    let text = |density: f64, rescale: &str| {
        format!("{{weight: 1, density: {density}, rescale: {rescale}}}\ndtype: float32")
    };
    let whole = delta(set.merge("dare_linear", &[1], &text(1.0, "l1")));
    for rescale in ["l1", "density"] {
        let thin = delta(set.merge("dare_linear", &[1], &text(0.3, rescale)));
        assert!((share(&thin) / share(&whole) - 0.3).abs() < 0.01, "{rescale}: {}", share(&thin));
        let limit = if rescale == "l1" { 1e-4 } else { 0.02 };
        assert!((size(&thin) / size(&whole) - 1.0).abs() < limit, "{rescale}");
    }
    let bare = delta(set.merge("dare_linear", &[1], &text(0.3, "none")));
    assert!((size(&bare) / size(&whole) - 0.3).abs() < 0.02);
}
