use std::path::PathBuf;

use growmerge::recipe::{Amount, Grow, HeadForm, NoiseWords};

use super::{Outcome, growing};

/// Widen a checkpoint by HyperCloning; it computes the same function
///
/// Streams: a model of any size grows in a few megabytes of memory. Copies of a clone without noise get the same
/// gradients and stay the same for ever; give --noise-snr 10 to a model that is trained further.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The small model: a folder or a safetensors file with its config.json
    model: String,
    /// Output folder; must be new or empty
    out: PathBuf,
    /// Factor of the hidden size and of the numbers of heads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    width: u16,
    /// Factor of the intermediate size [default: the width]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    intermediate: Option<u16>,
    /// Add noise that cancels out, so many decibels below the weights
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    noise_snr: Option<f64>,
    /// Seed of the noise
    #[arg(long, default_value_t = 0, requires = "noise_snr")]
    seed: u64,
    /// What becomes of a tied head, whose logits would be too large by the width [default: norm]
    #[arg(long, value_enum)]
    head: Option<growing::Head>,
    #[command(flatten)]
    options: growing::Options,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let width = usize::from(args.width);
    let words = Grow {
        width,
        intermediate: args.intermediate.map_or(width, usize::from),
        noise: args.noise_snr.map(|snr| NoiseWords { snr: Amount(snr), seed: args.seed }),
        head: args.head.map(HeadForm::from),
        factor: None,
    };
    growing::run(&args.model, &args.out, &words, &args.options)
}
