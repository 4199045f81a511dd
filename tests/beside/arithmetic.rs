//! Both methods against the formulas in f64.

use proptest::prelude::*;

use crate::oracle::beside;
use crate::support::{Noise, merge, values};
use crate::*;

fn weights() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(0.1..3.0f64, 4)
}

/// What a method makes of models, or of their differences from a base.
fn on_base(
    world: &World,
    tensor: &str,
    based: bool,
    lambda: f64,
    mix: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) -> Vec<f64> {
    let models: Vec<Vec<f64>> = (0..world.models).map(|i| world.values(&format!("m{i}"), tensor)).collect();
    if !based {
        return mix(&models);
    }
    let base = world.values("base", tensor);
    let deltas: Vec<Vec<f64>> =
        models.iter().map(|m| m.iter().zip(&base).map(|(x, b)| x - b).collect()).collect();
    base.iter().zip(mix(&deltas)).map(|(b, x)| b + lambda * x).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fisher(
        seed: u64, rows in 1usize..40, width in 1usize..300, n in 1usize..5, w in weights(), based: bool,
        lambda in 0.3..2.0f64, divide: bool, floor in prop_oneof![Just(1e-3), Just(0.0), 1e-6..2.0f64],
        exponent in prop_oneof![Just(0.5), Just(1.0), Just(0.0), 0.05..3.0f64],
    ) {
        let shapes = [(UP, vec![rows, width]), (NORM, vec![width])];
        let world = World::new(seed, &shapes, n);
        let noise = &mut Noise(seed ^ 1);
        let means: Vec<f64> = (0..n).map(|i| [1e-9, 0.02, 3.0, 1e-4][i]).collect();
        let importance: Vec<Values> = (0..n)
            .map(|i| write_importance(&world.path(&format!("importance{i}.safetensors")), noise, &shapes, means[i]))
            .collect();
        let base = if based { format!("base_model: {}\n", world.at("base")) } else { String::new() };
        let lambda_words = if based { format!(", lambda: {lambda}") } else { String::new() };
        let more = format!(
            "{base}parameters: {{exponent: {exponent}, floor: {floor}, importance_divisor: {}{lambda_words}}}",
            if divide { "model" } else { "none" }
        );
        let merged = merge(&world.recipe("fisher", "importance", &w, &more));
        for (name, _) in &shapes {
            let of: Vec<Vec<f64>> = importance.iter().map(|all| wide(&all[*name].1)).collect();
            let divisors: Vec<f64> = means.iter().map(|m| if divide { *m } else { 1.0 }).collect();
            let want = on_base(&world, name, based, lambda, |x| {
                beside::fisher(x, &of, &w[..n], &divisors, floor, exponent)
            });
            let off = farthest(&values(&merged[*name]), &want);
            prop_assert!(off < 1e-6, "{name}: {off:e}");
        }
    }

    #[test]
    fn regmean(
        seed: u64, rows in 1usize..50, width in 1usize..40, n in 1usize..5, w in weights(), based: bool,
        lambda in 0.3..2.0f64, shrinkage in prop_oneof![Just(1.0), Just(0.0), 0.0..1.0f64],
    ) {
        let shapes = [(UP, vec![rows, width]), (GATE, vec![rows + 3, width]), (NORM, vec![width])];
        let world = World::new(seed, &shapes, n);
        let noise = &mut Noise(seed ^ 2);
        let grams: Vec<Vec<f32>> = (0..n).map(|_| gram(noise, width)).collect();
        for (i, gram) in grams.iter().enumerate() {
            let path = world.path(&format!("grams{i}.safetensors"));
            write_grams(&path, &[(UP, GATE)], &[(GATE, width, gram)]);
        }
        let base = if based { format!("base_model: {}\n", world.at("base")) } else { String::new() };
        let lambda_words = if based { format!(", lambda: {lambda}") } else { String::new() };
        let more = format!("{base}parameters: {{shrinkage: {shrinkage}{lambda_words}}}");
        let merged = merge(&world.recipe("regmean", "grams", &w, &more));
        let grams: Vec<Vec<f64>> = grams.iter().map(|g| wide(g)).collect();
        for name in [UP, GATE] {
            let want = on_base(&world, name, based, lambda, |x| {
                beside::regmean(x, &grams, &w[..n], shrinkage, width)
            });
            let off = farthest(&values(&merged[name]), &want);
            prop_assert!(off < 2e-6, "{name}: {off:e}");
        }
        let want = on_base(&world, NORM, based, lambda, |x| crate::oracle::linear(x, &w[..n], true));
        prop_assert!(farthest(&values(&merged[NORM]), &want) < 1e-6);
    }
}

/// Models that agree on what matters are merged into their mean.
#[test]
fn equal_importance_and_equal_inputs_give_the_mean() {
    let shapes = [(UP, vec![7, 33]), (NORM, vec![33])];
    let world = World::new(3, &shapes, 3);
    for i in 0..3 {
        let noise = &mut Noise(11);
        // Ten times as large throughout is as good as equal.
        let mean = 10f64.powi(i) * 1e-3;
        write_importance(&world.path(&format!("importance{i}.safetensors")), noise, &shapes, mean);
        let gram = gram(&mut Noise(12), 33);
        write_grams(&world.path(&format!("grams{i}.safetensors")), &[], &[(UP, 33, &gram)]);
    }
    for (method, file) in [("fisher", "importance"), ("regmean", "grams")] {
        let merged = merge(&world.recipe(method, file, &[1.0, 2.0, 0.5], ""));
        for (name, _) in &shapes {
            let models: Vec<Vec<f64>> = (0..3).map(|i| world.values(&format!("m{i}"), name)).collect();
            let want = crate::oracle::linear(&models, &[1.0, 2.0, 0.5], true);
            assert!(farthest(&values(&merged[*name]), &want) < 1e-6, "{method} {name}");
        }
    }
}

