use std::path::PathBuf;

use growmerge::checkpoint::Place;
use growmerge::decoder::Config;
use growmerge::eval::{ModelSource, Start, documents_as_file};
use growmerge::generate::{Sampling, Task, Written, generate};
use growmerge::importance::check;
use growmerge::problem::{Error, ExecError, Problem, Problems};
use growmerge::write::Aside;
use serde_json::json;

use super::merge::cancel_on_signal;
use super::plan::Numbers;
use super::progress::{Measure, Progress};
use super::{Outcome, elsewhere, one_model, size};

/// Let a model write text: what tune learns from where there is a model of a language and no text
///
/// Documents begin with the token that texts begin with, and end where the model ends them, with any special token. What is no
/// text (bytes that are no UTF-8) is left out. --seed decides what is drawn, and in a recipe what is dropped. Memory beside the
/// model, for each thread: keys and values of up to 128 documents, fewer where they take more than 1 GiB, and as many rows of
/// logits.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A checkpoint folder, or a recipe (.yaml)
    model: String,
    /// Write to this file: .txt, a document a line, or .jsonl
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Bytes of text; the last document may go beyond
    #[arg(long, value_name = "N", default_value_t = 96_000, value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    bytes: u32,
    /// Tokens of a document, at most [default: 512, or the model's limit]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    length: Option<u32>,
    /// Below 1 likely tokens are drawn more often than the model says, with 0 no others
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0, value_parser = temperature)]
    temperature: f64,
    /// Draw only from the likeliest tokens that have this share of the probability together
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = top_p)]
    top_p: f64,
    /// What texts begin with: auto, none (the token that stands between texts), or a token (see eval)
    #[arg(long, value_name = "TOKEN", default_value = "auto")]
    bos: String,
    /// Folder to take the tokenizer from [default: the model's]
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Worker threads [default: one for each core]; no document depends on them
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

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(t) if (0.0..=100.0).contains(&t) => Ok(t),
        _ => Err("it is a number from 0 to 100".into()),
    }
}

fn top_p(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(p) if p > 0.0 && p <= 1.0 => Ok(p),
        _ => Err("it is a number above 0 and up to 1".into()),
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let silent = args.quiet || args.json;
    let start = Start::named(&args.bos);
    let source = args.open(&start)?;
    let away = source.away();
    let cancel = cancel_on_signal()?;
    args.elsewhere.bring(&away.iter().collect::<Vec<&Place>>(), silent, &cancel)?;
    source.attach().map_err(Error::from)?;
    if !away.is_empty() {
        check(&source, args.tokenizer.as_deref(), &start)?;
    }
    if !silent && !source.warnings.is_empty() {
        eprintln!("{}", source.warnings);
    }
    let length = args.length(&source)?;
    let seed = args.numbers.plan_options().seed;
    let sampling = Sampling { temperature: args.temperature, top_p: args.top_p, length, seed };
    let output = Aside::begin(&args.output).map_err(Error::from)?;
    let threads = args.threads.map_or_else(super::cores, usize::from);
    let progress = Progress::new(Measure::Bytes, silent);
    let model = source.load(threads, &progress);
    progress.finish();
    let progress = Progress::new(Measure::Bytes, silent);
    let written = generate(&Task {
        model: &model?,
        tokenizer: args.tokenizer.as_deref(),
        start: &start,
        sampling,
        bytes: args.bytes as usize,
        threads,
        cancel: &cancel,
        progress: &progress,
    });
    progress.finish();
    if matches!(written, Err(Error::Exec(ExecError::Interrupted))) {
        eprintln!("interrupted: nothing was written");
        return Ok(Outcome::Failed(130));
    }
    let written = written?;
    output.end(documents_as_file(&args.output, &written.documents).as_bytes()).map_err(Error::from)?;
    super::printed(say(args, &written), Outcome::Done)
}

impl Args {
    fn length(&self, source: &ModelSource) -> Result<usize, Error> {
        let config = Config::read(&source.config, &source.name)?;
        Ok(one_model::tokens(("--length", "documents"), self.length, &config)?)
    }

    /// The model; what is wrong with it or with the output is reported together. Of a model that is still elsewhere more can
    /// be said when it is here.
    fn open(&self, start: &Start) -> Result<ModelSource, Error> {
        let mut problems = Problems::new();
        let name = self.output.to_string_lossy();
        if !name.ends_with(".txt") && !name.ends_with(".jsonl") {
            let what = "is neither a .txt nor a .jsonl file";
            problems.push(Problem::error("--output", format!("{name} {what}")));
        } else if let Err(found) = one_model::refuse_output(&self.output, self.overwrite) {
            problems.extend(found);
        }
        let source = match one_model::source(&self.model, &self.numbers, &self.elsewhere) {
            Ok(source) => Some(source),
            Err(Error::Input(found)) => {
                problems.extend(found);
                None
            }
            Err(_) if problems.has_errors() => None,
            Err(other) => return Err(other),
        };
        if let Some(here) = source.as_ref().filter(|source| source.away().is_empty())
            && let Err(found) = check(here, self.tokenizer.as_deref(), start)
        {
            problems.extend(found);
        }
        if let Some(Err(Error::Input(found))) = source.as_ref().map(|source| self.length(source)) {
            problems.extend(found);
        }
        source.filter(|_| !problems.has_errors()).ok_or_else(|| problems.into())
    }
}

fn say(args: &Args, written: &Written) -> anyhow::Result<()> {
    let Written { documents, bytes, tokens, cut, left_out } = written;
    if args.json {
        return super::print_json(&json!({
            "file": args.output.display().to_string(), "documents": documents.len(), "bytes": bytes, "tokens": tokens, "cut": cut,
            "left_out": left_out,
        }));
    }
    if args.quiet {
        return Ok(());
    }
    super::print(&format!(
        "{}: {} documents, {} of text, {} tokens drawn; {cut} cut, {left_out} left out\n",
        args.output.display(),
        size::count(documents.len() as u64),
        size::show(*bytes as u64),
        size::count(*tokens as u64),
    ))
}
