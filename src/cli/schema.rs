use super::Outcome;

/// Print a JSON Schema, for editors and other programs
///
/// With the YAML extension of VS Code: `# yaml-language-server: $schema=recipe.schema.json`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Of what
    #[arg(value_enum, default_value = "recipe")]
    of: Of,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Of {
    /// Recipes
    Recipe,
    /// growmerge.json
    Manifest,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    match args.of {
        Of::Recipe => super::print_json(&growmerge::recipe_schema())?,
        Of::Manifest => super::print_json(&schemars::schema_for!(growmerge::write::Manifest))?,
    }
    Ok(Outcome::Done)
}
