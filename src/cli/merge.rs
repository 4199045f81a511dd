use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use growmerge::execute::{self, Options};
use growmerge::plan::{Plan, Stage};
use growmerge::problem::{Error, Problem};
use growmerge::recipe::Contents;
use growmerge::write::{Draft, Existing, Opened, Sync};

use super::device::{self, Fitted, Machine, Work};
use super::{
    Outcome, elsewhere, grid, plan,
    progress::{Measure, Progress},
    size,
};

/// Merge checkpoints as a recipe says
///
/// Takes mergekit's YAML. The output folder is complete when growmerge.json is in it; after an
/// interruption of any kind, the same command with --resume continues. Of a grid (a recipe with a
/// `matrix`), every member gets a folder in the output folder, and --resume skips those that are complete.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The recipe
    pub(super) recipe: PathBuf,
    /// Output folder; must be new or empty
    pub(super) out: PathBuf,
    #[command(flatten)]
    pub(super) only: grid::Only,
    /// Continue an unfinished merge
    #[arg(long, conflicts_with = "overwrite")]
    pub(super) resume: bool,
    /// Replace the model that is in the output folder
    #[arg(long)]
    pub(super) overwrite: bool,
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
    pub(super) keep: Vec<String>,
    /// Print errors only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print the manifest's summary as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) device: device::Options,
    #[command(flatten)]
    pub(super) options: plan::Options,
    #[command(flatten)]
    pub(super) elsewhere: elsewhere::Options,
}

