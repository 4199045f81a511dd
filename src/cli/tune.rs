use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use growmerge::decoder::Config;
use growmerge::eval::{Home, ModelSource, Start, Text, Tokenizer};
use growmerge::plan::Plan;
use growmerge::problem::{Error, ExecError, Problem, Problems};
use growmerge::recipe::Reading;
use growmerge::report;
use growmerge::tune::{self, Evaluation, Goal, Groups, Running, Settings, Tuned, Wanted, Watch};
use serde_json::json;

use super::merge::cancel_on_signal;
use super::{Outcome, elsewhere, plan, table::show, texts};

/// Learn from texts how much of each model goes into a merge
///
/// Takes a recipe with `merge_method: task_arithmetic` and begins with its weights. Coefficients follow the gradient of the
/// merged model's loss on the texts, and the best on held-out documents are written: OUT.safetensors, and OUT.yaml, the
/// recipe with them, which `merge` takes like any other. Memory: one merged model in float32, and as much again for each
/// thread.
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
    #[arg(long, value_name = "LANG=NUMBER", value_parser = share)]
    share: Vec<(String, f64)>,
    /// Which elements of a model share a coefficient
    #[arg(long, value_enum, default_value = "row-column")]
    groups: GroupsChoice,
    /// Steps at most
    #[arg(long, value_name = "N", default_value_t = 320, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps: u64,
    /// Tokens of each language in a step, rounded up to whole documents
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    tokens: u32,
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

/// `en=0.3`.
fn share(text: &str) -> Result<(String, f64), String> {
    let (language, number) =
        text.split_once('=').ok_or("write it as LANGUAGE=NUMBER, for instance en=0.3")?;
    match number.parse() {
        Ok(number) if f64::is_finite(number) && number > 0.0 => Ok((language.to_owned(), number)),
        _ => Err(format!("`{number}` is no number above zero")),
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
    let settings = args.settings()?;
    let cancel = cancel_on_signal()?;
    let files = Files::new(args)?;
    let goal = args.goal(&plan)?;
    args.elsewhere.bring_plan(&plan, args.silent(), &cancel)?;
    let threads = args.threads.map_or_else(super::cores, usize::from);
    let shown = Show {
        silent: args.silent(),
        names: goal.languages.iter().map(|l| l.name.clone()).collect(),
        last: Mutex::new(Instant::now()),
    };
    let running = Running { threads, cancel: &cancel, watch: &shown, state: Some(&files.state) };
    let started = Instant::now();
    let tuned = tune::tune(&plan, &goal, &settings, &running);
    if matches!(tuned, Err(Error::Exec(ExecError::Interrupted))) && files.state.is_file() {
        eprintln!("the same command with --resume goes on from here");
    }
    let tuned = tuned?;
    let recipe = tuned.recipe(&plan, &files.coefficients.display().to_string()).map_err(Error::from)?;
    tuned.write(&plan, &files.coefficients).map_err(Error::from)?;
    super::measuring::write(&args.output, &recipe)?;
    if let Some(path) = &args.html {
        let page = report::page("Learned coefficients", &tune::parts(&plan, &goal, &tuned));
        super::measuring::write(path, &page)?;
    }
    super::printed(say(args, &goal, &tuned, started.elapsed()), Outcome::Done)
}

fn say(args: &Args, goal: &Goal, tuned: &Tuned, took: Duration) -> anyhow::Result<()> {
    if args.json {
        let languages: Vec<&str> = goal.languages.iter().map(|l| l.name.as_str()).collect();
        let best = tuned.gain().map(|(best, _)| best);
        return super::print_json(&json!({
            "recipe": args.output, "coefficients": tuned.space.len(), "languages": languages,
            "best": best, "looks": tuned.looks, "seconds": took.as_secs_f64(),
        }));
    }
    if args.quiet {
        return Ok(());
    }
    let table = show(&tune::losses(goal, tuned));
    super::print(&format!(
        "bits per byte of held-out documents\n\n{table}\n{}: {} coefficients, the best after {} steps, {:.0} s\n",
        args.output.display(),
        tuned.space.len(),
        tuned.step,
        took.as_secs_f64()
    ))
}

/// Where results go.
struct Files {
    coefficients: PathBuf,
    state: PathBuf,
}

impl Files {
    /// Refuses names that cannot be, and a state that nobody asked to go on with.
    fn new(args: &Args) -> Result<Self, Error> {
        let name = || args.output.display().to_string();
        if !matches!(args.output.extension().and_then(|e| e.to_str()), Some("yaml" | "yml")) {
            let problem = Problem::error(name(), "must end in .yaml: it will be a recipe");
            return Err(problem.into());
        }
        let folder = args.output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(Problem::error(name(), "there is no such folder to write to").into());
        }
        let files = Self {
            coefficients: args.output.with_extension("safetensors"),
            state: args.output.with_extension("tune-state"),
        };
        if files.state.is_file() && !args.resume {
            let what = "is what an interrupted run left";
            let hint = "go on with --resume, or remove it to begin anew";
            return Err(Problem::error(files.state.display().to_string(), what).hint(hint).into());
        }
        Ok(files)
    }
}

