//! `growmerge count` against the `tokenizers` crate alone, on the same lines: MB of text a second.
//!
//! `cargo run --release --example count -- MODEL TEXT [THREADS]`; the crate's own threads are as many (RAYON_NUM_THREADS).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use growmerge::eval::{Corpus, Reading, Split, Start, Tokenizer, count};
use growmerge::execute::Observer;

/// Lines that the crate gets at a time: all of them at once would need memory for all encodings.
const BATCH: usize = 4096;

struct Silent;

impl Observer for Silent {
    fn advance(&self, _: u64) {}
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, model, text, rest @ ..] = &args[..] else { panic!("MODEL TEXT [THREADS]") };
    let threads: usize = rest.first().map_or(2, |n| n.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let all = std::fs::read_to_string(text).unwrap();
    let lines: Vec<&str> = all.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let megabytes = lines.iter().map(|line| line.len()).sum::<usize>() as f64 / 1e6;
    let alone = tokenizers::Tokenizer::from_file(Path::new(model).join("tokenizer.json")).unwrap();
    let ours = Tokenizer::open(Path::new(model), &Start::Nothing).unwrap();
    let corpus = Corpus { language: "x".into(), files: vec![PathBuf::from(text)] };
    let reading = Reading { split: Split::Line, field: "text".into() };
    for round in 1..=3 {
        let start = Instant::now();
        let mut tokens = 0;
        for batch in lines.chunks(BATCH) {
            let encoded = alone.encode_batch_fast(batch.to_vec(), false).unwrap();
            tokens += encoded.iter().map(|e| e.get_ids().len() as u64).sum::<u64>();
        }
        let crate_alone = megabytes / start.elapsed().as_secs_f64();
        let start = Instant::now();
        let counts = count(&ours, &corpus, &reading, threads, &Silent).unwrap();
        let counted = megabytes / start.elapsed().as_secs_f64();
        assert_eq!((counts.tokens(), counts.documents), (tokens, lines.len() as u64));
        println!(
            "round {round}: tokenizers alone {crate_alone:.2} MB/s, count {counted:.2} MB/s, {:.2}x",
            counted / crate_alone
        );
    }
}
