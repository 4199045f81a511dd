//! Tables of merges.

use super::{Titled, cell, header};
use crate::reproduce::book::Book;
use crate::reproduce::contrast::signed;
use crate::reproduce::form::{self, Form};
use crate::reproduce::measures::{self, Means};
use crate::reproduce::scale::Study;
use crate::reproduce::subject::{ENGLISH, Factor, Language, Method, Setup, Subject, Subset, Tuning};

/// The merge of all five languages by every method, between joint training and models of single languages.
pub(in crate::reproduce) fn whole(book: &Book, tuning: Tuning) -> Titled {
    let mut rows = Vec::new();
    for setup in Setup::ALL {
        let bits = |of: &dyn Fn(Language) -> Subject| {
            let each: Vec<Form> = Language::all().map(|l| Form::bits(setup, of(l), l.code())).collect();
            let cells = each.iter().map(|f| cell(f.over_seeds(book)));
            let cells: Vec<String> = cells.chain([cell(Form::mean(each.clone()).over_seeds(book))]).collect();
            cells
        };
        let blank = || vec![String::new(); 3];
        let mut push = |name: &str, cells: Vec<String>, rest: Vec<String>| {
            rows.push([vec![setup.name().to_owned(), name.to_owned()], cells, rest].concat());
        };
        push("each its own model", bits(&Subject::Language), blank());
        push("multilingual", bits(&|_| Subject::Joint), blank());
        for (method, tuning) in measures::merges(tuning) {
            let merge = Subject::Merge(Subset::WHOLE, method, tuning);
            let above = |f: Form| cell(f.over_seeds(book));
            let rest = vec![
                above(measures::above_joint(setup, Subset::WHOLE, method, tuning)),
                above(measures::above_own(setup, Subset::WHOLE, method, tuning)),
                kept(book, setup, merge),
            ];
            push(method.name(), bits(&|_| merge), rest);
        }
        push(ENGLISH, bits(&|_| Subject::English), blank());
    }
    let mut names: Vec<&str> = Language::all().map(Language::code).collect();
    names.extend(["mean", "above joint", "above own", "gain kept"]);
    let (title, note) = match tuning {
        Tuning::Paper => ("The merge of all five languages, at the paper's setting", ""),
        Tuning::Swept => (
            "The merge of all five languages, lambda chosen on valid text",
            "linear and multislerp have no lambda and are as before. ",
        ),
    };
    let note = format!(
        "{note}Bits per byte; above joint and above own: more than the joint model, and than each language's own; gain \
         kept: of what joint training gains over the English model, the share that the merge keeps."
    );
    Titled::new(title, &note, header(&["setup", "model"], names), rows)
}

/// `(English - merge) / (English - joint)`, mean over seeds.
fn kept(book: &Book, setup: Setup, merge: Subject) -> String {
    let mean = |s| measures::mean_of(setup, s, Subset::WHOLE);
    let share = |seed: &u64| {
        let (english, merge, joint) = (
            mean(Subject::English).at(book, *seed)?,
            mean(merge).at(book, *seed)?,
            mean(Subject::Joint).at(book, *seed)?,
        );
        Some((english - merge) / (english - joint))
    };
    let shares: Vec<f64> = book.seeds.iter().filter_map(share).collect();
    let mean = form::mean(&shares);
    if !mean.value.is_finite() {
        return "–".into();
    }
    let error = mean.error.map_or(String::new(), |e| format!(" ± {:.0}", 100.0 * e));
    format!("{:.0}{error} %", 100.0 * mean.value)
}

/// Every subset by every method.
pub(in crate::reproduce) fn subsets(book: &Book, means: &Means, setup: Setup, tuning: Tuning) -> Titled {
    let row = |subset: &Subset| {
        let joint = measures::mean_of(setup, Subject::Joint, *subset);
        let own = Form::mean(subset.members().map(|l| Form::bits(setup, Subject::Language(l), l.code())));
        let mut row = vec![subset.to_string()];
        row.extend([own, joint].map(|f| cell(f.over_seeds(book))));
        row.extend(measures::merges(tuning).map(|(m, t)| {
            let merge = Subject::Merge(*subset, m, t);
            cell(measures::mean_of(setup, merge, *subset).over_seeds(book))
        }));
        row
    };
    let names = ["own models", "multilingual"].into_iter().chain(Method::ALL.map(Method::name));
    let title = match tuning {
        Tuning::Paper => format!("{}: every subset, at the paper's setting", setup.name()),
        Tuning::Swept => format!("{}: every subset, lambda chosen on valid text", setup.name()),
    };
    let note = "Bits per byte of test text, mean over the languages of the subset.";
    Titled::new(title, note, header(&["subset"], names), means.subsets.iter().map(row).collect())
}

/// What choosing lambda changes.
pub(in crate::reproduce) fn swept(book: &Book, means: &Means, study: &Study) -> Titled {
    let mut rows = Vec::new();
    for setup in Setup::ALL {
        for method in Method::ALL.into_iter().filter(|m| m.factor() == Factor::Lambda) {
            let at = |tuning| cell(means.distance(setup, method, tuning).over_seeds(book));
            let mut row = vec![setup.name().to_owned(), method.name().to_owned()];
            row.extend([at(Tuning::Paper), at(Tuning::Swept)]);
            row.push(signed(means.swept(setup, method).over_seeds(book)));
            let times = |lambda: &f64| {
                let here = book.chosen.iter().filter(|(k, _)| k.1 == setup && k.3 == method);
                here.filter(|(_, v)| *v == lambda).count().to_string()
            };
            row.extend(study.merges.lambdas.iter().map(times));
            rows.push(row);
        }
    }
    let mut names: Vec<String> =
        ["above joint, paper", "above joint, chosen", "change"].map(str::to_owned).into();
    names.extend(study.merges.lambdas.iter().map(|l| format!("λ {l}")));
    let note = "Mean over subsets of bits per byte above the joint model; then how often each lambda was chosen, over \
                subsets and seeds. linear and multislerp have nothing to choose.";
    Titled::new("Lambda", note, header(&["setup", "method"], names), rows)
}
