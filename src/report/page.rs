//! A report of any content: headings, sentences, tables and pictures, as HTML or as Markdown.

use super::html::{self, STYLE};
use super::junit::escape;
use super::{Table, markdown};

/// One part of a report.
#[derive(Clone, Debug)]
pub enum Part {
    /// A heading; the report's title is one level above.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Points of equal standing.
    Points(Vec<String>),
    /// A table.
    Table(Table),
    /// An `<svg>` element of [`super::svg`]; Markdown leaves it out.
    Picture(String),
    /// Parts below a line that opens them.
    Folded(String, Vec<Part>),
}

/// One HTML page with everything in it: no script, nothing loaded from elsewhere.
pub fn page(title: &str, parts: &[Part]) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n<h1>{0}</h1>\n{1}</html>\n",
        escape(title),
        parts.iter().map(element).collect::<String>()
    )
}

fn element(part: &Part) -> String {
    match part {
        Part::Heading(text) => format!("<h2>{}</h2>\n", escape(text)),
        Part::Text(text) => format!("<p>{}</p>\n", escape(text)),
        Part::Points(texts) => {
            let items: String = texts.iter().map(|t| format!("<li>{}</li>\n", escape(t))).collect();
            format!("<ul>\n{items}</ul>\n")
        }
        Part::Table(table) => html::rows(table),
        Part::Picture(svg) => svg.clone(),
        Part::Folded(summary, parts) => {
            let inner: String = parts.iter().map(element).collect();
            format!("<details><summary>{}</summary>\n{inner}</details>\n", escape(summary))
        }
    }
}

/// The same in GitHub's Markdown, without the pictures.
pub fn text(title: &str, parts: &[Part]) -> String {
    let parts: String = parts.iter().map(block).collect();
    format!("# {}\n\n{parts}", markdown::escape(title)).trim_end().to_owned() + "\n"
}

fn block(part: &Part) -> String {
    match part {
        Part::Heading(text) => format!("## {}\n\n", markdown::escape(text)),
        Part::Text(text) => format!("{}\n\n", markdown::escape(text)),
        Part::Points(texts) => {
            texts.iter().map(|t| format!("- {}\n", markdown::escape(t))).collect::<String>() + "\n"
        }
        Part::Table(table) => markdown::rows(table) + "\n",
        Part::Picture(_) => String::new(),
        Part::Folded(summary, parts) => {
            let inner: String = parts.iter().map(block).collect();
            format!("<details><summary>{}</summary>\n\n{inner}</details>\n\n", escape(summary))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_every_part_and_no_markup_of_the_users() {
        let table = Table::new(&["a", ">n"], vec![vec!["<x>".into(), "1.5".into()]]);
        let parts = [
            Part::Heading("One & two".into()),
            Part::Points(vec!["first".into()]),
            Part::Folded("more".into(), vec![Part::Text("inner".into()), Part::Table(table)]),
            Part::Picture("<svg></svg>\n".into()),
        ];
        let html = page("T<t>", &parts);
        for wanted in
            ["<h1>T&lt;t&gt;</h1>", "<h2>One &amp; two</h2>", "<li>first</li>", "<summary>more</summary>"]
        {
            assert!(html.contains(wanted), "{wanted}: {html}");
        }
        assert!(html.contains("&lt;x&gt;") && html.contains("<svg>") && html.ends_with("</html>\n"));
        let text = text("T", &parts);
        for wanted in ["# T\n", "## One &amp; two\n", "- first\n", "inner\n", "| &lt;x&gt; | 1.5 |"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(!text.contains("<svg"));
    }
}
