//! The search for a contender's settings: the same for all, on text that only chooses.
//!
//! One axis after the other is walked along from where the search stands, both ways as long as it gets better; then all of
//! them again. When nothing changes any more, walks go on past one value that is no better, then past two, until the tries
//! are used up or everything was tried. What has been tried is not tried twice.

use std::collections::BTreeMap;

use growmerge::problem::Error;

use super::point::{Axis, Point};

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// The best settings.
    pub point: Point,
    /// Their score; lower is better.
    pub score: f64,
    /// How many settings were tried.
    pub tries: usize,
    /// Axes on which the best value is the first or last: what lies beyond may be better.
    pub ends: Vec<&'static str>,
}

/// Finds the settings with the lowest score among at most `tries`.
///
/// # Errors
/// What `score` says.
pub(super) fn search(
    axes: &[Axis],
    tries: usize,
    mut score: impl FnMut(&Point) -> Result<f64, Error>,
) -> Result<Found, Error> {
    let mut tried: BTreeMap<Vec<usize>, f64> = BTreeMap::new();
    let mut at: Vec<usize> = axes.iter().map(|a| a.start).collect();
    let mut best = score(&Point::on(axes, &at))?;
    tried.insert(at.clone(), best);
    let longest = axes.iter().map(|a| a.values.len()).max().unwrap_or(0);
    let mut patience = 0;
    while patience < longest && tried.len() < tries {
        let before = best;
        for (i, axis) in axes.iter().enumerate() {
            let start = at[i];
            let down: Vec<usize> = (0..start).rev().collect();
            for way in [(start + 1..axis.values.len()).collect(), down] {
                let mut worse = 0;
                for place in way {
                    let mut line = at.clone();
                    line[i] = place;
                    let here = match tried.get(&line) {
                        Some(known) => *known,
                        None if tried.len() >= tries => break,
                        None => {
                            let here = score(&Point::on(axes, &line))?;
                            tried.insert(line, here);
                            here
                        }
                    };
                    if here < best {
                        (best, at[i], worse) = (here, place, 0);
                    } else {
                        worse += 1;
                    }
                    if worse > patience {
                        break;
                    }
                }
            }
        }
        patience = if best < before { 0 } else { patience + 1 };
    }
    let end = |(axis, at): (&Axis, &usize)| {
        let end = axis.values.len() > 1 && (*at == 0 || at + 1 == axis.values.len());
        end.then_some(axis.name)
    };
    let ends = axes.iter().zip(&at).filter_map(end).collect();
    Ok(Found { point: Point::on(axes, &at), score: best, tries: tried.len(), ends })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAMBDA: Axis = Axis::new("lambda", &[0.5, 1.0, 1.5, 2.0, 3.0], 1);
    const DENSITY: Axis = Axis::new("density", &[0.1, 0.2, 0.5, 0.8], 2);

    fn found(axes: &[Axis], tries: usize, score: impl Fn(&Point) -> f64) -> (Found, Vec<String>) {
        let mut seen = Vec::new();
        let found = search(axes, tries, |point| {
            seen.push(point.to_string());
            Ok(score(point))
        });
        (found.unwrap(), seen)
    }

    #[test]
    fn one_axis_is_tried_whole_and_no_axis_once() {
        let (best, seen) = found(&[LAMBDA], 20, |p| (p.get("lambda") - 1.6).abs());
        assert_eq!((best.point.to_string().as_str(), best.tries), ("lambda 1.5", 5));
        assert_eq!(
            seen[..4],
            ["lambda 1", "lambda 1.5", "lambda 2", "lambda 0.5"],
            "as long as it gets better"
        );
        assert!(best.ends.is_empty());
        let (best, _) = found(&[LAMBDA], 20, |p| -p.get("lambda"));
        assert_eq!(best.ends, ["lambda"]);
        let (best, seen) = found(&[], 20, |_| 2.5);
        assert_eq!((best.score, best.tries, seen.len()), (2.5, 1, 1));
    }

    /// A bowl whose axes depend on each other: one round of axes does not reach its ground, the second does.
    #[test]
    fn axes_are_walked_along_again_as_long_as_something_changes() {
        let bowl = |p: &Point| {
            let (x, y) = (p.get("lambda") - 2.0, 4.0 * (p.get("density") - 0.2));
            x * x + y * y + 1.2 * x * y
        };
        let (best, seen) = found(&[LAMBDA, DENSITY], 20, bowl);
        let all = (0..5).flat_map(|i| (0..4).map(move |j| Point::on(&[LAMBDA, DENSITY], &[i, j])));
        let least = all.map(|p| bowl(&p)).fold(f64::INFINITY, f64::min);
        assert_eq!(best.score, least, "{best:?}");
        assert!(best.tries <= 20 && best.tries == seen.len());
        let mut twice = seen.clone();
        twice.sort();
        twice.dedup();
        assert_eq!(twice.len(), seen.len(), "nothing twice");
    }

    /// Two valleys: a walk that stops at the first worse value stays in the shallow one.
    #[test]
    fn tries_that_are_left_look_past_what_is_worse() {
        let valleys = |p: &Point| match p.get("lambda") {
            l if l < 1.25 => l,
            l if l < 2.5 => 9.0,
            _ => 0.1,
        };
        let (best, _) = found(&[LAMBDA], 5, valleys);
        assert_eq!(best.point.to_string(), "lambda 3");
        let (best, _) = found(&[LAMBDA], 3, valleys);
        assert_eq!(best.point.to_string(), "lambda 0.5");
    }

    #[test]
    fn no_more_is_tried_than_allowed() {
        let (best, seen) = found(&[LAMBDA, DENSITY], 3, |p| p.get("lambda") + p.get("density"));
        assert_eq!((best.tries, seen.len()), (3, 3));
        assert!(search(&[LAMBDA], 3, |_| Err(growmerge::problem::Problem::error("a", "b").into())).is_err());
    }

    #[test]
    fn a_value_that_is_no_number_is_never_the_best() {
        let (best, _) =
            found(&[LAMBDA], 20, |p| if p.get("lambda") == 2.0 { f64::NAN } else { p.get("lambda") });
        assert_eq!(best.point.to_string(), "lambda 0.5");
    }
}
