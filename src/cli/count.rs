use std::path::{Path, PathBuf};
use std::time::Instant;

use growmerge::coefficients::Counts;
use growmerge::eval::{Corpus, Home, Start, Tokenizer, count, folder};
use growmerge::problem::{Error, ExecError, Problem, Problems};
use serde_json::json;

use super::elsewhere;
use super::progress::{Measure, Progress};
use super::texts::Documents;
use super::{Outcome, table::table};

/// Count how often each language uses each token, for weights of embedding rows
///
/// Writes a file for each language into a folder that recipes name: `weight: {tokens: FOLDER}`. Texts may be of any
/// size: they are read as a stream. Counts belong to the tokenizer, so take that of the merged model.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Folder with the tokenizer, or a model of the Hub
    model: String,
    /// Text of a language, as et=et.txt or et=a.txt,b.jsonl.gz; again for each language
    #[arg(long, value_name = "LANG=FILES", value_parser = corpus)]
    text: Vec<Corpus>,
    /// Folder of texts called <language>.txt or .jsonl, as they are or in .gz or .zst
    #[arg(long, value_name = "DIR")]
    texts: Option<PathBuf>,
    #[command(flatten)]
    documents: Documents,
    /// Folder for the counts
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Replace counts that are there already
    #[arg(long)]
    overwrite: bool,
    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    elsewhere: elsewhere::Options,
}

/// `et=a.txt,b.txt`.
fn corpus(text: &str) -> Result<Corpus, String> {
    let (language, files) =
        text.split_once('=').ok_or("write it as LANGUAGE=FILE, for instance et=et.txt or et=a.txt,b.txt")?;
    let files: Vec<PathBuf> = files.split(',').map(PathBuf::from).collect();
    if language.is_empty() || files.iter().any(|f| f.as_os_str().is_empty()) {
        return Err("language and files must not be empty, as in et=a.txt,b.txt".into());
    }
    Ok(Corpus { language: language.to_owned(), files })
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let tokenizer = tokenizer(args);
    let corpora = corpora(args);
    let (tokenizer, corpora) = match (tokenizer, corpora) {
        (Ok(tokenizer), Ok(corpora)) => (tokenizer, corpora),
        (Err(Error::Input(mut all)), Err(more)) => {
            all.extend(more);
            return Err(Error::Input(all).into());
        }
        (Err(error), _) => return Err(error.into()),
        (_, Err(found)) => return Err(Error::Input(found).into()),
    };
    writable(&args.out)?;
    let reading = args.documents.reading();
    let threads = args.threads.map_or_else(super::cores, usize::from);
    let silent = args.quiet || args.json;
    let sizes = corpora.iter().flat_map(|c| &c.files).filter_map(|f| Some(std::fs::metadata(f).ok()?.len()));
    let progress = Progress::new(Measure::Bytes, silent);
    progress.announce(sizes.sum());
    let mut done = Vec::new();
    // Written when all are there: what fails leaves nothing that the same command would stumble over.
    for corpus in &corpora {
        let started = Instant::now();
        let counts = count(&tokenizer, corpus, &reading, threads, &progress);
        let counts = counts.map_err(|found| {
            progress.finish();
            Error::Input(found)
        })?;
        done.push((counts, path(&args.out, &corpus.language), started.elapsed().as_secs_f64()));
    }
    progress.finish();
    for (counts, path, _) in &done {
        counts.write(path).map_err(Error::from)?;
    }
    super::printed(say(args, &tokenizer, &done), Outcome::Done)
}

/// The tokenizer of a folder, or of a model of the Hub, of which no more is fetched.
fn tokenizer(args: &Args) -> Result<Tokenizer, Error> {
    let model = elsewhere::named(&args.model)?;
    let library = args.elsewhere.library(None, std::slice::from_ref(&model))?;
    let folder = library.folder(&model)?;
    if !folder.path().exists() && folder.remote().is_none() {
        return Err(Problem::error(&args.model, "no such folder").into());
    }
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        folder.read(name)?;
    }
    Ok(Tokenizer::of(&Home::Folder(folder.path().to_owned()), &Start::Nothing)?)
}

