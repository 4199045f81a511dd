use std::path::PathBuf;

use growmerge::plan::{Plan, PlanOptions};
use growmerge::problem::Error;
use growmerge::recipe::Reading;

use super::{Outcome, size};

/// Resolve a recipe completely, without reading a weight
///
/// Opens headers and configs only; lists every problem there is, or what a merge would do.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The recipe
    recipe: PathBuf,
    /// Show every output tensor with its sources and parameters
    #[arg(long)]
    tensors: bool,
    /// Print JSON; problems too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
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
    let plan = Reading::from_file(&args.recipe)
        .and_then(|reading| Ok(Plan::from_reading(reading, &args.options.plan_options())?));
    let plan = match plan {
        Err(Error::Input(problems)) if args.json => {
            super::print_json(&serde_json::json!({ "problems": problems }))?;
            return Err(Error::Input(problems).into());
        }
        other => other?,
    };
    if args.json {
        super::print_json(&plan.summary(args.tensors))?;
        return Ok(Outcome::Done);
    }
    super::print(&plan.describe())?;
    if args.tensors {
        super::print(&plan.describe_tensors())?;
    }
    if !plan.warnings.is_empty() {
        eprintln!("{}", plan.warnings);
    }
    Ok(Outcome::Done)
}
