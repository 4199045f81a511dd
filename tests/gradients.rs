//! The decoder's loss and its backward pass against the naive decoder of `tests/oracle/decoder.rs`, in f64.
//!
//! Models: every family of `tests/families`, and random mixtures of switches that no family has. Texts, elements
//! and directions are drawn anew in each run; the seed is printed.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod oracle;
mod support;

use std::ops::Range;

use growmerge::decoder::{Batch, Decoder, Gradients, Memory, Scratch};
use oracle::decoder::{Decoder as Oracle, Text};
use rand::RngExt;
use rand::distr::Distribution;
use rand::rngs::SmallRng;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use support::decoders::{Case, families, fresh_seed, large, mixed, random_of};

/// Tokens of the longest text: more than any window and first context of a family.
const SHORT: usize = 24;

/// More than two of the blocks that attention works in, so that some are neither first nor last.
const LONG: usize = 270;

/// How far a loss in f32 may be from the exact one, as a part of it.
const LOSS_TOLERANCE: f64 = 1e-5;

/// How far a gradient in f32 may be from the exact one, as a part of the largest element of its tensor.
///
/// Logits in f32 are right to 1e-6 of their range (`tests/families/README.md`), and what they are off by grows on the
/// way back through norms and softmaxes: of 400 random models the median of the worst elements was 1e-6 off, the very
/// worst 1.7e-5.
const GRADIENT_TOLERANCE: f64 = 1e-4;

fn text(case: &Case, len: usize, scored: Range<usize>, random: &mut SmallRng) -> Text {
    let ids = (0..len).map(|_| random.random_range(0..case.config.vocab as u32)).collect();
    Text { ids, scored }
}

/// Three texts: a long one, a short one, and one of which a part is scored.
fn texts(case: &Case, random: &mut SmallRng) -> Vec<Text> {
    let mut text = |len, scored| text(case, len, scored, random);
    vec![text(SHORT, 1..SHORT), text(7, 1..7), text(12, 5..9)]
}

fn batch(texts: &[Text]) -> Batch {
    let mut batch = Batch::default();
    texts.iter().for_each(|text| batch.push(&text.ids, text.scored.clone()));
    batch
}

fn decoder(case: &Case) -> Decoder<'_> {
    Decoder::new(case.config.clone(), &*case.tensors, &case.name, LONG).unwrap_or_else(|p| panic!("{p}"))
}

/// Loss and gradients, each text of `batches` once.
fn gradients(case: &Case, batches: &[&[Text]], scale: f32) -> (f64, Gradients) {
    let decoder = decoder(case);
    let (mut scratch, mut memory) = (Scratch::default(), Memory::default());
    let mut gradients = Gradients::new(&*case.tensors);
    let mut one =
        |texts: &&[Text]| decoder.gradients(&batch(texts), scale, &mut scratch, &mut memory, &mut gradients);
    let loss = batches.iter().map(&mut one).sum();
    (loss, gradients)
}

fn largest(values: &[f32]) -> f64 {
    values.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max)
}

/// The largest difference of two gradients, as a part of the largest element of each tensor.
fn difference(a: &Gradients, b: &Gradients) -> f64 {
    let of_tensor = |name: &str| {
        let (a, b) = (a.tensor(name).unwrap(), b.tensor(name).unwrap());
        let far: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        largest(&far) / largest(a).max(f64::MIN_POSITIVE)
    };
    a.layout().slots().iter().map(|slot| of_tensor(&slot.name)).fold(0.0, f64::max)
}

/// Losses against the oracle's: the largest difference, as a part of the loss.
fn loss_error(case: &Case, random: &mut SmallRng) -> f64 {
    let texts = texts(case, random);
    let got = decoder(case).losses(&batch(&texts), &mut Scratch::default(), &mut ());
    let oracle = Oracle::new(&case.config, &*case.tensors);
    let want: Vec<f64> = texts.iter().flat_map(|text| oracle.losses(text)).collect();
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(got, want)| (got - want).abs() / want.max(1.0)).fold(0.0, f64::max)
}

