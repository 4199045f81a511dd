//! What a model predicts, and gradients towards it: the probabilities against the naive decoder of
//! `tests/oracle/decoder.rs`, the gradients against those towards single tokens.
//!
//! Models as in `tests/gradients.rs`; texts and distributions are drawn anew in each run, and the seed is printed.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod oracle;
mod support;

use std::ops::Range;
use std::sync::Arc;

use growmerge::decoder::{Batch, Decoder, Gradients, Memory, Predictions, Scratch};
use oracle::decoder::{Decoder as Oracle, Text};
use rand::RngExt;
use rand::rngs::SmallRng;
use support::decoders::{Case, families, fresh_seed, large, mixed, random_of};

/// How far a gradient may be from what it is a sum of, as a part of the largest element of its tensor: rounding in f32.
const TOLERANCE: f64 = 2e-5;

fn cases(seed: u64) -> Vec<Case> {
    let mixture = |i: usize| mixed(&format!("mixture {i}"), &mut random_of(seed, &format!("mixture {i}")));
    families().into_iter().chain((0..4).map(mixture)).collect()
}

fn ids(case: &Case, len: usize, random: &mut SmallRng) -> Vec<u32> {
    (0..len).map(|_| random.random_range(0..case.config.vocab as u32)).collect()
}

fn decoder(case: &Case) -> Decoder<'_> {
    Decoder::new(case.config.clone(), &*case.tensors, &case.name, 32).unwrap_or_else(|p| panic!("{p}"))
}

fn gradients(case: &Case, batch: &Batch, scale: f32) -> (Gradients, Vec<f64>) {
    let (mut scratch, mut memory) = (Scratch::default(), Memory::default());
    let mut gradients = Gradients::new(&*case.tensors);
    decoder(case).gradients(batch, scale, &mut scratch, &mut memory, &mut gradients);
    (gradients, memory.losses().to_vec())
}

/// The largest difference, as a part of each tensor's largest element in `of`.
fn difference(case: &Case, got: &Gradients, want: &[f64], of: &Gradients) -> f64 {
    let layout = got.layout().clone();
    let of_slot = |slot: &growmerge::decoder::Slot| {
        let largest = of.values()[slot.range.clone()].iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
        let pairs = got.values()[slot.range.clone()].iter().zip(&want[slot.range.clone()]);
        let far = pairs.map(|(got, want)| (f64::from(*got) - want).abs()).fold(0.0, f64::max);
        far / largest.max(f64::MIN_POSITIVE)
    };
    let far = layout.slots().iter().map(of_slot).fold(0.0, f64::max);
    println!("{:20} {far:.1e}", case.name);
    far
}

#[test]
fn predictions_are_those_of_the_oracle() {
    let seed = fresh_seed();
    for case in cases(seed) {
        let random = &mut random_of(seed, &case.name);
        let oracle = Oracle::new(&case.config, &*case.tensors);
        let texts = [(ids(&case, 20, random), 1..20), (ids(&case, 9, random), 4..7)];
        let mut batch = Batch::default();
        texts.iter().for_each(|(ids, scored)| batch.push(ids, scored.clone()));
        let predictions = decoder(&case).predictions(&batch, &mut Scratch::default());
        let mut row = 0;
        for (ids, scored) in texts {
            let losses = oracle.losses(&Text { ids: ids.clone(), scored: scored.clone() });
            for (at, want) in scored.zip(losses) {
                let all = predictions.row(row);
                assert_eq!(all.len(), case.config.vocab);
                let sum: f64 = all.iter().map(|p| f64::from(*p)).sum();
                assert!((sum - 1.0).abs() < 1e-5, "{}: {sum}", case.name);
                let got = -f64::from(all[ids[at] as usize]).ln();
                assert!((got - want).abs() < 2e-5 * want.max(1.0), "{}: {got} for {want}", case.name);
                row += 1;
            }
        }
    }
}

