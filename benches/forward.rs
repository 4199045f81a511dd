//! How fast the decoder reads: windows of random tokens through a checkpoint, loss included.
//!
//!     cargo run --release --example forward -- MODEL [--tokens 2048] [--windows 4] [--threads 2] [--batch 2048]
//!
//! Prints tokens a second, and the floating-point operations a second of the matrix products that this
//! takes (attention counted in full, not only below the diagonal).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use growmerge::checkpoint::Checkpoint;
use growmerge::decoder::{Batch, Config, Decoder, Scratch};

fn main() {
    let mut args = std::env::args().skip(1);
    let model = args.next().expect("a model folder");
    let (mut tokens, mut windows, mut threads, mut batch) = (2048, 4, 2, 2048);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        let value: usize = value.parse().expect("a number");
        match name.as_str() {
            "--tokens" => tokens = value,
            "--windows" => windows = value,
            "--threads" => threads = value,
            "--batch" => batch = value,
            other => panic!("unknown option {other}"),
        }
    }
    let checkpoint = Checkpoint::open(&model).expect("a checkpoint");
    let config = Config::read(checkpoint.config().expect("config.json"), &model).expect("a known config");
    let decoder = Decoder::new(config, &checkpoint, &model, tokens).expect("weights as configured");
    let config = decoder.config();
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32 % config.vocab as u32
    };
    // A token more than is fed: the last is only predicted.
    let texts: Vec<Vec<u32>> = (0..windows).map(|_| (0..=tokens).map(|_| random()).collect()).collect();
    let batches: Vec<Batch> = texts
        .chunks((batch / tokens).max(1))
        .map(|texts| {
            let mut batch = Batch::default();
            texts.iter().for_each(|ids| batch.push(ids, 0..ids.len()));
            batch
        })
        .collect();
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let nats: f64 = std::thread::scope(|scope| {
        let work = || {
            let mut scratch = Scratch::default();
            let mut nats = 0.0;
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                nats += decoder.losses(batch, &mut scratch, &mut ()).iter().sum::<f64>();
            }
            nats
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    let seconds = started.elapsed().as_secs_f64();
    let total = (tokens * windows) as f64;
    let per_layer = 2 * config.hidden * config.head_dim * (config.heads + config.kv_heads)
        + 3 * config.hidden * config.intermediate
        + 2 * tokens * config.heads * config.head_dim;
    let flops = 2.0 * total * (config.layers.len() * per_layer + config.vocab * config.hidden) as f64;
    println!(
        "{{\"tokens\": {total}, \"seconds\": {seconds:.3}, \"tokens_per_s\": {:.1}, \"gflops\": {:.1}, \"nats_per_token\": {:.5}}}",
        total / seconds,
        flops / seconds / 1e9,
        nats / total
    );
}