/// Every language with its files; all that can be told to be wrong before anything is counted.
fn corpora(args: &Args) -> Result<Vec<Corpus>, Problems> {
    let mut problems = Problems::new();
    let mut all: Vec<Corpus> = Vec::new();
    if let Some(dir) = &args.texts {
        match folder(dir) {
            Ok(found) => {
                all.extend(found.into_iter().map(|(language, file)| Corpus { language, files: vec![file] }));
            }
            Err(found) => problems.extend(found),
        }
    }
    all.extend(args.text.iter().cloned());
    if all.is_empty() && !problems.has_errors() {
        let problem = Problem::error("", "there is no text to count");
        problems.push(problem.hint("give texts with --text LANG=FILE or --texts DIR"));
    }
    for (i, Corpus { language, files }) in all.iter().enumerate() {
        if all[..i].iter().any(|other| other.language == *language) {
            let problem = Problem::error("--text", format!("`{language}` is given twice"));
            problems.push(problem.hint(format!("several files of a language: {language}=a.txt,b.txt")));
        }
        // Also printed, and written into the file.
        let odd = language.contains(|c: char| matches!(c, '/' | '\\') || c.is_control());
        if odd || language.starts_with('.') {
            problems.push(Problem::error(
                "--text",
                format!("`{}` cannot be the name of a file", language.escape_debug()),
            ));
        }
        for file in files.iter().filter(|f| !f.is_file()) {
            problems.push(Problem::error(file.display().to_string(), "no such file"));
        }
        let path = path(&args.out, language);
        if path.exists() && !args.overwrite {
            let problem = Problem::error(path.display().to_string(), "there are counts already");
            problems.push(problem.hint("--overwrite replaces them"));
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(all) }
}

fn path(out: &Path, language: &str) -> PathBuf {
    out.join(format!("{language}.safetensors"))
}

/// What cannot be written is better known before hours of counting.
fn writable(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(ExecError::io("create", folder))?;
    let probe = folder.join(format!(".growmerge-{}", std::process::id()));
    std::fs::write(&probe, "").map_err(ExecError::io("write into", folder))?;
    std::fs::remove_file(&probe).map_err(ExecError::io("write into", folder))?;
    Ok(())
}

fn say(args: &Args, tokenizer: &Tokenizer, done: &[(Counts, PathBuf, f64)]) -> anyhow::Result<()> {
    if args.json {
        let one = |(counts, path, seconds): &(Counts, PathBuf, f64)| {
            json!({
                "language": counts.language, "file": path.display().to_string(), "documents": counts.documents,
                "bytes": counts.bytes, "tokens": counts.tokens(), "used": counts.used(),
                "vocabulary": counts.counts.len(), "seconds": seconds,
            })
        };
        let languages: Vec<_> = done.iter().map(one).collect();
        return super::print_json(&json!({ "tokenizer": tokenizer.sha256(), "languages": languages }));
    }
    if args.quiet {
        return Ok(());
    }
    let row = |(counts, path, seconds): &(Counts, PathBuf, f64)| {
        let used = 100.0 * counts.used() as f64 / counts.counts.len().max(1) as f64;
        vec![
            counts.language.clone(),
            counts.documents.to_string(),
            counts.bytes.to_string(),
            counts.tokens().to_string(),
            format!("{:.3}", counts.tokens() as f64 / counts.bytes.max(1) as f64),
            format!("{used:.1} %"),
            format!("{:.1}", counts.bytes as f64 / 1e6 / seconds.max(1e-9)),
            path.display().to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = done.iter().map(row).collect();
    super::print(&table(
        &["language", ">documents", ">bytes", ">tokens", ">tokens/byte", ">vocabulary used", ">MB/s", "file"],
        &rows,
    ))
}
