use std::path::PathBuf;

use growmerge::recipe::HeadForm;
use growmerge_trainer::grow;

use super::{Outcome, growing};

/// Bring the head of a grown model into another form; it computes the same function
///
/// norm: a plain tied model whose final norm makes up for the width. factor: tied, with the
/// lm_head_normalization_factor of the HyperLlama models. untied: a head of its own. Exact where the factor is a power
/// of two.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The grown model
    model: String,
    /// Output folder; must be new or empty
    out: PathBuf,
    /// The form of the head
    #[arg(long, value_enum)]
    head: growing::Head,
    /// With --head factor: the factor [default: the model's own, or the width it was grown by]
    #[arg(long, value_name = "F")]
    factor: Option<f64>,
    #[command(flatten)]
    options: growing::Options,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let words = grow::conversion(&args.model, HeadForm::from(args.head), args.factor)?;
    growing::run(&args.model, &args.out, &words, &args.options)
}
