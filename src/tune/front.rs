//! Which points of a search are no worse than another in everything: what one language gains costs another there.

use super::aims::Measure;
use super::search::{Found, Tried};

/// Positions of the points of a Pareto front, in the order they were tried; of points with the same values the first.
pub fn front(tried: &[Tried]) -> Vec<usize> {
    let beats = |a: usize, b: usize| {
        let pairs = || tried[a].values.iter().zip(&tried[b].values);
        pairs().all(|(a, b)| a <= b) && (pairs().any(|(a, b)| a < b) || a < b)
    };
    let kept = |b: &usize| tried[*b].value.is_finite() && !(0..tried.len()).any(|a| a != *b && beats(a, *b));
    (0..tried.len()).filter(kept).collect()
}

/// The front as comma-separated values: the number of a point, whether it is the one that was kept, the objective, the
/// value of each measure on what points were tried on, and coefficients.
pub fn csv(measures: &[Measure], found: &Found) -> String {
    let fixed = ["point", "kept", "objective"].map(str::to_owned);
    let names = measures
        .iter()
        .map(|m| field(&m.name))
        .chain(found.tuned.space.names().into_iter().map(|n| field(&format!("coefficient of {n}"))));
    let mut text = fixed.into_iter().chain(names).collect::<Vec<_>>().join(",") + "\n";
    for at in front(&found.tried) {
        let Tried { x, values, value } = &found.tried[at];
        let kept = if at as u64 == found.tuned.step { "yes" } else { "no" };
        let numbers = std::iter::once(value).chain(values).chain(x).map(|x| format!(",{x}"));
        text += &format!("{at},{kept}{}\n", numbers.collect::<String>());
    }
    text
}

/// Quoted where it must be (RFC 4180).
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tried(values: &[f64]) -> Tried {
        Tried { x: vec![], values: values.to_vec(), value: values.iter().sum() }
    }

    #[test]
    fn points_that_another_beats_are_left_out() {
        let points =
            [[2.0, 2.0], [1.0, 3.0], [3.0, 1.0], [2.0, 2.5], [2.0, 2.0], [0.5, 4.0], [f64::INFINITY, 0.0]];
        assert_eq!(front(&points.map(|p| tried(&p))), [0, 1, 2, 5]);
        assert_eq!(front(&[tried(&[f64::NAN, 0.0]), tried(&[1.0, 1.0])]), [1]);
    }

    proptest! {
        #[test]
        fn every_point_is_on_the_front_or_beaten_by_one_of_it(
            values in prop::collection::vec(prop::array::uniform3(0u8..6), 1..40)
        ) {
            let points: Vec<Tried> = values.iter().map(|v| tried(&v.map(f64::from))).collect();
            let front = front(&points);
            let no_worse = |a: usize, b: usize| (0..3).all(|i| values[a][i] <= values[b][i]);
            for b in 0..points.len() {
                let by = front.iter().filter(|a| **a != b && no_worse(**a, b)).count();
                prop_assert_eq!(front.contains(&b), by == 0, "point {} of {:?}", b, values);
            }
        }
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field("et pairs"), "et pairs");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
