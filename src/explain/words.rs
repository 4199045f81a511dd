//! Values, origins and names as people read them.

use std::collections::BTreeSet;

use crate::method::{Arg, Kind, Param};
use crate::plan::SetBy;

/// A value; numbers with four decimals at most, unless they are very small or very large.
pub(super) fn value(param: &Param, value: &Arg) -> String {
    value.describe(|x| if param.kind == Kind::Switch { (x != 0.0).to_string() } else { number(x) })
}

/// `0.30000000000000004` is `0.3`, and `0.00000001` is `1e-8`.
pub(super) fn number(x: f64) -> String {
    if x == 0.0 || (1e-3..1e7).contains(&x.abs()) {
        let text = format!("{x:.4}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let text = format!("{x:e}");
    if text.len() <= 8 { text } else { format!("{x:.3e}") }
}

/// As in `line 12, of the slice`.
pub(super) fn origin(origin: SetBy) -> String {
    let (line, level) = match origin {
        SetBy::Default => return "default".into(),
        SetBy::Model { line } => (line, ", of the model"),
        SetBy::Slice { line } => (line, ", of the slice"),
        SetBy::Module { line } => (line, ", of the module"),
        SetBy::Recipe { line } => (line, ""),
    };
    format!("line {line}{level}")
}

/// `4`, or `4-7`.
pub(super) fn range(first: usize, last: usize) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// As in `0-2, 5`.
pub(super) fn ranges(numbers: &BTreeSet<usize>) -> String {
    let sorted: Vec<usize> = numbers.iter().copied().collect();
    let runs = sorted.chunk_by(|a, b| a + 1 == *b);
    runs.map(|run| range(run[0], run[run.len() - 1])).collect::<Vec<_>>().join(", ")
}

/// Names without the folders that they share: the last parts of each, as many as tell it from all others.
pub(super) fn short(names: &[&str]) -> Vec<String> {
    let tail = |name: &str, count: usize| {
        let parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty()).collect();
        parts[parts.len().saturating_sub(count)..].join("/")
    };
    let shortest = |i: usize| {
        let most = names[i].split('/').count();
        let unique = |count: &usize| {
            let mine = tail(names[i], *count);
            names.iter().enumerate().all(|(j, other)| j == i || tail(other, *count) != mine)
        };
        match (1..=most).find(unique) {
            Some(count) => tail(names[i], count),
            // One path, grown in two ways.
            None => format!("{} (input {})", names[i], i + 1),
        }
    };
    (0..names.len()).map(shortest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_say_what_they_are() {
        for (x, text) in [
            (0.1 + 0.2, "0.3"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (1e-8, "1e-8"),
            (0.0, "0"),
            (1.0 / 3.0, "0.3333"),
            (1e-5 / 3.0, "3.333e-6"),
            (120.0, "120"),
        ] {
            assert_eq!(number(x), text);
        }
    }

    #[test]
    fn numbers_in_a_row_are_a_range() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8].into()), "0-2, 5, 7-8");
    }

    #[test]
    fn names_are_cut_where_they_still_differ() {
        assert_eq!(short(&["a/b/en", "a/b/fo"]), ["en", "fo"]);
        assert_eq!(short(&["a/x/model", "a/y/model/", "z"]), ["x/model", "y/model", "z"]);
        assert_eq!(short(&["m", "m"]), ["m (input 1)", "m (input 2)"]);
    }
}
