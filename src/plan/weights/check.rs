//! What is wrong with a weight that says where it comes from, before any tensor asks for it.

use crate::method::{Base, Kind, METHODS, Method, Param};
use crate::problem::Problems;
use crate::recipe::{By, Weighting};

/// Whether the method takes such weights, and whether there is a file.
pub(in crate::plan) fn check(param: &Param, words: &Weighting, method: &Method) -> Problems {
    let mut problems = Problems::new();
    let place = &words.place;
    if param.kind != Kind::Weight {
        let what =
            format!("`{}` of method `{}` must be a number: it weighs whole tensors", param.name, method.name);
        let hint = format!("rows have weights of their own in {}", names(by_rows));
        problems.push(place.problem(what).hint(hint));
        return problems;
    }
    if matches!(words.by, By::Norms { .. }) && method.base != Base::Reference {
        let what = format!(
            "`norms` are those of differences from a base, which method `{}` does not take",
            method.name
        );
        let hint = format!("use {}", names(|m| by_rows(m) && m.base == Base::Reference));
        problems.push(place.problem(what).hint(hint));
    }
    if let Some(path) = words.by.path().filter(|path| !std::path::Path::new(path).exists()) {
        let hint = match words.by {
            By::Tokens { .. } => {
                "`growmerge count` makes counts; paths begin at the working folder, as those of models do"
            }
            _ => "paths begin at the working folder, as those of models do",
        };
        problems.push(place.problem(format!("{path} is not there")).hint(hint));
    }
    problems
}

fn by_rows(method: &Method) -> bool {
    method.params.iter().any(|p| p.kind == Kind::Weight)
}

fn names(fit: impl Fn(&Method) -> bool) -> String {
    METHODS.iter().filter(|m| fit(m)).map(|m| m.name).collect::<Vec<_>>().join(", ")
}
