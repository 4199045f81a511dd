//! The pictures of a study.

use std::collections::BTreeMap;
use std::path::PathBuf;

use growmerge::problem::ExecError;
use growmerge::report::svg::{Bar, Heat, Line, bars, heat, lines};

use super::book::Book;
use super::curves::{self, Curve};
use super::form::{self, Form};
use super::measures::{self, Means};
use super::models::Models;
use super::subject::{ENGLISH, Factor, Language, Method, Setup, Subject, Subset, Tuning};

/// By language: its own model, the joint one, and the merges of all five.
pub(super) fn languages(book: &Book, setup: Setup) -> String {
    let mut series = vec!["its own model", "joint training"];
    series.extend(Method::ALL.map(Method::name));
    let group = |l: Language| {
        let merges = measures::merges(Tuning::Swept).map(|(m, t)| Subject::Merge(Subset::WHOLE, m, t));
        let subjects = [Subject::Language(l), Subject::Joint].into_iter().chain(merges);
        let bar = |subject| {
            let bits = Form::bits(setup, subject, l.code()).over_seeds(book);
            Bar { value: bits.value, error: bits.error }
        };
        (l.code().to_owned(), subjects.map(bar).collect())
    };
    bars(&series, &Language::all().map(group).collect::<Vec<_>>(), "bits/byte")
}

/// Subsets by methods: bits per byte above the joint model.
pub(super) fn subsets(book: &Book, means: &Means, setup: Setup, tuning: Tuning) -> String {
    let value = |subset: &Subset, (method, tuning): (Method, Tuning)| {
        measures::above_joint(setup, *subset, method, tuning).over_seeds(book).value
    };
    let map = Heat {
        rows: means.subsets.iter().map(Subset::to_string).collect(),
        columns: Method::ALL.map(|m| m.name().to_owned()).into(),
        values: means
            .subsets
            .iter()
            .map(|s| measures::merges(tuning).map(|m| value(s, m)).collect())
            .collect(),
    };
    heat(&map, "bits/byte above joint training")
}

/// Valid text over lambda, mean over subsets, a line for each setup.
pub(super) fn lambda(book: &Book, method: Method, value: fn(&super::book::Swept) -> f64) -> String {
    let line = |setup: Setup| {
        let mut by_lambda: BTreeMap<u64, BTreeMap<u64, Vec<f64>>> = BTreeMap::new();
        for point in book.sweep.iter().filter(|p| p.setup == setup && p.method == method) {
            // The bits of positive numbers are in the numbers' order.
            let seeds = by_lambda.entry(point.lambda.to_bits()).or_default();
            seeds.entry(point.seed).or_default().push(value(point));
        }
        let point = |(lambda, seeds): (u64, BTreeMap<u64, Vec<f64>>)| {
            let means: Vec<f64> = seeds.values().map(|v| form::mean(v).value).collect();
            let estimate = form::mean(&means);
            (f64::from_bits(lambda), estimate.value, estimate.error)
        };
        Line { name: setup.name().into(), points: by_lambda.into_iter().map(point).collect() }
    };
    lines(&Setup::ALL.map(line), "lambda", "bits/byte of valid text")
}

/// Methods that have a lambda.
pub(super) fn scaled() -> impl Iterator<Item = Method> {
    Method::ALL.into_iter().filter(|m| m.factor() == Factor::Lambda)
}

/// Curves of training, each with its heading.
///
/// # Errors
/// If metrics cannot be read.
pub(super) fn training(models: &Models) -> Result<Vec<(String, String)>, ExecError> {
    let mut read: BTreeMap<(u64, Setup, Subject), Curve> = BTreeMap::new();
    for (key, folder) in &models.curves {
        read.insert(*key, curves::read(&PathBuf::from(folder).join("metrics.jsonl"))?);
    }
    let of = |setup: Setup, subjects: &[Subject], text: fn(&Subject) -> &'static str| -> Line {
        let here = read.iter().filter(|(k, _)| k.1 == setup && subjects.contains(&k.2));
        let curves: Vec<Vec<(f64, f64)>> = here.map(|(k, c)| c.valid(text(&k.2))).collect();
        Line { name: setup.name().into(), points: curves::mean(&curves) }
    };
    let picture = |subjects: &[Subject], text: fn(&Subject) -> &'static str| {
        lines(&Setup::ALL.map(|s| of(s, subjects, text)), "share of the run", "bits/byte of valid text")
    };
    let own = |subject: &Subject| match subject {
        Subject::Language(l) => l.code(),
        _ => ENGLISH,
    };
    let experts: Vec<Subject> = Language::all().map(Subject::Language).collect();
    let mut all = vec![
        (
            "English while models are adapted to one language, mean over five languages".to_owned(),
            picture(&experts, |_| ENGLISH),
        ),
        ("The language that models are adapted to, mean over five".to_owned(), picture(&experts, own)),
    ];
    for l in Language::all() {
        all.push((format!("Adaptation to {}", l.code()), picture(&[Subject::Language(l)], own)));
    }
    let joint = |setup: Setup| {
        let here = read.iter().filter(|(k, _)| k.1 == setup && k.2 == Subject::Joint);
        let curves = here.flat_map(|(_, c)| Language::all().map(|l| c.valid(l.code()))).collect::<Vec<_>>();
        Line { name: setup.name().into(), points: curves::mean(&curves) }
    };
    let joint = lines(&Setup::ALL.map(joint), "share of the run", "bits/byte of valid text");
    all.push(("Joint training, mean over five languages".to_owned(), joint));
    let english = [Setup::Small, Setup::Grown].map(|s| of(s, &[Subject::English], own));
    all.push((
        "The last fifth of English pretraining".to_owned(),
        lines(&english, "share of the run", "bits/byte of valid text"),
    ));
    Ok(all)
}