/// Rows of what has no Gram matrix may have weights of their own.
#[test]
fn regmean_averages_embeddings_by_row() {
    let shapes = [(UP, vec![6, 8]), (EMBED, vec![10, 8])];
    for based in [false, true] {
        let world = World::new(4, &shapes, 2);
        let grams: Vec<Vec<f32>> = (0..2).map(|i| gram(&mut Noise(50 + i), 8)).collect();
        let rows: Vec<Vec<f32>> =
            (0..2).map(|i| (0..10).map(|r| 0.25 + (r * (i + 1) % 7) as f32).collect()).collect();
        let mut weights = Vec::new();
        for (i, gram) in grams.iter().enumerate() {
            write_grams(&world.path(&format!("grams{i}.safetensors")), &[], &[(UP, 8, gram)]);
            let entry = [("format", "growmerge coefficients 1".to_owned())];
            let one = [2.0 - i as f32];
            let all = [Saved::f32s(EMBED, &[10], &rows[i]), Saved::f32s("*", &[1], &one)];
            let path = world.path(&format!("weights{i}.safetensors"));
            save(&path, &entry, &all).unwrap();
            weights.push(format!("weight: {{file: {}}}", path.display()));
        }
        let mut text = world.recipe("regmean", "grams", &[], "parameters: {shrinkage: 0.8}");
        for (i, weight) in weights.iter().enumerate() {
            text = text.replace(&format!("grams{i}.safetensors"), &format!("grams{i}.safetensors, {weight}"));
        }
        if based {
            text += &format!("base_model: {}\n", world.at("base"));
        }
        let merged = merge(&text);
        let want = on_base(&world, EMBED, based, 1.0, |x| {
            let of_row = |at: usize| {
                let (a, b) = (f64::from(rows[0][at / 8]), f64::from(rows[1][at / 8]));
                (a * x[0][at] + b * x[1][at]) / (a + b)
            };
            (0..80).map(of_row).collect()
        });
        assert!(farthest(&values(&merged[EMBED]), &want) < 1e-6);
        let grams: Vec<Vec<f64>> = grams.iter().map(|g| wide(g)).collect();
        let want = on_base(&world, UP, based, 1.0, |x| beside::regmean(x, &grams, &[2.0, 1.0], 0.8, 8));
        assert!(farthest(&values(&merged[UP]), &want) < 1e-6);
        // One row's weights for a projection make no sense.
        let path = world.path("weights0.safetensors");
        let entry = [("format", "growmerge coefficients 1".to_owned())];
        save(&path, &entry, &[Saved::f32s(UP, &[6], &[1.0; 6]), Saved::f32s("*", &[1], &[1.0])]).unwrap();
        let told = crate::support::refusal(&text);
        assert!(told.contains("solved for all rows with one weight"), "{told}");
    }
}

/// What regmean promises: on all models' inputs no other matrix is nearer to what the models' own give.
#[test]
fn regmean_is_the_least_squares_solution() {
    let width = 12;
    let shapes = [(UP, vec![1, width])];
    let world = World::new(5, &shapes, 2);
    let grams: Vec<Vec<f32>> = (0..2).map(|i| gram(&mut Noise(20 + i), width)).collect();
    for (i, gram) in grams.iter().enumerate() {
        write_grams(&world.path(&format!("grams{i}.safetensors")), &[], &[(UP, width, gram)]);
    }
    let merged = values(&merge(&world.recipe("regmean", "grams", &[], "parameters: {shrinkage: 1}"))[UP]);
    let models: Vec<Vec<f64>> = (0..2).map(|i| world.values(&format!("m{i}"), UP)).collect();
    // Σ over models of |(w - wᵢ)·Xᵢᵀ|², which is a form of the Gram matrices.
    let error = |w: &[f64]| -> f64 {
        let of = |i: usize| {
            let off: Vec<f64> = w.iter().zip(&models[i]).map(|(a, b)| a - b).collect();
            let entry = |r: usize, c: usize| off[r] * f64::from(grams[i][r * width + c]) * off[c];
            (0..width * width).map(|at| entry(at / width, at % width)).sum::<f64>()
        };
        of(0) + of(1)
    };
    let least = error(&merged);
    let noise = &mut Noise(9);
    for _ in 0..200 {
        let moved: Vec<f64> = merged.iter().map(|x| x + f64::from(noise.next()) * 0.01).collect();
        assert!(error(&moved) > least);
    }
}

/// A column to which no text brings anything has no say, and gets the mean by weight.
#[test]
fn unused_columns_get_the_mean() {
    let (width, dead) = (9, 4);
    let world = World::new(6, &[(UP, vec![20, width])], 2);
    for i in 0..2 {
        let mut gram = gram(&mut Noise(30 + i), width);
        for j in 0..width {
            (gram[dead * width + j], gram[j * width + dead]) = (0.0, 0.0);
        }
        write_grams(&world.path(&format!("grams{i}.safetensors")), &[], &[(UP, width, &gram)]);
    }
    let weights = [1.0, 3.0];
    let merged = values(&merge(&world.recipe("regmean", "grams", &weights, ""))[UP]);
    let models: Vec<Vec<f64>> = (0..2).map(|i| world.values(&format!("m{i}"), UP)).collect();
    let mean = crate::oracle::linear(&models, &weights, true);
    for row in 0..20 {
        let at = row * width + dead;
        assert!((merged[at] - mean[at]).abs() < 1e-6);
    }
}
