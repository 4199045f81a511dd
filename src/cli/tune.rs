mod files;
mod goal;
mod searching;
mod show;
mod teachers;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use growmerge::plan::Plan;
use growmerge::problem::{Error, ExecError, Problem};
use growmerge::recipe::Reading;
use growmerge::report::{self, Part};
use growmerge::tune::{self, Groups, Measure, Running, Settings, Tuned};
use serde_json::json;

use self::files::{Files, into_folder};
use self::goal::Read;
use self::show::Show;
use super::merge::cancel_on_signal;
use super::{Outcome, elsewhere, plan, table::show, texts};

/// Learn from texts how much of each model goes into a merge
///
/// Takes a recipe with `merge_method: task_arithmetic` and begins with its weights. Coefficients follow the gradient of the
/// merged model's loss on the texts, or towards what the models of their languages predict there (--teachers), and the best
/// on held-out documents are written: OUT.safetensors, and OUT.yaml, the recipe with them, which `merge` takes like any
/// other. Memory: one merged model in float32, as much for the sum of gradients, as much again for each thread, and all
/// models if that is below 256 MiB. With --search or --pairs no gradient is needed: a few coefficients are found by trying
/// them.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The recipe
    recipe: PathBuf,
    /// The recipe to write (.yaml); its coefficients are written beside it, as .safetensors
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    texts: texts::Options,
    /// Held-out text of a language, as et=et.txt [default: every eighth block of 16 documents of its text]
    #[arg(long, value_name = "LANG=FILE", value_parser = texts::named)]
    held_out: Vec<(String, PathBuf)>,
    /// How often a language counts in the objective, as en=0.3 [default: 1]; again for each language
    #[arg(long, value_name = "LANG=NUMBER", value_parser = goal::share)]
    share: Vec<(String, f64)>,
    #[command(flatten)]
    teachers: teachers::Options,
    /// Which elements of a model share a coefficient [default: row-column; of a search model]
    #[arg(long, value_enum)]
    groups: Option<GroupsChoice>,
    /// Steps at most
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps: u64,
    /// Tokens in a step of the language that counts most, of others in proportion, rounded up to whole documents
    /// [default: 64]; of a search those of each language that every point is tried on [default: 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    tokens: Option<u32>,
    /// Highest learning rate [default: what suits the groups]
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// Steps from one look at the held-out documents to the next
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// End after so many looks without a better model
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
    /// Tokens of a window [default: 512, or the model's limit]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    context: Option<u32>,
    /// What texts begin with: auto, none, or a token (see eval)
    #[arg(long, value_name = "TOKEN", default_value = "auto")]
    bos: String,
    /// Go on with a run that was interrupted
    #[arg(long)]
    resume: bool,
    /// Replace what was learned before
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    search: searching::Options,
    /// Write what was learned as one HTML page, with pictures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Worker threads [default: one for each core]; the result does not depend on them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    numbers: plan::Numbers,
    #[command(flatten)]
    elsewhere: elsewhere::Options,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum GroupsChoice {
    /// All of a model
    Model,
    /// Of each layer attention, MLP and norms; beside the layers each tensor
    Layer,
    /// Each tensor
    Tensor,
    /// Each row
    Row,
    /// Each row and each column
    RowColumn,
}

