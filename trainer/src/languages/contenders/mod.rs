//! All contenders, in the order of the tables. To add one: a [`Contender`] in a file here, and its list below.

mod aligned;
mod branches;
mod classical;
mod differences;
mod heads;
mod importance;
mod layers;
mod learned;
mod learning;
mod rows;
mod sizes;
mod squares;
mod taught;
mod written;

use super::contender::Contender;

/// Every contender.
pub(super) fn all() -> Vec<&'static Contender> {
    [
        classical::ALL,
        layers::ALL,
        sizes::ALL,
        rows::SIZES,
        rows::COUNTS,
        heads::ALL,
        importance::ALL,
        aligned::ALL,
        learned::ALL,
        taught::ALL,
        branches::ALL,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those of which a name matches one of the patterns, in which `*` is any text, and those that they begin with; all
/// without patterns.
pub(super) fn matching(patterns: &[String]) -> Vec<&'static Contender> {
    let mut wanted: Vec<&str> = all()
        .into_iter()
        .map(|c| c.name)
        .filter(|name| patterns.is_empty() || patterns.iter().any(|p| matches(p, name)))
        .collect();
    for contender in all().into_iter().rev() {
        if wanted.contains(&contender.name) {
            wanted.extend(contender.after);
        }
    }
    all().into_iter().filter(|c| wanted.contains(&c.name)).collect()
}

/// Whether a pattern matches a whole name.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = (0..=name.len()).filter(|i| name.is_char_boundary(*i));
            ends.map(|i| &name[i..]).any(|name| matches(rest, name))
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::languages::contender::Kind;

    #[test]
    fn names_are_unique_and_what_others_begin_with_comes_first() {
        let mut seen = BTreeSet::new();
        let mut kind = Kind::Classical;
        for contender in all() {
            assert!(contender.after.iter().all(|a| seen.contains(a)), "{}", contender.name);
            assert!(seen.insert(contender.name), "{} twice", contender.name);
            assert!(!contender.name.contains([',', ';', '*', '"']), "{}: lists and CSV", contender.name);
            assert!(contender.kind >= kind, "{}: kinds stand together", contender.name);
            kind = contender.kind;
            let names: BTreeSet<&str> = contender.axes.iter().map(|a| a.name).collect();
            assert_eq!(names.len(), contender.axes.len(), "{}", contender.name);
            for axis in contender.axes {
                assert!(axis.values.is_sorted() && axis.start < axis.values.len(), "{}", contender.name);
            }
        }
    }

    #[test]
    fn patterns_name_contenders() {
        let names = |patterns: &[&str]| -> Vec<&str> {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            matching(&patterns).iter().map(|c| c.name).collect()
        };
        assert_eq!(names(&[]).len(), all().len());
        assert_eq!(names(&["linear", "ti*s"]), ["linear", "ties"]);
        assert!(names(&["nothing"]).is_empty());
        assert!(matches("a*b*", "axxbyb") && !matches("a*b", "axxbyc") && matches("*", "å"));
    }
}