impl Args {
    /// Whether nothing but the result, or nothing, is wanted.
    pub(super) fn silent(&self) -> bool {
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
    let reading = match Contents::from_file(&args.recipe)? {
        Contents::Recipe(reading) => reading,
        Contents::Grid(grid) => return grid::merge(args, &grid),
    };
    args.only.refuse().map_err(Error::from)?;
    let mut library = args.elsewhere.library_of(&args.recipe, [&reading])?;
    let plan = Plan::from_reading_with(reading, &args.options.plan_options(), &mut library);
    let plan = plan.map_err(Error::from)?;
    let stages = kept(args, &plan)?;
    let folders = stage_folders(&args.out, &stages)?;
    if !args.silent() && !plan.warnings.is_empty() {
        eprintln!("{}", plan.warnings);
    }
    let machine = args.device.open(args.silent(), Work::of(&plan))?;
    let cancel = cancel_on_signal()?;
    for (stage, folder) in stages.into_iter().zip(folders) {
        tell(args, &machine, &stage.plan, &folder, &cancel)?;
    }
    tell(args, &machine, &plan, &args.out, &cancel)?;
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

/// Where kept stages go, each by itself.
fn stage_folders(out: &Path, stages: &[&Stage]) -> Result<Vec<PathBuf>, Error> {
    if !stages.is_empty() && out.file_name().is_none() {
        let problem =
            Problem::error(out.display().to_string(), "has no name that stages could be named after");
        return Err(problem.hint("give the output folder by its name").into());
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    for stage in stages {
        let folder = stage_folder(out, &stage.name);
        let twin = folders.iter().position(|f| f.as_os_str().eq_ignore_ascii_case(folder.as_os_str()));
        if let Some(twin) = twin.filter(|twin| stages[*twin].name != stage.name) {
            let what = format!(
                "stages `{}` and `{}` would share {}",
                stages[twin].name,
                stage.name,
                folder.display()
            );
            return Err(Problem::error("--keep", what).hint("rename one of them").into());
        }
        if folder.file_name().is_some_and(|name| name.len() > 200) {
            let what = format!("the name of stage `{}` is too long for a folder", stage.name);
            return Err(Problem::error("--keep", what).into());
        }
        folders.push(folder);
    }
    Ok(folders)
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
fn tell(args: &Args, machine: &Machine, plan: &Plan, out: &Path, cancel: &AtomicBool) -> anyhow::Result<()> {
    match write(args, machine, plan, out, cancel)? {
        Merged::Before if args.silent() => Ok(()),
        Merged::Before => {
            eprintln!("{} is complete already", out.display());
            Ok(())
        }
        Merged::Now(done) if args.json => super::print_json(&done.json(plan, out)),
        Merged::Now(_) if args.quiet => Ok(()),
        Merged::Now(done) => super::print(&done.describe(plan, out)),
    }
}

/// How a merge ended well.
pub(super) enum Merged {
    Now(Done),
    /// It was complete already.
    Before,
}

/// What there is to tell of a merge.
pub(super) struct Done {
    /// Bytes of inputs, passes counted.
    read: u64,
    seconds: f64,
    /// Where it ran.
    device: String,
}

impl Done {
    pub(super) fn json(&self, plan: &Plan, out: &Path) -> serde_json::Value {
        serde_json::json!({
            "out": out, "method": plan.method.name, "plan": plan.digest, "tensors": plan.jobs.len(),
            "parameters": plan.parameters(), "bytes": plan.output_bytes(), "seconds": self.seconds,
            "device": self.device,
        })
    }

    pub(super) fn describe(&self, plan: &Plan, out: &Path) -> String {
        let Self { read, seconds, device } = self;
        let on = if device == "cpu" { String::new() } else { format!(" on {device}") };
        format!(
            "merged {} models by {} into {}: {} parameters, {} read, {} written, {seconds:.2} s{on}, {}/s\n",
            plan.models().count(),
            plan.method.name,
            out.display(),
            size::count(plan.parameters()),
            size::show(*read),
            size::show(plan.output_bytes()),
            size::show(((read + plan.output_bytes()) as f64 / seconds) as u64),
        )
    }
}

/// Merges a plan into a folder.
pub(super) fn write(
    args: &Args,
    machine: &Machine,
    plan: &Plan,
    out: &Path,
    cancel: &AtomicBool,
) -> Result<Merged, Error> {
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
    let asked = args.threads.map_or_else(super::cores, usize::from);
    let (threads, device) = machine.fit(args.memory, asked, plan, silent)?;
    if threads < asked && !silent {
        eprintln!("--memory {} leaves room for {threads} of {asked} threads", size::show(args.memory));
    }
    let (draft, todo) = match Draft::open(plan, out, existing, sync)? {
        Opened::Draft(draft, todo) => (draft, todo),
        Opened::Complete => return Ok(Merged::Before),
    };
    if !silent && todo.len() < plan.jobs.len() {
        eprintln!("{} of {} tensors are there already", plan.jobs.len() - todo.len(), plan.jobs.len());
    }
    // The folder is ours and has the space: only now is it worth to fetch what may be gigabytes.
    args.elsewhere.bring_plan(plan, silent, cancel)?;
    let read = execute::total_bytes(plan, &todo);
    let progress = Progress::new(Measure::Bytes, silent);
    let options = Options { threads, cancel };
    let done = match &device {
        Fitted::Host(cpu) => execute::run(cpu, plan, &todo, &options, draft.as_ref(), &progress),
        Fitted::Card(cuda) => {
            let _held = cuda.hold(device::files(plan));
            execute::run(cuda, plan, &todo, &options, draft.as_ref(), &progress)
        }
    };
    progress.finish();
    done?;
    let hashes = args.hash_inputs.then(|| hash_inputs(plan)).transpose()?;
    draft.finish(hashes.as_ref())?;
    Ok(Merged::Now(Done { read, seconds: started.elapsed().as_secs_f64(), device: device.name() }))
}

/// The first signal asks the merge to stop after the units in work; a second one ends the program.
pub(super) fn cancel_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
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
    // Of a model that is elsewhere, what no tensor is read from may not be here.
    let files: Vec<_> = plan.files().filter(|file| file.is_here()).collect();
    let hash = |file: &&growmerge::checkpoint::SafetensorsFile| {
        let hex = growmerge::write::sha256_hex(file.bytes());
        file.check_intact()?;
        Ok((Path::to_owned(&file.path), hex))
    };
    files.par_iter().map(hash).collect()
}
