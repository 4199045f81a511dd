use std::path::PathBuf;

use growmerge::plan::{Plan, PlanOptions};
use growmerge::problem::{Error, Problems};
use growmerge::recipe::Contents;

use super::{Outcome, elsewhere, grid, size};

/// Resolve a recipe completely, without reading a weight
///
/// Opens headers and configs only; lists every problem there is, or what a merge would do. Of a grid
/// (a recipe with a `matrix`) it lists the members.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The recipe
    pub(super) recipe: PathBuf,
    #[command(flatten)]
    pub(super) only: grid::Only,
    /// Show every output tensor with its sources and parameters
    #[arg(long)]
    tensors: bool,
    /// Print JSON; problems too
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) options: Options,
    #[command(flatten)]
    pub(super) elsewhere: elsewhere::Options,
}

/// Choices that decide the numbers of a merge.
#[derive(clap::Args)]
pub(super) struct Numbers {
    /// Seed of random draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Element type of the output, over the recipe's
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
}

/// Choices that `plan` and `merge` share.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    numbers: Numbers,
    /// Largest weight file
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size::parse)]
    pub(super) shard_size: u64,
}

/// Element types that can be asked for.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Dtype {
    /// bfloat16
    Bfloat16,
    /// IEEE half precision
    Float16,
    /// single precision
    Float32,
}

impl Options {
    pub(super) fn plan_options(&self) -> PlanOptions {
        PlanOptions { shard_size: self.shard_size, ..self.numbers.plan_options() }
    }
}

impl Numbers {
    /// Whether any of them is not what holds when nobody says anything.
    pub(super) fn differ(&self) -> bool {
        self.seed != 0 || self.dtype.is_some()
    }

    pub(super) fn plan_options(&self) -> PlanOptions {
        use growmerge::checkpoint::DType;
        let dtype = self.dtype.map(|d| match d {
            Dtype::Bfloat16 => DType::BF16,
            Dtype::Float16 => DType::F16,
            Dtype::Float32 => DType::F32,
        });
        PlanOptions { seed: self.seed, dtype, ..PlanOptions::default() }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let result = resolve(args);
    let shown = match result {
        Err(Error::Input(problems)) if args.json => {
            super::print_json(&serde_json::json!({ "problems": problems }))?;
            return Err(Error::Input(problems).into());
        }
        other => other?,
    };
    match shown {
        Shown::Plan(plan) => show(args, &plan)?,
        Shown::Grid { json, .. } if args.json => super::print_json(&json)?,
        Shown::Grid { text, warnings, .. } => {
            super::print(&text)?;
            if !warnings.is_empty() {
                eprintln!("{warnings}");
            }
        }
    }
    Ok(Outcome::Done)
}

fn resolve(args: &Args) -> Result<Shown, Error> {
    let reading = match Contents::from_file(&args.recipe)? {
        Contents::Grid(grid) => return grid::plan(args, &grid),
        Contents::Recipe(reading) => reading,
    };
    args.only.refuse()?;
    let mut library = args.elsewhere.library_of(&args.recipe, [&reading])?;
    let plan = Plan::from_reading_with(reading, &args.options.plan_options(), &mut library)?;
    Ok(Shown::Plan(Box::new(plan)))
}

/// What there is to see.
pub(super) enum Shown {
    Plan(Box<Plan>),
    /// Of a grid.
    Grid {
        text: String,
        json: serde_json::Value,
        warnings: Problems,
    },
}

fn show(args: &Args, plan: &Plan) -> anyhow::Result<()> {
    if args.json {
        return super::print_json(&plan.summary(args.tensors));
    }
    super::print(&plan.describe())?;
    if args.tensors {
        super::print(&plan.describe_tensors())?;
    }
    if !plan.warnings.is_empty() {
        eprintln!("{}", plan.warnings);
    }
    Ok(())
}
