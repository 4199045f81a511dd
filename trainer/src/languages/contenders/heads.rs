//! Rows by counts, where the head is not the embedding: what a token's row is read by and what it is predicted by need not be
//! merged alike. Models whose head is tied get one of their own while they are read.

use growmerge::problem::Error;

use super::rows::{counts, share, sum};
use crate::languages::bench::{Artefact, Bench, Made};
use crate::languages::contender::{Contender, Kind, Reads};
use crate::languages::point::{Axis, Point};
use crate::languages::words::quoted;
use crate::reproduce::Language;

/// Of rows that are read: what a token brings with it is its language's.
const POWER: Axis = Axis::new("power", &[0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8], 3);
const ROWS: Axis = Axis::new("rows", &[0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5], 5);
/// Of rows that predict: all languages' hidden states meet each of them.
const HEAD_POWER: Axis = Axis::new("head power", &[0.15, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4], 4);
const HEAD_ROWS: Axis = Axis::new("head rows", &[0.45, 0.6, 0.75, 0.9, 1.0, 1.15, 1.3, 1.6], 3);
const BODY: Axis = Axis::new("body", &[0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0], 3);

/// Added to each token's share.
const SMOOTHING: f64 = 1e-5;

/// All of them.
pub(super) static ALL: &[Contender] = &[Contender {
    name: "token rows of embedding and head",
    about: "rows of the embedding and those of a head of its own by how often each language uses the token, the mean of the rest",
    kind: Kind::Counts,
    reads: Reads::Counts,
    axes: &[POWER, ROWS, HEAD_POWER, HEAD_ROWS, BODY],
    after: &[],
    make: |bench, at| {
        let (weight, counts) = weight_apart(bench, at, share(bench, at, "body"))?;
        let languages: Vec<Language> = Language::all().collect();
        let words = sum(bench).untied();
        let words = words.each("weight", |i| languages.get(i).map_or(String::new(), |l| weight(*l)));
        Ok(Made { recipe: words.text(), artefacts: vec![counts] })
    },
}];

/// The weight of a language's model: of rows of embedding and head by counts, else `rest`; and the counts.
pub(super) fn weight_apart(
    bench: &Bench<'_>,
    at: &Point,
    rest: f64,
) -> Result<(impl Fn(Language) -> String + use<>, Artefact), Error> {
    let counts = counts(bench)?;
    let path = quoted(&counts.folder);
    let [power, rows, head_power, head_rows] =
        ["power", "rows", "head power", "head rows"].map(|name| at.get(name));
    let weight = move |language: Language| {
        let rule = |filter: &str, power: f64, scale: f64| {
            let code = language.code();
            format!(
                "{{filter: {filter}, value: {{tokens: {path}, language: {code}, power: {power}, smoothing: {SMOOTHING}, \
                 scale: {scale}}}}}"
            )
        };
        let (embedding, head) = (rule("embed", power, rows), rule("lm_head", head_power, head_rows));
        format!("[{embedding}, {head}, {{value: {rest}}}]")
    };
    Ok((weight, counts))
}
