use std::path::PathBuf;

use growmerge::explain::Explanation;
use growmerge::plan::Plan;
use growmerge::problem::Error;

use super::{Outcome, elsewhere, grid, measuring, plan, table::show};

/// Show what a recipe says of each layer and tensor
///
/// The value of each parameter, by layer where it varies, and the line of the recipe that set it; the layers of models
/// that each output layer is made of. Reads headers and configs only.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The recipe
    recipe: PathBuf,
    #[command(flatten)]
    only: grid::Only,
    /// Show every value of the output tensors of this name; `*` stands for any characters, `?` for one
    #[arg(long, value_name = "GLOB")]
    tensor: Option<String>,
    /// Write a page with the gradients drawn over the layers
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON: all tensors, or those of --tensor
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    numbers: plan::Numbers,
    #[command(flatten)]
    elsewhere: elsewhere::Options,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let reading = grid::single(&args.recipe, &args.only)?;
    let mut library = args.elsewhere.library_of(&args.recipe, [&reading])?;
    let plan = Plan::from_reading_with(reading, &args.numbers.plan_options(), &mut library);
    let plan = plan.map_err(Error::from)?;
    if !args.json && !plan.warnings.is_empty() {
        eprintln!("{}", plan.warnings);
    }
    let explanation = Explanation::new(&plan);
    if let Some(path) = &args.html {
        let name = args.recipe.file_name().unwrap_or(args.recipe.as_os_str());
        measuring::write(path, &explanation.html(&format!("{} explained", name.to_string_lossy())))?;
    }
    let tensor = args.tensor.as_deref();
    if args.json {
        super::print_json(&explanation.json(tensor).map_err(Error::from)?)?;
        return Ok(Outcome::Done);
    }
    let mut text = String::new();
    if tensor.is_none() {
        for (name, stage) in explanation.stages() {
            text += &format!("stage {name}: {}", tables(&stage));
        }
    }
    match tensor {
        Some(pattern) => text += &show(&explanation.each(pattern).map_err(Error::from)?),
        None => text += tables(&explanation).trim_end(),
    }
    super::print(&(text.trim_end().to_owned() + "\n"))?;
    Ok(Outcome::Done)
}

fn tables(explanation: &Explanation<'_>) -> String {
    let mut text = explanation.summary() + "\n\n";
    for (heading, table) in explanation.tables() {
        text += &format!("{heading}\n\n{}\n", show(&table));
    }
    text
}
