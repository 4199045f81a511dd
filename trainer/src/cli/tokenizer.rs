use std::path::PathBuf;

use growmerge::problem::{Error, Problem, Problems};
use growmerge_trainer::tokenizer::{self, Sampled};

use super::Outcome;

/// Train a byte-level BPE tokenizer on equally much text of several languages
///
/// Writes tokenizer.json and tokenizer_config.json, and prints how many bytes a token is in each language.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A text of a language, such as et=et.txt.gz: a document a line, or .jsonl with a field `text`. Once for each file
    #[arg(long, value_name = "LANGUAGE=FILE", required = true)]
    text: Vec<String>,
    /// Tokens of the vocabulary
    #[arg(long, value_name = "N")]
    vocab: usize,
    /// Bytes of each language to learn from [default: as many as the smallest has]
    #[arg(long, value_name = "N")]
    bytes_per_language: Option<u64>,
    /// Output folder
    out: PathBuf,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let texts = texts(&args.text).map_err(Error::from)?;
    let there = args.out.join("tokenizer.json");
    if there.exists() {
        let problem = Problem::error(there.display().to_string(), "there is a tokenizer already");
        return Err(Error::from(problem.hint("choose another folder, or remove it")).into());
    }
    let trained = tokenizer::train(&texts, args.vocab, args.bytes_per_language)?;
    trained.save(&args.out)?;
    if !args.quiet {
        print(&trained.languages);
        println!("{}: {} tokens", args.out.display(), args.vocab);
    }
    Ok(Outcome::Done)
}

/// Files by language, in the order in which languages are named first.
fn texts(arguments: &[String]) -> Result<Vec<(String, Vec<PathBuf>)>, Problems> {
    let mut problems = Problems::new();
    let mut texts: Vec<(String, Vec<PathBuf>)> = Vec::new();
    for argument in arguments {
        let Some((language, path)) = argument.split_once('=').filter(|(l, p)| !l.is_empty() && !p.is_empty())
        else {
            let problem = Problem::error(format!("--text {argument}"), "is not of the form LANGUAGE=FILE");
            problems.push(problem.hint("for instance --text et=et.txt"));
            continue;
        };
        match texts.iter_mut().find(|t| t.0 == language) {
            Some(text) => text.1.push(path.into()),
            None => texts.push((language.into(), vec![path.into()])),
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(texts) }
}

fn print(languages: &[Sampled]) {
    let widest = languages.iter().map(|l| l.language.chars().count()).max().unwrap_or(0).max(8);
    println!(
        "{:widest$}  {:>12}  {:>12}  {:>12}  {:>11}",
        "language", "bytes", "used", "tokens", "bytes/token"
    );
    for l in languages {
        let per_token = l.bytes as f64 / l.tokens.max(1) as f64;
        let (name, all) = (&l.language, l.available);
        println!("{name:widest$}  {all:>12}  {:>12}  {:>12}  {per_token:>11.3}", l.bytes, l.tokens);
    }
}
