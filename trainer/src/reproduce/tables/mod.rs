//! The tables of a study.

mod merges;
mod single;

use growmerge::eval::Estimate;
use growmerge::report::Table;
use serde::Serialize;

use super::book::Book;
use super::claims::{Claim, Says};
use super::contrast::{Contrast, signed};
use super::models::Models;
use super::runs::{Goal, Lengths};
use super::stage::Stage;
use super::subject::Language;
use super::texts::all_languages;

pub(super) use merges::{subsets, swept, whole};
pub(super) use single::{english, models, operations};

/// A table with what it says.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Titled {
    /// What is in it.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// The table.
    #[serde(serialize_with = "rows")]
    pub table: Table,
}

fn rows<S: serde::Serializer>(table: &Table, serializer: S) -> Result<S::Ok, S::Error> {
    let header: Vec<&str> = table.header.iter().map(|h| h.trim_start_matches('>')).collect();
    (header, &table.rows).serialize(serializer)
}

impl Titled {
    fn new(title: impl Into<String>, note: &str, header: Vec<String>, rows: Vec<Vec<String>>) -> Self {
        Self { title: title.into(), note: note.into(), table: Table { header, rows } }
    }
}

/// `2.345 ± 0.012`, the error over seeds; `–` for what was not measured.
fn cell(estimate: Estimate) -> String {
    match estimate {
        Estimate { value, .. } if !value.is_finite() => "–".into(),
        Estimate { value, error: Some(error) } => format!("{value:.3} ± {error:.3}"),
        Estimate { value, error: None } => format!("{value:.3}"),
    }
}

fn header(first: &[&str], numbers: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    let numbers = numbers.into_iter().map(|n| format!(">{}", n.as_ref()));
    first.iter().map(|f| (*f).to_owned()).chain(numbers).collect()
}

/// The contrasts behind a claim.
pub(super) fn contrasts(claim: &Claim, book: &Book) -> Titled {
    let row = |c: &Contrast, follows: &str| {
        let mut row = vec![c.what.clone()];
        row.extend(c.by_seed.iter().map(|v| format!("{v:+.4}")));
        row.push(signed(c.over_seeds));
        row.push(c.over_sentences.map_or("–".into(), |e| format!("{e:.4}")));
        row.push(c.edge.map_or(String::new(), |e| e.to_string()));
        row.push(follows.to_owned());
        row
    };
    let decides = claim.contrasts.iter().map(|c| match claim.says {
        Says::Below => row(c, c.verdict.for_claim()),
        Says::Apart => row(c, c.verdict.for_first()),
    });
    let beside = claim.beside.iter().map(|c| row(c, &format!("beside the claim: {}", c.verdict.for_first())));
    let rows = decides.chain(beside).collect();
    let seeds = book.seeds.iter().map(|s| format!("seed {s}"));
    let names = seeds.chain(["mean ± over seeds", "± over sentences", "λ at an end"].map(String::from));
    let mut header = header(&["contrast"], names);
    header.push("what follows".into());
    let note = "Bits per byte; below zero, what comes first is better. λ at an end: of the choices of lambda behind a \
                contrast, those of the first or last value tried; with one of them, nothing is called clear.";
    Titled::new(format!("Contrasts: {}", claim.claim), note, header, rows)
}

/// What was measured.
pub(super) fn texts(book: &Book, lengths: &Lengths) -> Titled {
    let row = |language: &'static str| {
        let amounts = book.amount(language).map(|n| n.to_string());
        let steps = match Language::all().find(|l| l.code() == language) {
            Some(l) => lengths.of(Goal::Language(l)).to_string(),
            None => format!("{} + {}", lengths.seed, lengths.english),
        };
        [vec![language.to_owned()], amounts.into(), vec![steps]].concat()
    };
    let names = ["sentences", "of", "tokens", "bytes", "steps of training"];
    let note = "What every model was measured on, sentences spread evenly over the text, and how long models were trained \
                on each language.";
    Titled::new("Texts", note, header(&["language"], names), all_languages().map(row).collect())
}

/// What was made, and how long each took.
pub(super) fn stages(models: &Models) -> Titled {
    let row = |s: &Stage| vec![s.name.clone(), s.digest[..8].to_owned(), format!("{:.1}", s.seconds)];
    let note = "Time of the part after the last interruption; what was found finished is shown with the time it took then.";
    let header = header(&["stage", "digest"], ["seconds"]);
    Titled::new("Stages", note, header, models.stages.iter().map(row).collect())
}
