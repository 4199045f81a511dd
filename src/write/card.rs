//! The model card: where the merged model comes from, in the Hub's words.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, context};

use super::lineage::Lineage;
use crate::checkpoint::TensorInfo;
use crate::plan::{Input, Plan};

const TEMPLATE: &str = include_str!("card.md.jinja");

/// The text of `README.md`.
pub(super) fn card(plan: &Plan) -> String {
    let models: Vec<_> = plan
        .models()
        .enumerate()
        .map(|(i, input)| {
            context! {
                name => input.name(),
                base => plan.base == Some(i),
                parameters => parameters(input),
                grown => input.grow().map(|g| format!(", grown {}x", g.width)).unwrap_or_default(),
            }
        })
        .collect();
    let Lineage { base_models, license, languages } = Lineage::of(plan);
    let mut environment = Environment::new();
    // Lines that hold only a tag leave no empty line behind.
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    let rendered = environment.render_str(
        TEMPLATE,
        context! {
            base_models,
            license,
            languages,
            library => plan.config.is_some().then_some("transformers"),
            models,
            name => plan.name.as_deref().unwrap_or("Merged model"),
            method => plan.method.name,
            summary => plan.method.summary,
            paper => plan.method.paper,
            seed => plan.seed,
            parameters => plan.parameters(),
            tensors => plan.jobs.len(),
            recipe => plan.recipe.1.trim_end(),
            version => env!("CARGO_PKG_VERSION"),
        },
    );
    rendered.unwrap_or_default().trim_end().to_owned() + "\n"
}

/// Of a model as it is stored, or as a stage makes it.
fn parameters(input: &Input) -> u64 {
    let of = |tensors: &[TensorInfo]| tensors.iter().map(|t| t.elements() as u64).sum::<u64>();
    match input.checkpoints().first() {
        Some(checkpoint) => of(checkpoint.tensors()),
        None => of(input.tensors()),
    }
}
