use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use growmerge::adapter::extract::{Embeddings, Extracted, Extraction, extract, refuse_full};
use growmerge::checkpoint::{Place, SafetensorsFile};
use growmerge::problem::{Error, Problem, Problems};
use regex::Regex;
use serde_json::json;

use super::{Outcome, elsewhere, table::table};

/// Extract a LoRA from a model and the base it was tuned from
///
/// For every matrix that differs, the update of the given rank that comes nearest to the difference is found by
/// a randomised SVD and written as a PEFT folder; `BASE+OUT` in a recipe is then nearly the model again. The
/// table says how near: `error` is what is left of a difference, as a part of it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The tuned model: a folder, or one safetensors file
    model: String,
    /// The model that it was tuned from
    base: String,
    /// Folder for the adapter, empty or not there yet
    out: PathBuf,
    /// Largest rank of an update
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    rank: u32,
    /// Leave out tensors whose names match a regular expression; may be repeated
    #[arg(short, long, value_name = "REGEX")]
    exclude: Vec<Regex>,
    /// Store a module's tensors whole (`lm_head`, `norm`, or a whole path); may be repeated
    #[arg(long, value_name = "NAME")]
    save_module: Vec<String>,
    /// Extract an update of the embedding too
    #[arg(long)]
    embed_lora: bool,
    /// Seed of the random directions
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads [default: all cores]
    #[arg(short = 'j', long)]
    threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    elsewhere: elsewhere::Options,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    refuse_full(&args.out)?;
    let mut problems = Problems::new();
    let names = [elsewhere::named(&args.model)?, elsewhere::named(&args.base)?];
    let mut library = args.elsewhere.library(None, &names)?;
    let mut open = |name| library.checkpoint(name).map_err(|found| problems.extend(found)).ok();
    let (model, base) = (open(&names[0]), open(&names[1]));
    let (Some(model), Some(base)) = (model, base) else { return Err(Error::from(problems).into()) };
    let files = || model.files().iter().chain(base.files());
    let places: Vec<&Place> = files().map(SafetensorsFile::place).collect();
    args.elsewhere.bring(&places, args.json, &AtomicBool::new(false))?;
    files().try_for_each(SafetensorsFile::attach).map_err(Error::from)?;
    let how = Extraction {
        rank: args.rank as usize,
        exclude: args.exclude.clone(),
        save: args.save_module.clone(),
        embeddings: if args.embed_lora { Embeddings::Update } else { Embeddings::Leave },
        seed: args.seed,
        threads: args.threads.unwrap_or_else(super::cores),
    };
    let show = |done: &growmerge::adapter::extract::Update| {
        tracing::info!(tensor = done.tensor, rank = done.rank, error = done.error, "extracted");
    };
    let extracted = extract(&model, &base, &args.out, &how, &show)?;
    for missed in &extracted.missed {
        let problem = Problem::warning(&missed.tensor, format!("not captured: {}", missed.why));
        eprintln!("{problem}");
    }
    super::printed(say(args, &extracted), Outcome::Done)
}

fn say(args: &Args, extracted: &Extracted) -> anyhow::Result<()> {
    if args.json {
        let mut all = serde_json::to_value(extracted)?;
        all["error"] = json!(extracted.error());
        return super::print_json(&all);
    }
    let rows: Vec<Vec<String>> = extracted
        .updates
        .iter()
        .map(|u| {
            vec![
                u.tensor.clone(),
                format!("{:?}", u.shape),
                u.rank.to_string(),
                format!("{:.4}", u.norm),
                format!("{:.2e}", u.error),
            ]
        })
        .collect();
    super::print(&table(&["tensor", "shape", ">rank", ">norm of difference", ">error"], &rows))?;
    let text = format!(
        "\n{}: {} updates, error {:.2e} over all; {} tensors stored whole, {} unchanged, {} not captured\n",
        args.out.display(),
        extracted.updates.len(),
        extracted.error(),
        extracted.saved.len(),
        extracted.unchanged,
        extracted.missed.len(),
    );
    super::print(&text)
}
