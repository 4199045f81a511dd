//! Plain tables: columns as wide as their widest cell, numbers to the right.

/// Lays rows out below a header; a column whose header begins with `>` is aligned to the right.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let names: Vec<&str> = header.iter().map(|h| h.trim_start_matches('>')).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count());
        cells.chain([names[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((cell, width), header) in cells.zip(&widths).zip(header) {
            if !text.is_empty() {
                text.push_str("  ");
            }
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            match header.starts_with('>') {
                true => text.extend([space.as_str(), cell]),
                false => text.extend([cell, space.as_str()]),
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    };
    let mut text = line(&mut names.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// A report's table.
pub(super) fn show(report: &growmerge::report::Table) -> String {
    let header: Vec<&str> = report.header.iter().map(String::as_str).collect();
    table(&header, &report.rows)
}
