//! Tables of models of one language and of joint ones.

use super::{Titled, cell, header};
use crate::reproduce::book::Book;
use crate::reproduce::form::Form;
use crate::reproduce::measures;
use crate::reproduce::runs::{Goal, Lengths};
use crate::reproduce::scale::Study;
use crate::reproduce::subject::{ENGLISH, Language, Method, Setup, Size, Subject, Subset, Tuning};
use crate::reproduce::texts::all_languages;

/// Every model but the merges, on every language.
pub(in crate::reproduce) fn models(book: &Book) -> Titled {
    let mut rows = Vec::new();
    for setup in Setup::ALL {
        let experts = Language::all().map(Subject::Language);
        for subject in std::iter::once(Subject::English).chain(experts).chain([Subject::Joint]) {
            let bits = |l| cell(Form::bits(setup, subject, l).over_seeds(book));
            let mut row = vec![setup.name().to_owned(), subject.to_string()];
            row.extend(all_languages().map(bits));
            rows.push(row);
        }
    }
    let header = header(&["setup", "model"], all_languages());
    Titled::new("Models", "Bits per byte of test text, before merging.", header, rows)
}

/// What adaptation and merging cost in English.
pub(in crate::reproduce) fn english(book: &Book) -> Titled {
    let row = |setup: Setup| {
        let mut row = vec![setup.name().to_owned()];
        row.push(cell(Form::bits(setup, Subject::English, ENGLISH).over_seeds(book)));
        row.extend(
            Language::all().map(|l| cell(measures::lost(setup, Subject::Language(l)).over_seeds(book))),
        );
        row.push(cell(measures::forgetting(setup).over_seeds(book)));
        row.push(cell(measures::lost(setup, Subject::Joint).over_seeds(book)));
        row.extend(Method::ALL.map(|m| {
            let merge = Subject::Merge(Subset::WHOLE, m, Tuning::Paper);
            cell(measures::lost(setup, merge).over_seeds(book))
        }));
        row
    };
    let mut names = vec!["before"];
    names.extend(Language::all().map(Language::code));
    names.extend(["mean of five", "multilingual"]);
    names.extend(Method::ALL.map(Method::name));
    let note = "Bits per byte of English before adaptation, then how much more each model needs; the last columns are \
                merges of all five languages at the paper's setting.";
    Titled::new("English kept", note, header(&["setup"], names), Setup::ALL.map(row).into())
}

/// Models of single languages at equal cost.
pub(in crate::reproduce) fn operations(book: &Book, study: &Study, lengths: &Lengths) -> Titled {
    let row = |l: Language| {
        let own = |setup, subject: Subject| cell(Form::bits(setup, subject, l.code()).over_seeds(book));
        let steps = |goal| lengths.of(goal).to_string();
        let mut row =
            vec![l.code().to_owned(), steps(Goal::Language(l)), own(Setup::Small, Subject::Language(l))];
        row.push(steps(Goal::Shorter(l)));
        for setup in Setup::ALL.into_iter().filter(|s| s.size() == Size::Large) {
            row.extend(
                [Subject::Matched(l), Subject::Shorter(l), Subject::Language(l)].map(|s| own(setup, s)),
            );
        }
        row
    };
    let mut names = vec!["steps".to_owned(), "1x".into(), "steps of the same cost".into()];
    for setup in ["1x-cloned", "2x"] {
        names.extend(["on the way", "run of its own", "all steps"].map(|how| format!("{setup}, {how}")));
    }
    let note = format!(
        "Each language's own models, bits per byte in it. A step of a large model costs as much as {:.2} of a small one.",
        study.flop_ratio()
    );
    Titled::new(
        "At equal cost of adaptation",
        &note,
        header(&["language"], names),
        Language::all().map(row).collect(),
    )
}