/// Slope of the oracle's loss when a tensor moves along `direction`.
fn slope(oracle: &mut Oracle, texts: &[Text], name: &str, direction: &[(usize, f64)]) -> f64 {
    const STEP: f64 = 1e-5;
    let weights = oracle.tensor_mut(name).to_vec();
    let mut at = |step: f64| {
        let moved = oracle.tensor_mut(name);
        direction.iter().for_each(|(i, share)| moved[*i] = weights[*i] + step * share);
        let loss = oracle.loss(texts);
        oracle.tensor_mut(name).copy_from_slice(&weights);
        loss
    };
    (at(STEP) - at(-STEP)) / (2.0 * STEP)
}

/// Gradients against central differences of the oracle's loss, tensor by tensor: the largest difference as a part
/// of the tensor's largest element, and of which tensor. Of each tensor: `drawn` elements, the one with the largest
/// gradient, and a direction that all take part in.
fn gradient_error(case: &Case, texts: &[Text], drawn: usize, random: &mut SmallRng) -> (f64, String) {
    let (_, gradients) = gradients(case, &[texts], 1.0);
    let mut oracle = Oracle::new(&case.config, &*case.tensors);
    let mut worst = (0.0, String::new());
    for slot in gradients.layout().slots() {
        let analytic = gradients.tensor(&slot.name).unwrap();
        let top =
            (0..analytic.len()).max_by(|a, b| analytic[*a].abs().total_cmp(&analytic[*b].abs())).unwrap();
        let drawn = (0..drawn).map(|_| random.random_range(0..analytic.len()));
        let mut directions: Vec<Vec<(usize, f64)>> =
            drawn.chain([top]).map(|element| vec![(element, 1.0)]).collect();
        // Of length 1.
        let all: Vec<f64> = analytic.iter().map(|_| StandardNormal.sample(random)).collect();
        let length = all.iter().map(|x: &f64| x * x).sum::<f64>().sqrt();
        directions.push(all.iter().map(|x| x / length).enumerate().collect());
        for direction in directions {
            let want = slope(&mut oracle, texts, &slot.name, &direction);
            let got: f64 = direction.iter().map(|(i, share)| share * f64::from(analytic[*i])).sum();
            let far = (got - want).abs() / largest(analytic).max(f64::MIN_POSITIVE);
            if far > worst.0 {
                worst = (far, format!("{}: {got} for {want} along {} elements", slot.name, direction.len()));
            }
        }
    }
    worst
}

/// Random mixtures of switches.
fn mixtures(seed: u64) -> Vec<Case> {
    let one = |i: usize| {
        let name = format!("mixture {i}");
        mixed(&name, &mut random_of(seed, &name))
    };
    (0..8).map(one).collect()
}

fn all_cases(seed: u64) -> Vec<Case> {
    families().into_iter().chain(mixtures(seed)).collect()
}

#[test]
fn losses_are_those_of_the_oracle() {
    let seed = fresh_seed();
    for case in all_cases(seed) {
        let far = loss_error(&case, &mut random_of(seed, &case.name));
        println!("{:20} {far:.1e}", case.name);
        assert!(far < LOSS_TOLERANCE, "{}: {far:e} of the loss; {:?}", case.name, case.config);
    }
}

/// Runs `error` on all cases, prints what it finds and compares.
fn check(seed: u64, cases: &[Case], error: impl Fn(&Case, &mut SmallRng) -> (f64, String) + Sync) {
    let of_case = |case: &Case| error(case, &mut random_of(seed, &case.name));
    let errors: Vec<_> = cases.par_iter().map(of_case).collect();
    for (case, (far, of)) in cases.iter().zip(&errors) {
        println!("{:20} {far:.1e} {of}", case.name);
    }
    for (Case { name, config, .. }, (far, of)) in cases.iter().zip(&errors) {
        assert!(*far < GRADIENT_TOLERANCE, "{name}: {far:e} of the tensor's largest; {of}; {config:?}");
    }
}

#[test]
fn gradients_are_central_differences() {
    let seed = fresh_seed();
    check(seed, &all_cases(seed), |case, random| {
        let texts = texts(case, random);
        gradient_error(case, &texts, 3, random)
    });
}

#[test]
fn gradients_of_long_texts_are_central_differences() {
    let seed = fresh_seed();
    check(seed, &mixtures(seed)[..3], |case, random| {
        let texts = [text(case, 140, 130..140, random), text(case, LONG, 1..LONG, random)];
        gradient_error(case, &texts, 1, random)
    });
}