impl From<GroupsChoice> for Groups {
    fn from(choice: GroupsChoice) -> Self {
        match choice {
            GroupsChoice::Model => Self::Model,
            GroupsChoice::Layer => Self::Layer,
            GroupsChoice::Tensor => Self::Tensor,
            GroupsChoice::Row => Self::Row,
            GroupsChoice::RowColumn => Self::RowColumn,
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let reading = Reading::from_file(&args.recipe)?;
    let mut library = args.elsewhere.library_of(&args.recipe, [&reading])?;
    let options = args.numbers.plan_options();
    let plan = Plan::from_reading_with(reading, &options, &mut library).map_err(Error::from)?;
    if !args.silent() && !plan.warnings.is_empty() {
        eprintln!("{}", plan.warnings);
    }
    args.check(&plan)?;
    let cancel = cancel_on_signal()?;
    let files = Files::new(args)?;
    let given = args.given().map_err(Error::from)?; // what is wrong with texts is told before anything is fetched
    let found = args.find_teachers(&plan, &given)?;
    args.elsewhere.bring_plan(&plan, args.silent(), &cancel)?;
    let threads = args.threads.map_or_else(super::cores, usize::from);
    let teachers = found.load(args, &given, threads, &cancel)?;
    let read = args.read(&plan, given, teachers)?;
    let count = if args.search.wanted() { "point" } else { "step" };
    let shown = Show::new(args.silent(), count, read.names());
    let running = Running { threads, cancel: &cancel, watch: &shown, state: Some(&files.state) };
    let started = Instant::now();
    let done = match args.search.wanted() {
        true => searching::search(args, &plan, read, &running)?,
        false => learn(args, &plan, read, &running)?,
    };
    let Done { tuned, page, .. } = &done;
    let recipe = tuned.recipe(&plan, &files.coefficients.display().to_string()).map_err(Error::from)?;
    tuned.write(&plan, &files.coefficients).map_err(Error::from)?;
    super::measuring::write(&args.output, &recipe)?;
    if files.state.is_file() {
        std::fs::remove_file(&files.state)
            .map_err(ExecError::io("remove", &files.state))
            .map_err(Error::from)?;
    }
    if let Some(path) = &args.html {
        super::measuring::write(path, &report::page("Learned coefficients", page))?;
    }
    if args.numbers.differ() {
        let what = "the recipe does not say them, so merge with the same ones too";
        eprintln!("{}", Problem::warning("--seed, --dtype", what));
    }
    super::printed(say(args, &done, started.elapsed()), Outcome::Done)
}

/// What was learned, and how it is told.
struct Done {
    tuned: Tuned,
    measures: Vec<Measure>,
    page: Vec<Part>,
    /// That a search tried.
    points: Option<usize>,
}

fn learn(args: &Args, plan: &Plan, read: Read, running: &Running<'_>) -> Result<Done, Error> {
    // Without pairs there is no reading without texts.
    let Some(goal) = read.goal else { return Err(tune::no_text().into()) };
    let tuned = tune::tune(plan, &goal, &args.settings()?, running);
    let left = running.state.is_some_and(Path::is_file);
    if left && matches!(tuned, Err(Error::Exec(ExecError::Interrupted))) {
        eprintln!("the same command with --resume goes on from here");
    }
    let tuned = tuned?;
    Ok(Done { page: tune::parts(plan, &goal, &tuned), measures: goal.measures(), points: None, tuned })
}

fn say(args: &Args, done: &Done, took: Duration) -> anyhow::Result<()> {
    let Done { tuned, measures, points, .. } = done;
    if args.json {
        let languages: Vec<&str> = measures.iter().map(|m| m.name.as_str()).collect();
        let best = tuned.gain().map(|(best, _)| best);
        let mut said = json!({
            "recipe": args.output.display().to_string(), "coefficients": tuned.space.len(), "languages": languages,
            "best": best, "looks": tuned.looks, "seconds": took.as_secs_f64(),
        });
        if let Some(points) = points {
            said["points"] = json!(points);
        }
        return super::print_json(&said);
    }
    if args.quiet {
        return Ok(());
    }
    let of = match points {
        Some(points) => format!("the best of {points} points"),
        None => format!("the best after {} steps", tuned.step),
    };
    super::print(&format!(
        "{} of what was held out\n\n{}\n{}: {} coefficients, {of}, {:.0} s\n",
        tune::unit(measures),
        show(&tune::losses(measures, tuned)),
        args.output.display(),
        tuned.space.len(),
        took.as_secs_f64()
    ))
}

impl Args {
    /// Refuses what no file needs to be read for.
    fn check(&self, plan: &Plan) -> Result<(), Error> {
        self.search.check()?;
        match self.search.wanted() {
            true => Ok(self.search_settings().check(plan)?),
            false => self.settings().map(drop),
        }
    }

    fn silent(&self) -> bool {
        self.quiet || self.json
    }

    fn settings(&self) -> Result<Settings, Error> {
        let settings = Settings::of(self.groups.map_or(Groups::RowColumn, Groups::from));
        let rate = self.rate.unwrap_or(settings.rate);
        if !(rate.is_finite() && rate > 0.0) {
            return Err(Problem::error("--rate", format!("{rate} is no number above zero")).into());
        }
        let (every, patience) = (self.every, self.patience);
        let tokens = self.tokens.map_or(settings.tokens, |n| n as usize);
        let (steps, seed) = (self.steps, self.numbers.plan_options().seed);
        let teaching = self.teachers.teaching.unwrap_or(settings.teaching);
        Ok(Settings { steps, tokens, rate, every, patience, teaching, seed, ..settings })
    }
}