impl Args {
    fn silent(&self) -> bool {
        self.quiet || self.json
    }

    fn settings(&self) -> Result<Settings, Error> {
        let settings = Settings::of(self.groups.into());
        let rate = self.rate.unwrap_or(settings.rate);
        if !(rate.is_finite() && rate > 0.0) {
            return Err(Problem::error("--rate", format!("{rate} is no number above zero")).into());
        }
        let (every, patience) = (self.every, self.patience);
        let (steps, tokens, seed) = (self.steps, self.tokens as usize, self.numbers.plan_options().seed);
        Ok(Settings { steps, tokens, rate, every, patience, seed, ..settings })
    }

    /// The objective: every language that there is text of.
    fn goal(&self, plan: &Plan) -> Result<Goal, Error> {
        let mut problems = Problems::new();
        let mut keep = |found: Problems| problems.extend(found);
        let texts = self.texts.read(None).map_err(&mut keep).unwrap_or_default();
        let mut held_out = self.texts.read_all(&self.held_out, None).map_err(&mut keep).unwrap_or_default();
        let known = || texts.iter().map(|t| t.language.as_str());
        let shares = self.share.iter().map(|(language, _)| ("--share", language));
        let named = shares.chain(self.held_out.iter().map(|(language, _)| ("--held-out", language)));
        for (option, language) in named.filter(|_| !texts.is_empty()) {
            if known().all(|k| k != language) {
                let problem = Problem::error(option, format!("there is no text of `{language}`"));
                let hint = format!("there are texts of {}", known().collect::<Vec<_>>().join(", "));
                let problem = problem.did_you_mean(language, known());
                problems.push(if problem.hint.is_none() { problem.hint(hint) } else { problem });
            }
        }
        let share = |language: &str| self.share.iter().rev().find(|s| s.0 == language).map_or(1.0, |s| s.1);
        let mut wanted: Vec<Wanted> = Vec::new();
        for text in texts {
            let weight = share(&text.language);
            let of_language = |held_out: &Text| held_out.language == text.language;
            let held_out = held_out.iter().position(of_language).map(|at| held_out.swap_remove(at));
            wanted.push(Wanted { text, held_out, weight });
        }
        let source = model(plan)?;
        let config = Config::read(&source.config, &source.name).map_err(&mut |found| problems.extend(found));
        let start = match self.bos.as_str() {
            "auto" => Start::Auto,
            "none" => Start::Nothing,
            token => Start::Token(token.to_owned()),
        };
        let tokenizer = Tokenizer::of(&source.tokenizer, &start).map_err(&mut |found| problems.extend(found));
        let (Ok(config), Ok(tokenizer)) = (config, tokenizer) else { return Err(problems.into()) };
        let limit = config.max_positions.max(2);
        let context = self.context.map_or(512, |c| c as usize).min(limit);
        let goal = Goal::new(wanted, &tokenizer, config.vocab, context);
        let goal = goal.map_err(|found| problems.extend(found));
        match goal {
            Ok(goal) if !problems.has_errors() => Ok(goal),
            _ => Err(problems.into()),
        }
    }
}

/// What the plan will make, before it is made.
struct Model {
    name: String,
    config: serde_json::Value,
    tokenizer: Home,
}

fn model(plan: &Plan) -> Result<Model, Error> {
    let name = plan.recipe.0.clone();
    let Some(config) = plan.config.clone() else {
        let what = "there is no config.json, so nothing says how the model computes";
        return Err(Problem::error(name, what).into());
    };
    Ok(Model { tokenizer: ModelSource::tokenizer_of(&name, plan), name, config })
}

/// On a pipe, a line is printed this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A line for each look, and on the way now and then.
struct Show {
    silent: bool,
    names: Vec<String>,
    last: Mutex<Instant>,
}

impl Show {
    fn line(&self, bits: &[f64]) -> String {
        let each = self.names.iter().zip(bits).map(|(name, bits)| format!("{name} {bits:.3}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

impl Watch for Show {
    fn step(&self, step: u64, bits: &[f64]) {
        let Ok(mut last) = self.last.lock() else { return };
        if !self.silent && last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            eprintln!("step {step}: {}", self.line(bits));
        }
    }

    fn looked(&self, look: &Evaluation) {
        if !self.silent {
            eprintln!("after step {}, held out: {:.4} ({})", look.step, look.value, self.line(&look.bits));
        }
        if let Ok(mut last) = self.last.lock() {
            *last = Instant::now();
        }
    }
}