/// What is done in parts: products with large matrices, and cross entropy over many positions.
#[test]
fn gradients_of_a_large_model_are_central_differences() {
    let seed = fresh_seed();
    let case = large("large", &mut random_of(seed, "large"));
    let random = &mut random_of(seed, "texts");
    let texts = [text(&case, 100, 1..100, random), text(&case, 45, 1..45, random)];
    let (_, together) = gradients(&case, &[&texts], 1.0);
    let (_, apart) = gradients(&case, &[&texts[..1], &texts[1..]], 1.0);
    let far = difference(&together, &apart);
    assert!(far < 1e-5, "one batch or two: {far:e}; {:?}", case.config);
    check(seed, &[case], |case, random| gradient_error(case, &[text(case, 4, 2..4, random)], 0, random));
}

/// What training relies on: sums over micro-batches, a factor for the mean, the loss that evaluation reports.
#[test]
fn gradients_add_up_scale_and_do_not_depend_on_packing() {
    let seed = fresh_seed();
    for case in all_cases(seed) {
        let texts = texts(&case, &mut random_of(seed, &case.name));
        let (loss, together) = gradients(&case, &[&texts], 1.0);
        let losses = decoder(&case).losses(&batch(&texts), &mut Scratch::default(), &mut ());
        let evaluated: f64 = losses.iter().sum();
        assert!((loss - evaluated).abs() < 1e-6 * evaluated, "{}: {loss} for {evaluated}", case.name);

        // Rounding of sums over tokens in another order.
        let apart: Vec<&[Text]> = texts.chunks(1).rev().collect();
        let (loss_apart, apart) = gradients(&case, &apart, 1.0);
        assert!((loss_apart - loss).abs() < 1e-9 * loss, "{}: {loss_apart} for {loss}", case.name);
        let far = difference(&together, &apart);
        assert!(far < 1e-5, "{}: one batch or three: {far:e}", case.name);

        let (twice_loss, twice) = gradients(&case, &[&texts, &texts], 1.0);
        assert_eq!(twice_loss, 2.0 * loss, "{}: twice", case.name);
        let (_, double) = gradients(&case, &[&texts], 2.0);
        let far = difference(&double, &twice);
        assert!(far < 1e-5, "{}: twice or doubled: {far:e}", case.name);

        // Powers of two round nothing.
        let (_, quarter) = gradients(&case, &[&texts], 0.25);
        let quarters: Vec<f32> = together.values().iter().map(|g| g / 4.0).collect();
        assert_eq!(quarter.values(), quarters, "{}: a quarter", case.name);
    }
}

/// What learning coefficients relies on: texts that count differently in one batch are as each by itself.
#[test]
fn texts_of_a_batch_may_count_differently() {
    const SCALES: [f32; 3] = [0.25, 3.0, 1.5];
    let seed = fresh_seed();
    for case in all_cases(seed) {
        let texts = texts(&case, &mut random_of(seed, &case.name));
        let decoder = decoder(&case);
        let (mut scratch, mut memory) = (Scratch::default(), Memory::default());
        let (mut together, mut apart) = (Gradients::new(&*case.tensors), Gradients::new(&*case.tensors));
        let mut packed = Batch::default();
        let (mut each, mut sum) = (Vec::new(), 0.0);
        for (text, scale) in texts.iter().zip(SCALES) {
            packed.push_scaled(&text.ids, text.scored.clone(), scale);
            let alone = batch(std::slice::from_ref(text));
            sum += decoder.gradients(&alone, 2.0 * scale, &mut scratch, &mut memory, &mut apart);
            each.extend_from_slice(memory.losses());
        }
        let loss = decoder.gradients(&packed, 2.0, &mut scratch, &mut memory, &mut together);
        assert!((loss - sum).abs() < 1e-9 * sum, "{}: {loss} for {sum}, whatever it counts", case.name);
        assert_eq!(memory.losses(), each, "{}", case.name);
        let far = difference(&together, &apart);
        assert!(far < 1e-5, "{}: {far:e}", case.name);
    }
}

#[test]
fn nothing_to_predict_changes_nothing() {
    let case = &families()[0];
    let (_, before) = gradients(case, &[], 1.0);
    let (loss, after) = gradients(case, &[&[]], 1.0);
    assert_eq!((loss, after.values()), (0.0, before.values()));
}
