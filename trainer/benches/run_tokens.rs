//! Writes all that a run trains on, so that another program can train on the very same:
//!
//!     cargo run --release -p growmerge-trainer --example run_tokens -- run.yaml out/twin
//!
//! In the folder, raw little-endian u16 tokens without a header: `tokens.u16` `[steps, batch, sequence + 1]`, and
//! `valid-LANGUAGE.u16` `[n, sequence + 1]` of each validation text; `run.json`, the description with every default;
//! `start/`, the weights before the first step in float32. `benches/train_twin.py` reads them.
#![allow(missing_docs)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use growmerge_trainer::data::{Corpus, Mixture, Portion, Source};
use growmerge_trainer::train::Model;
use growmerge_trainer::train::config::{Run, Start};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Write all that a run trains on.
#[derive(Parser)]
struct Args {
    /// The run's description
    run: PathBuf,
    /// Output folder
    out: PathBuf,
    /// Sequences of each validation text
    #[arg(long, default_value_t = 64)]
    valid: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let run = Run::read(&args.run)?;
    let (model, own) = match &run.start {
        Start::Checkpoint(folder) => (Model::open(folder)?, Some(folder)),
        Start::Scratch(config) => (Model::scratch(config.clone(), run.seed)?, None),
    };
    let tokenizer = run.tokenizer.as_ref().or(own).context("the run names no tokenizer")?;
    let vocab = model.config().vocab;
    anyhow::ensure!(vocab <= 1 << 16, "tokens below {vocab} do not fit into 16 bits");
    save_start(&model, &args.out.join("start"))?;
    std::fs::write(args.out.join("run.json"), serde_json::to_string_pretty(&run)? + "\n")?;
    let open = |mixture: &Mixture, sequences| {
        let cache = args.out.join("shards");
        Corpus::open(mixture, tokenizer, vocab, run.sequence, sequences, run.seed, &cache)
    };
    write(&open(&run.data, run.steps * run.batch as u64)?, &args.out.join("tokens.u16"))?;
    let texts = run.validation.iter().flat_map(|validation| &validation.texts);
    for (language, text) in texts {
        let source =
            Source { name: language.clone(), text: vec![text.clone()], portion: Portion::Weight(1.0) };
        // Every chunk comes once before one comes again.
        let mixture = Mixture { sources: vec![source], max_epochs: f64::MAX, ..run.data.clone() };
        write(&open(&mixture, args.valid)?, &args.out.join(format!("valid-{language}.u16")))?;
    }
    Ok(())
}

/// All sequences of a run in order.
fn write(corpus: &Corpus, path: &Path) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut ids = Vec::new();
    for position in 0..corpus.sequences() {
        corpus.sequence(position, &mut ids)?;
        for id in &ids {
            file.write_all(&u16::try_from(*id)?.to_le_bytes())?;
        }
    }
    file.flush()?;
    println!("{}: {} sequences", path.display(), corpus.sequences());
    Ok(())
}

fn save_start(model: &Model, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("config.json"), serde_json::to_string_pretty(&model.json)? + "\n")?;
    let view = |slot: &growmerge::decoder::Slot| {
        let bytes = bytemuck::cast_slice(&model.values()[slot.range.clone()]);
        Ok((slot.name.clone(), TensorView::new(Dtype::F32, slot.shape.clone(), bytes)?))
    };
    let views: Vec<_> = model.layout().slots().iter().map(view).collect::<anyhow::Result<_>>()?;
    // What transformers asks of a file.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(views, Some(metadata), &folder.join("model.safetensors"))?;
    Ok(())
}
