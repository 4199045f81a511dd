use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use growmerge_trainer::train::config::Run;
use growmerge_trainer::train::{self, About, Line, Options, Unfinished, Watch};
use indicatif::ProgressBar;

use super::{Outcome, UNDERWAY, bar, cancel_on_signal, threads};

/// Continue the pretraining of a model as a YAML file says
///
/// Prints the description with every default, then trains. The folder is complete when training.json is in it;
/// after an interruption of any kind, the same command with --resume continues: on the same kind of processor bit for bit.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The run's description
    run: PathBuf,
    /// Output folder [default: out/<name of the description>]
    out: Option<PathBuf>,
    /// Continue an unfinished run
    #[arg(long)]
    resume: bool,
    /// Worker threads [default: one for each core]; the result does not depend on them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Where tokenized texts are kept, to be shared by runs [default: in the output folder]
    #[arg(long, value_name = "DIR")]
    shards: Option<PathBuf>,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let run = Run::read(&args.run)?;
    let name = args.run.file_stem().map_or_else(|| Path::new("run").into(), PathBuf::from);
    let out = args.out.clone().unwrap_or_else(|| Path::new("out").join(name));
    let options = Options {
        threads: threads(args.threads),
        unfinished: if args.resume { Unfinished::Continue } else { Unfinished::Refuse },
        cancel: cancel_on_signal()?,
        shards: args.shards.as_deref(),
    };
    let show = Show::new(args.quiet);
    // Texts may take long to become tokens, of which an interruption leaves nothing.
    UNDERWAY.store(false, Ordering::Relaxed);
    let finished = train::run(&run, &out, &options, &show)?;
    show.finish();
    if !args.quiet {
        println!(
            "{}: {} steps, {} tokens, loss {:.4} nats per token",
            out.display(),
            finished.steps,
            finished.tokens,
            finished.loss
        );
        for (language, score) in &finished.validation {
            println!("  {language:<12} {:.4} bits/byte", score.bits_per_byte);
        }
    }
    Ok(Outcome::Done)
}

/// On a pipe, a line is printed this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar on a terminal, a line now and then on a pipe, or nothing.
struct Show {
    quiet: bool,
    bar: ProgressBar,
    /// Steps done when this process began, and when it last printed a line.
    since: Mutex<(u64, Instant)>,
}

impl Show {
    fn new(quiet: bool) -> Self {
        let bar = bar(quiet, "{bar:40} {pos}/{len} steps  {eta} left  {msg}");
        Self { quiet, bar, since: Mutex::new((0, Instant::now())) }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }
}

impl Watch for Show {
    fn begin(&self, about: &About<'_>) {
        UNDERWAY.store(true, Ordering::Relaxed);
        if self.quiet {
            return;
        }
        self.bar.set_length(about.run.steps);
        self.bar.set_position(about.done);
        if let Ok(mut since) = self.since.lock() {
            *since = (about.done, Instant::now());
        }
        let yaml = serde_yaml::to_string(about.run).unwrap_or_default();
        self.say(&format!("{yaml}\n{} parameters", about.parameters));
        for share in about.shares {
            let (name, sequences, epochs) = (&share.name, share.sequences, share.epochs);
            self.say(&format!(
                "  {name:<12} {sequences} sequences, {epochs:.2} epochs of {} tokens",
                share.tokens
            ));
        }
        if !about.warnings.is_empty() {
            self.say(&about.warnings.to_string());
        }
        if about.done > 0 {
            self.say(&format!("continues after step {}", about.done));
        }
    }

    fn line(&self, line: &Line) {
        if self.quiet {
            return;
        }
        match line {
            Line::Step { step, loss, lr, tokens, seconds, .. } => {
                let Ok(mut since) = self.since.lock() else { return };
                let done = (*step).saturating_sub(since.0);
                let speed = *tokens as f64 / *step as f64 * done as f64 / seconds.max(1e-9);
                let text = format!("loss {loss:.4}  lr {lr:.2e}  {speed:.0} tokens/s");
                self.bar.set_position(*step);
                self.bar.set_message(text.clone());
                if self.bar.is_hidden() && since.1.elapsed() >= LINE_EVERY {
                    since.1 = Instant::now();
                    eprintln!("step {step}  {text}");
                }
            }
            Line::Measured { step, validation, .. } if !validation.is_empty() => {
                let scores: Vec<String> =
                    validation.iter().map(|(l, s)| format!("{l} {:.4}", s.bits_per_byte)).collect();
                self.say(&format!("step {step}  bits/byte: {}", scores.join("  ")));
            }
            Line::Measured { .. } => {}
        }
    }
}
