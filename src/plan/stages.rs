//! Several recipes in one file → one plan: each stage is an input of those that name it.

use std::sync::Arc;

use super::{Input, Library, Plan, PlanOptions, Stage};
use crate::problem::{Problem, Problems};
use crate::recipe::Book;

/// A stage is computed anew for each time that it is named; beyond this a merge would not end.
const MAX_BREADTH: u64 = 4096;

/// Plans the stages in order and the result last, with all of their problems at once. A stage keeps the types
/// that its own document asks for; a type from the command line is the result's.
pub(super) fn build(
    book: Book,
    mut problems: Problems,
    options: &PlanOptions,
    library: &mut Library,
) -> Result<Plan, Problems> {
    let mut stages = book.stages;
    let Some(mut result) = stages.pop() else {
        problems.push(Problem::error("recipe", "is empty"));
        return Err(problems);
    };
    let of_stage = PlanOptions { dtype: None, ..options.clone() };
    for recipe in stages {
        let Some(name) = recipe.name.as_ref().map(|n| n.value.clone()) else { continue };
        match Plan::build_from(&recipe, &of_stage, library) {
            Ok(plan) => {
                problems.extend(plan.warnings.clone());
                let stage = Stage::new(&name, plan);
                if stage.breadth() > MAX_BREADTH {
                    let what = format!(
                        "one of its tensors is made of {} stored ones: each stage that names an earlier one twice \
                         doubles the work",
                        stage.breadth()
                    );
                    let problem = recipe.method.place.problem(what);
                    problems.push(problem.hint("write an earlier stage with --keep, and name its folder"));
                    return Err(problems);
                }
                library.add_stage(&name, Input::Stage(Arc::new(stage)));
            }
            Err(found) => problems.extend(found),
        }
    }
    result.warnings = problems;
    Plan::build_from(&result, options, library)
}
