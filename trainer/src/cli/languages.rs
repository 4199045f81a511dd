use std::path::PathBuf;

use growmerge::problem::{Error, ExecError};
use growmerge_trainer::languages::{self, Arm, Effort, Experiment};
use growmerge_trainer::reproduce::{Options, Texts, Workshop};

use super::studying::{Show, Size, about};
use super::{Outcome, cancel_on_signal, threads};

/// Hold ways to merge languages against joint training, on the models of the study
///
/// Finds or makes the models of `reproduce` in the same folder, searches the settings of every merge with the same effort
/// on text of its own, and measures what was chosen on test text. Writes report.md, report.html and results.csv to
/// language-level/ in the output folder. Whatever is finished is found again when the same command is given again.
#[derive(clap::Args)]
pub(super) struct Args {
    /// How large the study is
    #[arg(long, value_enum, default_value = "mini")]
    scale: Size,
    /// Output folder, shared with `reproduce` [default: out/reproduce-<scale>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How often everything is done, each time with models of another seed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Where the models come from [default: all]
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    setups: Vec<Arm>,
    /// Merges to try, and those that they begin with; `*` is any text [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// A Markdown page whose tables are replaced
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Folder of texts: <language>/{train,valid,test}.txt, as they are or in .gz or .zst
    #[arg(long, value_name = "DIR", default_value = "trainer/texts")]
    texts: PathBuf,
    /// Commit of the source, for the report
    #[arg(long, value_name = "HASH")]
    commit: Option<String>,
    /// Worker threads [default: one for each core]; no number but seconds depends on them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let (scale, name) = args.scale.scale();
    let out = args.out.clone().unwrap_or_else(|| format!("out/reproduce-{name}").into());
    let corpus = Texts::open(&args.texts)?;
    let threads = threads(args.threads);
    let cancel = cancel_on_signal()?;
    let show = Show::new(args.quiet);
    let shards = out.join("shards");
    let maker = Workshop { threads, cancel, shards: &shards, watch: &show };
    let options = Options { threads, cancel, watch: &show };
    let experiment = Experiment {
        study: scale.study(Some(args.seeds)),
        effort: Effort::of(scale),
        arms: if args.setups.is_empty() { Arm::ALL.into() } else { args.setups.clone() },
        only: args.only.clone(),
        page: args.page.clone(),
    };
    let about = about(args.commit.as_ref(), threads);
    let result = languages::run(&experiment, &corpus, &out, &maker, options, &about);
    show.bar.finish_and_clear();
    if matches!(result, Err(Error::Exec(ExecError::Interrupted))) {
        eprintln!("the same command goes on from here: what is finished is kept");
    }
    let report = result?;
    if !args.quiet {
        println!("{}", report.display());
    }
    Ok(Outcome::Done)
}
