//! Tables of an experiment.

use growmerge::eval::Estimate;
use growmerge::report::Table;

use super::arm::Arm;
use super::judge::Outcome;
use super::results::{Cell, Results};
use super::scores::{Goal, Scores};
use crate::reproduce::all_languages;
use crate::reproduce::form::mean;

fn table<S: AsRef<str>>(header: &[S], rows: Vec<Vec<String>>) -> Table {
    Table { header: header.iter().map(|h| h.as_ref().to_owned()).collect(), rows }
}

fn error(estimate: Estimate, times: f64, digits: usize) -> String {
    estimate.error.map_or(String::new(), |e| format!(" ± {:.digits$}", times * e))
}

/// `2.345 ± 0.012`.
fn bits(estimate: Estimate) -> String {
    if estimate.value.is_nan() {
        return "–".into();
    }
    format!("{:.3}{}", estimate.value, error(estimate, 1.0, 3))
}

/// `78 ± 2 %`.
fn percent(estimate: Estimate) -> String {
    if estimate.value.is_nan() {
        return "–".into();
    }
    format!("{:.0}{} %", 100.0 * estimate.value, error(estimate, 100.0, 0))
}

/// `-3.1 ± 0.4 %`.
fn signed_percent(estimate: Estimate) -> String {
    if estimate.value.is_nan() {
        return "–".into();
    }
    format!("{:+.1}{} %", 100.0 * estimate.value, error(estimate, 100.0, 1))
}

fn seconds(estimate: Estimate) -> String {
    match estimate.value {
        value if value.is_nan() => "–".into(),
        value if value < 9.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

fn over_seeds(cells: &[Cell], of: impl Fn(&Cell) -> f64) -> Estimate {
    mean(&cells.iter().map(of).collect::<Vec<f64>>())
}

/// An arm in a table: what was there before, and every contender.
pub(super) fn summary(results: &Results, arm: Arm) -> Table {
    let cells = results.of(arm);
    let model = |name: &str, of: &dyn Fn(&Cell) -> &Scores, english: bool| {
        let mut row = vec![name.to_owned(), String::new(), bits(over_seeds(cells, |c| of(c).five()))];
        row.push(if english { bits(over_seeds(cells, |c| of(c).english())) } else { String::new() });
        row.resize(11, String::new());
        row
    };
    let joint_seconds = over_seeds(cells, |c| c.joint_seconds);
    let mut joint = model("joint training", &|c| &c.joint, true);
    (joint[4], joint[9]) = ("100 %".into(), seconds(joint_seconds));
    let mut rows = vec![
        model("English model", &|c| &c.english, true),
        model("each language its own model", &|c| &c.own, false),
        joint,
    ];
    let best = results.best_classical(arm);
    for contender in &results.contenders {
        let of = |goal, of: &dyn Fn(&Outcome) -> f64| {
            results.over_seeds(arm, contender.name, goal, |_, outcome| Some(of(outcome)))
        };
        let both = |goal| [of(goal, &|o| o.scores.five()), of(goal, &|o| o.scores.english())].map(bits);
        let mark = if best == Some(contender.name) { " (best classical)" } else { "" };
        let mut row = vec![format!("{}{mark}", contender.name), contender.reads.name().to_owned()];
        row.extend(both(Goal::Five));
        row.push(percent(results.gap(arm, contender.name, Goal::Five)));
        row.extend(both(Goal::Six));
        row.push(percent(results.gap(arm, contender.name, Goal::Six)));
        row.push(signed_percent(results.english_against_joint(arm, contender.name, Goal::Six)));
        let (making, choosing) = (of(Goal::Six, &|o| o.making), of(Goal::Six, &|o| o.choosing));
        row.push(format!("{} + {}", seconds(making), seconds(choosing)));
        let share = (making.value + choosing.value) / joint_seconds.value;
        row.push(percent(Estimate { value: share, error: None }));
        rows.push(row);
    }
    let header = [
        "merge",
        "reads",
        ">five",
        ">English",
        ">gap closed",
        ">five, with English",
        ">English, with English",
        ">gap closed, with English",
        ">English against joint",
        ">seconds",
        ">of joint training",
    ];
    table(&header, rows)
}

/// Every language of what was chosen with a goal.
pub(super) fn languages(results: &Results, arm: Arm, goal: Goal) -> Table {
    let cells = results.of(arm);
    let model = |name: &str, of: &dyn Fn(&Cell) -> &Scores| {
        let each = all_languages().map(|l| bits(over_seeds(cells, |c| of(c).of(l))));
        std::iter::once(name.to_owned()).chain(each).collect::<Vec<String>>()
    };
    let mut rows = vec![
        model("English model", &|c| &c.english),
        model("each language its own model", &|c| &c.own),
        model("joint training", &|c| &c.joint),
    ];
    for contender in &results.contenders {
        let of = |l: &'static str| results.over_seeds(arm, contender.name, goal, |_, o| Some(o.scores.of(l)));
        let each = all_languages().map(|l| bits(of(l)));
        rows.push(std::iter::once(contender.name.to_owned()).chain(each).collect());
    }
    let header: Vec<String> =
        std::iter::once("merge".to_owned()).chain(all_languages().map(|l| format!(">{l}"))).collect();
    table(&header, rows)
}

/// What was chosen, by seed.
pub(super) fn settings(results: &Results, arm: Arm, goal: Goal) -> Table {
    let cells = results.of(arm);
    let row = |contender: &&super::contender::Contender| {
        let of = |c: &Cell| {
            let outcome = c.outcomes.get(&(contender.name, goal));
            outcome.map_or("–".into(), |o| {
                let ends =
                    if o.ends.is_empty() { String::new() } else { format!(" (end: {})", o.ends.join(", ")) };
                format!("{}{ends}", o.point)
            })
        };
        let tries = cells.iter().filter_map(|c| Some(c.outcomes.get(&(contender.name, goal))?.tries)).max();
        let mut row = vec![contender.name.to_owned(), contender.about.to_owned()];
        row.push(tries.map_or("–".into(), |t| t.to_string()));
        row.extend(cells.iter().map(of));
        row
    };
    let mut header = vec!["merge".to_owned(), "what it does".into(), ">tried".into()];
    header.extend(cells.iter().map(|c| format!("seed {}", c.seed)));
    table(&header, results.contenders.iter().map(row).collect())
}

/// What each text has, by language: its name, sentences, tokens that are scored, and bytes.
pub(super) type Amounts = Vec<(&'static str, Vec<(&'static str, [usize; 3])>)>;

/// What was read.
pub(super) fn texts(amounts: &Amounts) -> Table {
    let mut header = vec!["language".to_owned()];
    for (name, _) in amounts {
        header.extend(["sentences", "tokens", "bytes"].map(|what| format!(">{name}: {what}")));
    }
    let row = |language: &'static str| {
        let of = |all: &Vec<(&'static str, [usize; 3])>| {
            all.iter().find(|(l, _)| *l == language).map_or([0; 3], |(_, n)| *n).map(|n| n.to_string())
        };
        let numbers = amounts.iter().flat_map(|(_, all)| of(all));
        std::iter::once(language.to_owned()).chain(numbers).collect()
    };
    let rows = all_languages().map(row).collect();
    table(&header, rows)
}
