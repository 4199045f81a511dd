use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use growmerge::device::cpu::Cpu;
use growmerge::execute::{self, Options};
use growmerge::plan::{Plan, Stage};
use growmerge::problem::{Error, ExecError, Problem};
use growmerge::recipe::Reading;
use growmerge::write::{Draft, Existing, Opened, Sync};

use super::{
    Outcome, plan,
    progress::{Measure, Progress},
    size,
};

/// Merge checkpoints as a recipe says
///
/// Takes mergekit's YAML. The output folder is complete when growmerge.json is in it; after an
/// interruption of any kind, the same command with --resume continues.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The recipe
    recipe: PathBuf,
    /// Output folder; must be new or empty
    out: PathBuf,
    /// Continue an unfinished merge
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Replace the model that is in the output folder
    #[arg(long)]
    overwrite: bool,
    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Upper bound for working memory, inputs in the page cache not counted
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = size::parse)]
    memory: u64,
    /// Until when to wait: bytes on the disk, or with the system (faster; enough unless power fails)
    #[arg(long, value_enum, default_value = "disk")]
    sync: SyncChoice,
    /// Record the SHA-256 of every input file too (reads all of them once more)
    #[arg(long)]
    hash_inputs: bool,
    /// Write the model of this stage too, into OUT-STAGE; can be repeated
    #[arg(long, value_name = "STAGE")]
    keep: Vec<String>,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
    /// Print the manifest's summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: plan::Options,
}

impl Args {
    fn silent(&self) -> bool {
        self.quiet || self.json
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SyncChoice {
    /// Bytes are on the disk
    Disk,
    /// Bytes are with the operating system
    System,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let reading = Reading::from_file(&args.recipe)?;
    let plan = Plan::from_reading(reading, &args.options.plan_options()).map_err(Error::from)?;
    let stages = kept(args, &plan)?;
    if !args.silent() && !plan.warnings.is_empty() {
        eprintln!("{}", plan.warnings);
    }
    let cancel = cancel_on_signal()?;
    for stage in stages {
        write(args, &stage.plan, &stage_folder(&args.out, &stage.name), &cancel)?;
    }
    write(args, &plan, &args.out, &cancel)?;
    Ok(Outcome::Done)
}

/// The stages that `--keep` names.
fn kept<'p>(args: &Args, plan: &'p Plan) -> Result<Vec<&'p Stage>, Error> {
    let stages = plan.stages();
    let named = |name: &String| {
        stages.iter().find(|s| s.name == *name).copied().ok_or_else(|| {
            let known = stages.iter().map(|s| s.name.as_str());
            let problem = Problem::error("--keep", format!("the recipe has no stage `{name}`"));
            let all = match known.clone().collect::<Vec<_>>()[..] {
                [] => "it has one document only, which makes the merged model".to_owned(),
                ref names => format!("it has: {}", names.join(", ")),
            };
            let problem = problem.did_you_mean(name, known);
            Error::from(if problem.hint.is_none() { problem.hint(all) } else { problem })
        })
    };
    args.keep.iter().map(named).collect()
}

/// Beside the output folder, so that each of them is a model of its own.
fn stage_folder(out: &Path, stage: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    // A stage's name may be anything; a folder's may not.
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    name.push(format!("-{}", stage.chars().map(plain).collect::<String>()));
    out.with_file_name(name)
}

/// Merges a plan into a folder, and says what was done.
fn write(args: &Args, plan: &Plan, out: &Path, cancel: &AtomicBool) -> anyhow::Result<()> {
    let started = Instant::now();
    let silent = args.silent();
    let existing = match (args.resume, args.overwrite) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Overwrite,
        _ => Existing::Refuse,
    };
    let sync = match args.sync {
        SyncChoice::Disk => Sync::Disk,
        SyncChoice::System => Sync::System,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let asked = args.threads.map_or(cores, usize::from);
    let (threads, device) = within(args.memory, asked, plan)?;
    if threads < asked && !silent {
        eprintln!("--memory {} leaves room for {threads} of {asked} threads", size::show(args.memory));
    }
    let (draft, todo) = match Draft::open(plan, out, existing, sync)? {
        Opened::Draft(draft, todo) => (draft, todo),
        Opened::Complete => {
            if !silent {
                eprintln!("{} is complete already", out.display());
            }
            return Ok(());
        }
    };
    if !silent && todo.len() < plan.jobs.len() {
        eprintln!("{} of {} tensors are there already", plan.jobs.len() - todo.len(), plan.jobs.len());
    }
    let total = execute::total_bytes(plan, &todo);
    let progress = Progress::new(Measure::Bytes, silent);
    let options = Options { threads, cancel };
    let done = execute::run(&device, plan, &todo, &options, draft.as_ref(), &progress);
    progress.finish();
    done?;
    let hashes = args.hash_inputs.then(|| hash_inputs(plan)).transpose()?;
    let manifest = draft.finish(hashes.as_ref())?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        super::print_json(&serde_json::json!({
            "out": out, "method": manifest.method, "plan": manifest.plan, "tensors": manifest.tensors.len(),
            "parameters": plan.parameters(), "bytes": plan.output_bytes(), "seconds": seconds,
        }))?;
    } else if !args.quiet {
        super::print(&format!(
            "merged {} models by {} into {}: {} parameters, {} read, {} written, {seconds:.2} s, {}/s\n",
            plan.inputs.len(),
            plan.method.name,
            out.display(),
            size::count(plan.parameters()),
            size::show(total),
            size::show(plan.output_bytes()),
            size::show(((total + plan.output_bytes()) as f64 / seconds) as u64),
        ))?;
    }
    Ok(())
}

/// Fewer threads, then smaller blocks, until the merge stays within `budget` bytes.
fn within(budget: u64, threads: usize, plan: &Plan) -> Result<(usize, Cpu), ExecError> {
    use growmerge::device::{LINE, cpu::BLOCK_ELEMENTS};
    let mut block = BLOCK_ELEMENTS;
    for threads in (1..=threads).rev() {
        if execute::memory(plan, threads, block) <= budget {
            return Ok((threads, Cpu::new().with_block_elements(block)));
        }
    }
    while block > LINE {
        block /= 2;
        if execute::memory(plan, 1, block) <= budget {
            return Ok((1, Cpu::new().with_block_elements(block)));
        }
    }
    let needed = size::show(execute::memory(plan, 1, LINE));
    Err(ExecError::Memory {
        what: format!(
            "this merge needs at least {needed} of memory, {} are allowed by --memory",
            size::show(budget)
        ),
    })
}

/// The first signal asks the merge to stop after the units in work; a second one ends the program.
fn cancel_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let cancel = Arc::new(AtomicBool::new(false));
    let seen = cancel.clone();
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(cancel)
}

/// SHA-256 of every input file.
fn hash_inputs(plan: &Plan) -> Result<BTreeMap<PathBuf, String>, Error> {
    use rayon::prelude::*;
    let files: Vec<_> = plan.files().collect();
    let hash = |file: &&growmerge::checkpoint::SafetensorsFile| {
        let hex = growmerge::write::sha256_hex(file.bytes());
        file.check_intact()?;
        Ok((Path::to_owned(&file.path), hex))
    };
    files.par_iter().map(hash).collect()
}
