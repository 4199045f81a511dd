//! Times training steps of a random model on random tokens, and prints one line of JSON.
//!
//!     cargo run --release -p growmerge-trainer --example train_step -- --hidden 64 --layers 4 --heads 4 \
//!         --kv-heads 2 --intermediate 176 --vocab 2048 --sequence 128 --batch 32 --steps 50 --threads 2
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Instant;

use clap::Parser;
use growmerge_trainer::train::config::Optimizer;
use growmerge_trainer::train::{Model, Trainer};

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 64)]
    hidden: usize,
    #[arg(long, default_value_t = 4)]
    layers: usize,
    #[arg(long, default_value_t = 4)]
    heads: usize,
    #[arg(long, default_value_t = 2)]
    kv_heads: usize,
    #[arg(long, default_value_t = 176)]
    intermediate: usize,
    #[arg(long, default_value_t = 2048)]
    vocab: usize,
    #[arg(long, default_value_t = 128)]
    sequence: usize,
    #[arg(long, default_value_t = 32)]
    batch: usize,
    #[arg(long, default_value_t = 50)]
    steps: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Sequences of a micro-batch
    #[arg(long)]
    micro_batch: Option<usize>,
}

fn main() {
    let args = Args::parse();
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": args.hidden, "intermediate_size": args.intermediate,
        "num_hidden_layers": args.layers, "num_attention_heads": args.heads,
        "num_key_value_heads": args.kv_heads, "vocab_size": args.vocab, "rms_norm_eps": 1e-5,
        "hidden_act": "gelu", "rope_theta": 1e4, "tie_word_embeddings": true,
    });
    let model = Model::scratch(config.as_object().unwrap().clone(), 1).unwrap();
    let parameters = model.values().len();
    let mut trainer = Trainer::new(model, &Optimizer::default(), args.micro_batch, args.threads).unwrap();
    // Any tokens do: the time of a step does not depend on them.
    let batch: Vec<Vec<u32>> = (0..args.batch)
        .map(|b| (0..=args.sequence).map(|i| ((b * 7919 + i * i * 31) % args.vocab) as u32).collect())
        .collect();
    for _ in 0..3 {
        trainer.step(&batch, 1e-3).unwrap();
    }
    let mut seconds = Vec::new();
    for _ in 0..args.steps {
        let started = Instant::now();
        trainer.step(&batch, 1e-3).unwrap();
        seconds.push(started.elapsed().as_secs_f64());
    }
    let total: f64 = seconds.iter().sum();
    seconds.sort_by(f64::total_cmp);
    let tokens = (args.batch * args.sequence) as f64;
    let median = seconds[seconds.len() / 2];
    println!(
        "{}",
        serde_json::json!({
            "tokens_per_s": tokens * args.steps as f64 / total, "median_tokens_per_s": tokens / median,
            "parameters": parameters, "steps": args.steps, "threads": args.threads,
        })
    );
}
