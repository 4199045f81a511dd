//! A row for each measurement, for other programs.

use serde::Serialize;

use super::book::Book;
use super::subject::{Setup, Subject, Tuning};
use super::texts::all_languages;

/// Bits per byte of one model on one language's text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    /// Of the study.
    pub seed: u64,
    /// Where the model comes from.
    pub setup: Setup,
    /// `english`, `language`, `matched`, `shorter`, `joint` or `merge`.
    pub model: &'static str,
    /// Languages that it was adapted to or merged of, with `+` between them.
    pub languages: String,
    /// Of a merge.
    pub method: Option<&'static str>,
    /// Of a merge: how lambda came about.
    pub tuning: Option<Tuning>,
    /// Of a merge by a method that has one.
    pub lambda: Option<f64>,
    /// Of the text.
    pub text: &'static str,
    /// `test`, or `valid` of the search for lambda.
    pub part: &'static str,
    /// The number.
    pub bits_per_byte: f64,
    /// Its standard error over sentences.
    pub error_over_sentences: Option<f64>,
}

/// All of them; the search for lambda has two for each merge: the mean over the subset's languages, and English.
pub(super) fn rows(book: &Book) -> Vec<Row> {
    let mut rows = Vec::new();
    for (seed, setup, subject) in book.subjects() {
        for text in all_languages() {
            let Some(bits) = book.bits(seed, setup, subject, text) else { continue };
            let (model, languages, method, tuning) = match subject {
                Subject::English => ("english", super::subject::ENGLISH.to_owned(), None, None),
                Subject::Language(l) => ("language", l.code().to_owned(), None, None),
                Subject::Matched(l) => ("matched", l.code().to_owned(), None, None),
                Subject::Shorter(l) => ("shorter", l.code().to_owned(), None, None),
                Subject::Joint => ("joint", super::subject::LANGUAGES.join("+"), None, None),
                Subject::Merge(subset, method, tuning) => {
                    ("merge", subset.to_string(), Some(method), Some(tuning))
                }
            };
            let lambda = match subject {
                Subject::Merge(subset, method, Tuning::Swept) => {
                    book.chosen.get(&(seed, setup, subset, method)).copied()
                }
                Subject::Merge(_, method, Tuning::Paper) => {
                    (method.factor() == super::subject::Factor::Lambda).then_some(1.0)
                }
                _ => None,
            };
            rows.push(Row {
                seed,
                setup,
                model,
                languages,
                method: method.map(|m| m.name()),
                tuning,
                lambda,
                text,
                part: "test",
                bits_per_byte: bits.value,
                error_over_sentences: bits.error,
            });
        }
    }
    for swept in &book.sweep {
        for (text, bits_per_byte) in [("members", swept.members), (super::subject::ENGLISH, swept.english)] {
            rows.push(Row {
                seed: swept.seed,
                setup: swept.setup,
                model: "merge",
                languages: swept.subset.to_string(),
                method: Some(swept.method.name()),
                tuning: None,
                lambda: Some(swept.lambda),
                text,
                part: "valid",
                bits_per_byte,
                error_over_sentences: None,
            });
        }
    }
    rows
}

/// As comma-separated values. No value needs quotes: all names are our own.
pub(super) fn csv(rows: &[Row]) -> String {
    let mut text =
        "seed,setup,model,languages,method,tuning,lambda,text,part,bits_per_byte,error_over_sentences\n"
            .to_owned();
    for row in rows {
        let tuning = match row.tuning {
            Some(Tuning::Paper) => "paper",
            Some(Tuning::Swept) => "swept",
            None => "",
        };
        let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        text += &format!(
            "{},{},{},{},{},{tuning},{},{},{},{:.6},{}\n",
            row.seed,
            row.setup.name(),
            row.model,
            row.languages,
            row.method.unwrap_or_default(),
            number(row.lambda),
            row.text,
            row.part,
            row.bits_per_byte,
            row.error_over_sentences.map_or(String::new(), |e| format!("{e:.6}")),
        );
    }
    text
}
