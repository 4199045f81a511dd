//! One page with everything in it, pictures included: no script, nothing loaded from elsewhere.

use super::junit::escape;
use super::page::{Part, page};
use super::svg::{Bar, bars};
use super::{Report, Table, sections};
use crate::problem::Problems;

pub(super) const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#222;background:#fff}table{border-collapse:collapse;margin:1rem 0}th,td{padding:.2rem .7rem;text-align:left;\
border-bottom:1px solid #ddd}.n{text-align:right;font-variant-numeric:tabular-nums}tr.fail{background:#fdecea}\
svg{width:100%;font:13px system-ui,sans-serif}svg text{fill:currentColor}.grid{stroke:#ddd}.whisker{stroke:#222;\
stroke-width:1.5}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}\
tr.fail{background:#4a1f1b}.grid{stroke:#444}.whisker{stroke:#eee}}";

/// The report as a page called `title`.
///
/// # Errors
/// Where differences cannot be paired.
pub fn html(title: &str, report: &Report<'_>) -> Result<String, Problems> {
    let mut parts = vec![Part::Picture(picture(report))];
    for (heading, rules, table) in sections(report)? {
        parts.push(Part::Heading(heading));
        if !rules.is_empty() {
            parts.push(Part::Text(rules));
        }
        parts.push(Part::Table(table));
    }
    parts.push(Part::Text(format!(
        "growmerge {}. ± is a standard error; whiskers span two of them to either side.",
        env!("CARGO_PKG_VERSION")
    )));
    Ok(page(title, &parts))
}

/// Bits per byte of all models by language; of a check, baseline beside now.
fn picture(report: &Report<'_>) -> String {
    if let Some(verdicts) = report.verdicts {
        let bar = |value, error| Bar { value, error };
        let groups: Vec<_> = verdicts
            .iter()
            .map(|v| (v.language.clone(), vec![bar(v.before, None), bar(v.now, v.difference.error)]))
            .collect();
        return bars(&["baseline", "now (whisker: of the difference)"], &groups, "bits/byte");
    }
    let Some(first) = report.evaluations.first().filter(|e| !e.languages.is_empty()) else {
        return String::new();
    };
    let series: Vec<&str> = report.evaluations.iter().map(|e| e.model.as_str()).collect();
    let bar = |e: &crate::eval::Evaluation, i: usize| {
        let bits = e.languages.get(i)?.measured.bits_per_byte();
        Some(Bar { value: bits.value, error: bits.error })
    };
    let group = |(i, l): (usize, &crate::eval::Language)| {
        (l.language.clone(), report.evaluations.iter().filter_map(|e| bar(e, i)).collect())
    };
    let groups: Vec<_> = first.languages.iter().enumerate().map(group).collect();
    bars(&series, &groups, "bits/byte")
}

/// A table's element.
pub(super) fn rows(table: &Table) -> String {
    let class = |column: usize| if table.header[column].starts_with('>') { " class=\"n\"" } else { "" };
    let line = |tag: &str, cells: &[String], of_row: &str| {
        let cells: String = cells
            .iter()
            .enumerate()
            .map(|(i, c)| format!("<{tag}{}>{}</{tag}>", class(i), escape(c)))
            .collect();
        format!("<tr{of_row}>{cells}</tr>\n")
    };
    let names: Vec<String> = table.header.iter().map(|h| h.trim_start_matches('>').to_owned()).collect();
    let mut text = "<table>\n".to_owned() + &line("th", &names, "");
    for row in &table.rows {
        // Only verdicts have a first column without a name.
        let failed = table.header[0].is_empty() && row[0] == "FAIL";
        text += &line("td", row, if failed { " class=\"fail\"" } else { "" });
    }
    text + "</table>\n"
}
