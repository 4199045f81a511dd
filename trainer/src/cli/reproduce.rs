use std::path::PathBuf;

use growmerge::problem::{Error, ExecError};
use growmerge_trainer::reproduce::{self, Options, Texts, Workshop};

use super::studying::{Show, Size, about};
use super::{Outcome, cancel_on_signal, threads};

/// Rerun the study of Grow Up and Merge in miniature, and say what it shows
///
/// Trains a tokenizer and, for each seed, an English model, adapts it to five languages in three setups, merges every
/// subset by every method in memory, and writes report.html, report.md, results.csv and results.json. Whatever is
/// finished is found again when the same command is given again.
#[derive(clap::Args)]
pub(super) struct Args {
    /// How large the study is
    #[arg(long, value_enum, default_value = "mini")]
    scale: Size,
    /// Output folder [default: out/reproduce-<scale>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How often the whole study is done, each time with another seed [default: the scale's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: Option<u64>,
    /// Folder of texts: <language>/{train,valid,test}.txt, as they are or in .gz or .zst
    #[arg(long, value_name = "DIR", default_value = "trainer/texts")]
    texts: PathBuf,
    /// Commit of the source, for the report
    #[arg(long, value_name = "HASH")]
    commit: Option<String>,
    /// Worker threads [default: one for each core]; the result does not depend on them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let (scale, name) = args.scale.scale();
    let study = scale.study(args.seeds);
    let out = args.out.clone().unwrap_or_else(|| format!("out/reproduce-{name}").into());
    let corpus = Texts::open(&args.texts)?;
    let threads = threads(args.threads);
    let cancel = cancel_on_signal()?;
    let show = Show::new(args.quiet);
    let shards = out.join("shards");
    let maker = Workshop { threads, cancel, shards: &shards, watch: &show };
    let options = Options { threads, cancel, watch: &show };
    let result =
        reproduce::run(&study, &corpus, &out, &maker, options, &about(args.commit.as_ref(), threads));
    show.bar.finish_and_clear();
    if matches!(result, Err(Error::Exec(ExecError::Interrupted))) {
        eprintln!("the same command goes on from here: what is finished is kept");
    }
    let claims = result?;
    if !args.quiet {
        for claim in claims {
            println!("\n{}", claim.claim);
            claim.answer.iter().for_each(|sentence| println!("  - {sentence}"));
        }
        println!("\n{}", out.join("report.html").display());
    }
    Ok(Outcome::Done)
}
