//! The tables that all forms of a report show.

use crate::eval::{Estimate, Evaluation, Verdict, Why};
use crate::problem::Problems;

/// Rows below a header; a column whose header begins with `>` holds numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Names of columns.
    pub header: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// From names of columns and cells.
    pub fn new(header: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self { header: header.iter().map(|h| (*h).to_owned()).collect(), rows }
    }
}

fn error(estimate: Estimate, digits: usize) -> String {
    estimate.error.map_or("–".into(), |e| format!("{e:.digits$}"))
}

/// A difference with its sign and error.
fn signed(estimate: Estimate) -> String {
    format!("{:+.4} ± {}", estimate.value, error(estimate, 4))
}

/// What was measured of one model, a row for each language, and their mean.
pub fn measured(evaluation: &Evaluation) -> Table {
    let header = [
        "language",
        ">sentences",
        ">tokens",
        ">bytes",
        ">nats/token",
        ">perplexity",
        ">bits/byte",
        ">±",
        ">tokens/s",
    ];
    let row = |l: &crate::eval::Language| {
        let (total, bits) = (l.measured.total(), l.measured.bits_per_byte());
        let perplexity = l.measured.perplexity().value;
        vec![
            l.language.clone(),
            (l.documents - l.skipped).to_string(),
            total.tokens.to_string(),
            total.bytes.to_string(),
            format!("{:.4}", l.measured.nats_per_token().value),
            if perplexity < 1e6 { format!("{perplexity:.3}") } else { format!("{perplexity:.3e}") },
            format!("{:.4}", bits.value),
            error(bits, 4),
            format!("{:.0}", l.tokens_per_second),
        ]
    };
    let mut rows: Vec<Vec<String>> = evaluation.languages.iter().map(row).collect();
    if rows.len() > 1 {
        let bits: Vec<f64> = evaluation.languages.iter().map(|l| l.measured.bits_per_byte().value).collect();
        let mut mean = vec![String::new(); header.len()];
        mean[0] = "mean".into();
        mean[6] = format!("{:.4}", bits.iter().sum::<f64>() / bits.len() as f64);
        rows.push(mean);
    }
    Table::new(&header, rows)
}

/// Minimal pairs of one model.
pub fn pairs(evaluation: &Evaluation) -> Table {
    let row = |p: &crate::eval::JudgedPairs| {
        let accuracy = p.judged.accuracy();
        vec![
            p.language.clone(),
            p.judged.pairs().to_string(),
            format!("{:.4}", accuracy.value),
            error(accuracy, 4),
        ]
    };
    Table::new(&["language", ">pairs", ">accuracy", ">±"], evaluation.pairs.iter().map(row).collect())
}

/// Models side by side: bits per byte of the first, and the differences of the others from it.
///
/// # Errors
/// Where differences cannot be paired.
pub fn comparison(evaluations: &[Evaluation]) -> Result<Table, Problems> {
    let Some((first, others)) = evaluations.split_first() else { return Ok(Table::new(&[], Vec::new())) };
    let mut header = vec!["language".to_owned(), format!(">{}", first.model)];
    header.extend(others.iter().map(|e| format!(">{}", e.model)));
    let mut rows = Vec::new();
    for (i, language) in first.languages.iter().enumerate() {
        let bits = language.measured.bits_per_byte();
        let mut row = vec![language.language.clone(), format!("{:.4} ± {}", bits.value, error(bits, 4))];
        for other in others {
            row.push(signed(other.languages[i].difference(language)?));
        }
        rows.push(row);
    }
    for (i, pairs) in first.pairs.iter().enumerate() {
        let accuracy = pairs.judged.accuracy();
        let mut row = vec![
            format!("{} (pairs)", pairs.language),
            format!("{:.4} ± {}", accuracy.value, error(accuracy, 4)),
        ];
        row.extend(others.iter().map(|o| signed(o.pairs[i].judged.difference(&pairs.judged))));
        rows.push(row);
    }
    Ok(Table { header, rows })
}

/// What became of each language.
pub fn verdicts(verdicts: &[Verdict]) -> Table {
    let row = |v: &Verdict| {
        vec![
            if v.why == Why::Worse { "FAIL" } else { "ok" }.to_owned(),
            v.language.clone(),
            format!("{:.4}", v.before),
            format!("{:.4}", v.now),
            signed(v.difference),
            v.explain(),
        ]
    };
    let header = ["", "language", ">baseline", ">now", ">difference", "verdict"];
    Table::new(&header, verdicts.iter().map(row).collect())
}
