use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use growmerge::checkpoint::Place;
use growmerge::decoder::Config;
use growmerge::eval::{ModelSource, Start, Text};
use growmerge::importance::{About, Fisher, Grams, Sampling, Task, check};
use growmerge::problem::{Error, ExecError, Problems};
use serde_json::json;

use super::plan::Numbers;
use super::progress::{Measure, Progress};
use super::texts::{Documents, named};
use super::{Outcome, elsewhere, one_model, size};

/// Measure how much each weight of a model matters to a text, for the methods fisher and regmean
///
/// Writes the diagonal of the empirical Fisher information, in the model's own names and shapes, or with --gram the
/// Gram matrices of what goes into its projections. Memory: beside the model, four bytes for each weight and as many
/// for each thread; with --gram four bytes for each number in a matrix, and for each thread the inputs of all projections
/// for 1024 tokens.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A checkpoint folder, or a recipe (.yaml)
    model: String,
    /// Text of the model's language, as et=et.txt
    #[arg(long, value_name = "LANG=FILE", value_parser = named)]
    text: (String, PathBuf),
    /// Write to this file (.safetensors)
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Gram matrices for regmean, instead of importance for fisher
    #[arg(long)]
    gram: bool,
    /// Predict at most so many tokens of the text
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Tokens of a window [default: 512, or the model's limit]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..=1 << 22))]
    context: Option<u32>,
    #[command(flatten)]
    documents: Documents,
    /// What texts begin with: auto, none, or a token (see eval)
    #[arg(long, value_name = "TOKEN", default_value = "auto")]
    bos: String,
    /// Folder to take the tokenizer from [default: the model's]
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    numbers: Numbers,
    #[command(flatten)]
    elsewhere: elsewhere::Options,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let silent = args.quiet || args.json;
    let start = Start::named(&args.bos);
    let (source, text) = args.open(&start)?;
    let away = source.away();
    args.elsewhere.bring(&away.iter().collect::<Vec<&Place>>(), silent, &AtomicBool::new(false))?;
    source.attach().map_err(Error::from)?;
    if !away.is_empty() {
        check(&source, args.tokenizer.as_deref(), &start)?;
    }
    if !silent && !source.warnings.is_empty() {
        eprintln!("{}", source.warnings);
    }
    let config = Config::read(&source.config, &source.name).map_err(Error::from)?;
    let context = one_model::tokens(("--context", "windows"), args.context, &config).map_err(Error::from)?;
    let threads = args.threads.map_or_else(super::cores, usize::from);
    let progress = Progress::new(Measure::Bytes, silent);
    let model = source.load(threads, &progress);
    progress.finish();
    let progress = Progress::new(Measure::Tokens, silent);
    let task = Task {
        model: &model?,
        text: &text,
        tokenizer: args.tokenizer.as_deref(),
        start: &start,
        sampling: Sampling { tokens: args.tokens as usize, context, seed: args.numbers.plan_options().seed },
        threads,
        progress: &progress,
    };
    let (about, more) = match args.gram {
        false => {
            let fisher = Fisher::measure(&task);
            progress.finish();
            let fisher = fisher?;
            fisher.save(&args.out).map_err(Error::from)?;
            let more = json!({ "mean": fisher.mean, "nats_per_token": fisher.nats });
            (fisher.about, more)
        }
        true => {
            let grams = Grams::measure(&task);
            progress.finish();
            let grams = grams?;
            grams.save(&args.out).map_err(Error::from)?;
            let more = json!({ "weights": grams.weights().count() });
            (grams.about, more)
        }
    };
    super::printed(say(args, &about, more), Outcome::Done)
}

impl Args {
    /// Model and text; what is wrong with either, or with the output, is reported together. Of a model that is still
    /// elsewhere more can be said when it is here.
    fn open(&self, start: &Start) -> Result<(ModelSource, Text), Error> {
        let mut problems = Problems::new();
        let (language, path) = &self.text;
        let text = Text::read(language, path, &self.documents.reading())
            .map_err(|found| problems.extend(found))
            .ok();
        if let Err(found) = one_model::refuse_output(&self.out, self.overwrite) {
            problems.extend(found);
        }
        let source = match one_model::source(&self.model, &self.numbers, &self.elsewhere) {
            Ok(source) => Some(source),
            Err(Error::Input(found)) => {
                problems.extend(found);
                None
            }
            Err(other) => return Err(other),
        };
        if let Some(here) = source.as_ref().filter(|source| source.away().is_empty())
            && let Err(found) = check(here, self.tokenizer.as_deref(), start)
        {
            problems.extend(found);
        }
        match (source, text) {
            (Some(source), Some(text)) if !problems.has_errors() => Ok((source, text)),
            _ => Err(problems.into()),
        }
    }
}

fn say(args: &Args, about: &About, more: serde_json::Value) -> anyhow::Result<()> {
    let bytes =
        std::fs::metadata(&args.out).map_err(ExecError::io("read", &args.out)).map_err(Error::from)?.len();
    if args.json {
        let mut all = json!({
            "file": args.out.display().to_string(), "bytes": bytes, "model": about.model, "language": about.language,
            "tokens": about.tokens, "sequences": about.sequences,
        });
        if let (Some(all), serde_json::Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
        return super::print_json(&all);
    }
    if args.quiet {
        return Ok(());
    }
    let found = match (more["mean"].as_f64(), more["nats_per_token"].as_f64()) {
        (Some(mean), Some(nats)) => format!("{nats:.4} nats per token, mean importance {mean:.3e}"),
        _ => format!("Gram matrices of {} weights", more["weights"]),
    };
    super::print(&format!(
        "{}: {found}; {} tokens of {} in {} sequences; {}\n",
        args.out.display(),
        about.tokens,
        about.language,
        about.sequences,
        size::show(bytes),
    ))
}
