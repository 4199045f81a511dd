//! Markdown, for summaries of CI runs.

use super::{Report, Table, sections};
use crate::problem::Problems;

/// The report as GitHub's Markdown.
///
/// # Errors
/// Where differences cannot be paired.
pub fn markdown(report: &Report<'_>) -> Result<String, Problems> {
    let mut text = String::new();
    for (heading, rules, table) in sections(report)? {
        text += &format!("### {}\n\n", escape(&heading));
        if !rules.is_empty() {
            text += &format!("{}\n\n", escape(&rules));
        }
        text += &rows(&table);
        text.push('\n');
    }
    Ok(text)
}

/// A table's lines.
pub(super) fn rows(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let names = table.header.iter().map(|h| escape(h.trim_start_matches('>'))).collect();
    let rules = table.header.iter().map(|h| if h.starts_with('>') { "---:" } else { "---" }.to_owned());
    let mut text = line(names) + &line(rules.collect());
    for row in &table.rows {
        text += &line(row.iter().map(|c| escape(c)).collect());
    }
    text
}

/// Names are the user's: nothing in them may end a cell or begin markup.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '$' => escaped.extend(['\\', c]),
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_cells() {
        let table =
            Table { header: vec!["a".into(), ">n".into()], rows: vec![vec!["x|y<b>".into(), "1".into()]] };
        assert_eq!(rows(&table), "| a | n |\n| --- | ---: |\n| x\\|y&lt;b&gt; | 1 |\n");
    }
}
