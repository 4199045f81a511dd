//! The tables of a study.

use growmerge::eval::Estimate;
use growmerge::report::Table;
use serde::Serialize;

use super::book::Book;
use super::claims::{Claim, Says};
use super::contrast::{Contrast, signed};
use super::corpus::all_languages;
use super::form::Form;
use super::measures::{self, Means};
use super::models::{Models, Stage};
use super::runs::{Goal, Lengths};
use super::scale::Study;
use super::subject::{ENGLISH, Factor, Language, Method, Setup, Size, Subject, Subset, Tuning};

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

/// Every model but the merges, on every language.
pub(super) fn models(book: &Book) -> Titled {
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
pub(super) fn english(book: &Book) -> Titled {
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

/// The merge of all five languages by every method, between joint training and models of single languages.
pub(super) fn whole(book: &Book, tuning: Tuning) -> Titled {
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
    let mean = super::form::mean(&shares);
    if !mean.value.is_finite() {
        return "–".into();
    }
    let error = mean.error.map_or(String::new(), |e| format!(" ± {:.0}", 100.0 * e));
    format!("{:.0}{error} %", 100.0 * mean.value)
}

/// Every subset by every method.
pub(super) fn subsets(book: &Book, means: &Means, setup: Setup, tuning: Tuning) -> Titled {
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
pub(super) fn swept(book: &Book, means: &Means, study: &Study) -> Titled {
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
            row.extend(study.grid.lambdas.iter().map(times));
            rows.push(row);
        }
    }
    let mut names: Vec<String> =
        ["above joint, paper", "above joint, chosen", "change"].map(str::to_owned).into();
    names.extend(study.grid.lambdas.iter().map(|l| format!("λ {l}")));
    let note = "Mean over subsets of bits per byte above the joint model; then how often each lambda was chosen, over \
                subsets and seeds. linear and multislerp have nothing to choose.";
    Titled::new("Lambda", note, header(&["setup", "method"], names), rows)
}

/// Models of single languages at equal cost.
pub(super) fn operations(book: &Book, study: &Study, lengths: &Lengths) -> Titled {
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