/// A gradient is linear in what it is taken towards: a distribution's is the mean of those towards single tokens.
#[test]
fn a_gradient_towards_a_distribution_is_the_mean_of_those_towards_tokens() {
    const SHARES: [f32; 3] = [0.5, 0.3, 0.2];
    let seed = fresh_seed();
    for case in cases(seed) {
        let random = &mut random_of(seed, &case.name);
        let (ids, others) = (ids(&case, 10, random), ids(&case, 3, random));
        let with_last = |last: u32| [&ids[..9], &[last]].concat();
        let toward = |token: u32, scale: f32| {
            let mut batch = Batch::default();
            batch.push(&with_last(token), 9..10);
            gradients(&case, &batch, scale).0
        };
        let mut distribution = vec![0f32; case.config.vocab];
        others.iter().zip(SHARES).for_each(|(token, share)| distribution[*token as usize] += share);
        let lesson = Arc::new(Predictions::new(distribution, case.config.vocab));
        for share in [1.0, 0.25] {
            // Beside it a text without a lesson.
            let mut batch = Batch::default();
            batch.push(&ids[2..6], 1..4);
            batch.push_scaled(&ids, 9..10, 2.0);
            batch.teach(share, &lesson, 0..1);
            let (got, losses) = gradients(&case, &batch, 0.5);
            let mut untaught = Batch::default();
            untaught.push(&ids[2..6], 1..4);
            let (beside, _) = gradients(&case, &untaught, 0.5);
            let mut parts = vec![(beside, 1.0), (toward(ids[9], 1.0), 1.0 - f64::from(share))];
            for (token, part) in others.iter().zip(SHARES) {
                parts.push((toward(*token, 1.0), f64::from(share) * f64::from(part)));
            }
            let mut want = vec![0f64; got.values().len()];
            for (part, factor) in &parts {
                want.iter_mut().zip(part.values()).for_each(|(sum, g)| *sum += factor * f64::from(*g));
            }
            // Parts may cancel: rounding is relative to them.
            let far = difference(&case, &got, &want, &toward(others[0], 1.0));
            assert!(far < TOLERANCE, "{}: {far:e} at share {share}", case.name);
            let mut plain = Batch::default();
            plain.push(&ids[2..6], 1..4);
            plain.push(&ids, 9..10);
            let want = decoder(&case).losses(&plain, &mut Scratch::default(), &mut ());
            let pairs = losses.iter().zip(&want);
            let far = pairs.map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
            assert!(far < 1e-5 && losses.len() == want.len(), "losses stay those of the tokens: {far:e}");
        }
    }
}

#[test]
fn what_a_model_predicts_itself_teaches_it_nothing() {
    let seed = fresh_seed();
    for case in cases(seed) {
        let ids = ids(&case, 16, &mut random_of(seed, &case.name));
        let mut batch = Batch::default();
        batch.push(&ids, 3..16);
        let (plain, _) = gradients(&case, &batch, 1.0);
        let own = Arc::new(decoder(&case).predictions(&batch, &mut Scratch::default()));
        batch.teach(1.0, &own, 0..13);
        let (taught, _) = gradients(&case, &batch, 1.0);
        let far = difference(&case, &taught, &vec![0.0; plain.values().len()], &plain);
        assert!(far < TOLERANCE, "{}: {far:e}", case.name);
    }
}

/// Predictions, and which of them are a text's.
type Lesson = Option<(Arc<Predictions>, Range<usize>)>;

/// Several predictions in one batch, of which middle rows are used, among texts without any: each text is as by itself. More
/// targets than a block of rows has.
#[test]
fn lessons_find_their_texts() {
    let seed = fresh_seed();
    let case = large("large", &mut random_of(seed, "large"));
    let random = &mut random_of(seed, "texts");
    let vocab = case.config.vocab;
    let texts: Vec<Vec<u32>> = [30, 31, 29, 32, 28, 31].map(|len| ids(&case, len, random)).to_vec();
    let mut drawn = |rows: usize| {
        let mut all: Vec<f32> = (0..rows * vocab).map(|_| random.random_range(0.0f32..1.0)).collect();
        for row in all.chunks_exact_mut(vocab) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
        }
        Arc::new(Predictions::new(all, vocab))
    };
    let shared = drawn(70);
    let lessons =
        [None, Some((shared.clone(), 3..33)), Some((drawn(28), 0..28)), None, Some((shared, 40..67)), None];
    let push = |batch: &mut Batch, (text, lesson): (&Vec<u32>, &Lesson)| {
        batch.push(text, 1..text.len());
        if let Some((predictions, rows)) = lesson {
            batch.teach(0.75, predictions, rows.clone());
        }
    };
    let mut together = Batch::default();
    texts.iter().zip(&lessons).for_each(|both| push(&mut together, both));
    assert!(together.scored() > 128, "more than a block");
    let (got, losses) = gradients(&case, &together, 1.0);
    let (mut want, mut each) = (vec![0f64; got.values().len()], Vec::new());
    for both in texts.iter().zip(&lessons) {
        let mut alone = Batch::default();
        push(&mut alone, both);
        let (part, losses) = gradients(&case, &alone, 1.0);
        want.iter_mut().zip(part.values()).for_each(|(sum, g)| *sum += f64::from(*g));
        each.extend(losses);
    }
    let far = difference(&case, &got, &want, &got);
    assert!(far < TOLERANCE, "{far:e}");
    assert_eq!(losses, each);
}
