//! A recipe's model, written to a folder.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use growmerge::device::cpu::Cpu;
use growmerge::execute::{self, Observer};
use growmerge::plan::{Plan, PlanOptions};
use growmerge::problem::Error;
use growmerge::recipe::Recipe;
use growmerge::write::{Draft, Existing, Opened, Sync};

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// What to do with what is in the folder already.
    pub existing: Existing,
    /// Until when to wait.
    pub sync: Sync,
    /// Worker threads, at least 1; the result does not depend on them.
    pub threads: usize,
    /// Set from outside to stop.
    pub cancel: &'a AtomicBool,
}

/// Plans the recipe and writes its model; one that is complete already is left as it is. Returns the plan.
///
/// # Errors
/// [`Error::Input`] for what is wrong with recipe, model or folder, [`Error::Exec`] for the machine.
pub fn write(
    recipe: &str,
    out: &Path,
    options: &Options<'_>,
    observer: &dyn Observer,
) -> Result<Plan, Error> {
    let plan = Plan::build(&Recipe::parse("recipe.yaml", recipe)?, &PlanOptions::default())?;
    match Draft::open(&plan, out, options.existing, options.sync)? {
        Opened::Complete => {}
        Opened::Draft(draft, todo) => {
            let how = execute::Options { threads: options.threads, cancel: options.cancel };
            execute::run(&Cpu::new(), &plan, &todo, &how, draft.as_ref(), observer)?;
            draft.finish(None)?;
        }
    }
    Ok(plan)
}
