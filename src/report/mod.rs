//! Evaluations and verdicts for people and machines: tables, Markdown, JSON, JUnit, one HTML page.

mod html;
mod json;
mod junit;
mod markdown;
mod page;
pub mod svg;
mod tables;

pub use html::html;
pub use json::json;
pub use junit::junit;
pub use markdown::markdown;
pub use page::{Part, page, text};
pub use tables::{Table, comparison, measured, pairs, verdicts};

use crate::eval::{Evaluation, Verdict};
use crate::problem::Problems;

/// What there is to report.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// One for each model.
    pub evaluations: &'a [Evaluation],
    /// What follows from a baseline, if there is one.
    pub verdicts: Option<&'a [Verdict]>,
    /// Whether models are shown side by side too.
    pub layout: Layout,
}

/// How several models are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One after another.
    Apart,
    /// And side by side, with their differences from the first.
    Compared,
}

/// A heading, what it says of how it was measured, and a table.
type Section = (String, String, Table);

/// The parts of a report, in order.
fn sections(report: &Report<'_>) -> Result<Vec<Section>, Problems> {
    let mut sections: Vec<Section> = Vec::new();
    if let Some(list) = report.verdicts {
        let failed = list.iter().filter(|v| v.why == crate::eval::Why::Worse).count();
        let heading = match failed {
            0 => "No language became worse".to_owned(),
            1 => "One language became worse".to_owned(),
            n => format!("{n} languages became worse"),
        };
        sections.push((heading, String::new(), verdicts(list)));
    }
    if report.layout == Layout::Compared {
        let first = report.evaluations.first().map_or("", |e| e.model.as_str());
        let heading = format!("Bits per byte, and differences from {first}");
        sections.push((heading, String::new(), comparison(report.evaluations)?));
    }
    for evaluation in report.evaluations {
        let rules = evaluation.rules.describe(evaluation.start.as_deref());
        if !evaluation.languages.is_empty() {
            sections.push((evaluation.model.clone(), rules.clone(), measured(evaluation)));
        }
        if !evaluation.pairs.is_empty() {
            sections.push((format!("{}: minimal pairs", evaluation.model), rules, pairs(evaluation)));
        }
    }
    Ok(sections)
}
