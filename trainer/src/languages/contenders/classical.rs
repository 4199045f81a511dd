//! Methods that take a language like any other task, each with all that it lets one set: they are what the others are
//! held against, so they are searched as thoroughly.

use growmerge::problem::Error;

use crate::languages::bench::{Bench, Made};
use crate::languages::contender::{Contender, Kind, Reads};
use crate::languages::point::{Axis, Point};

/// Factors of a mean of differences; what is summed over five languages is five times as large.
const LAMBDA: Axis =
    Axis::new("lambda", &[0.35, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0, 5.0], 3);
/// The same where what was dropped is made up for.
const SMALL_LAMBDA: Axis = Axis::new("lambda", &[0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0], 5);
const DENSITY: Axis = Axis::new("density", &[0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9], 4);
const GAMMA: Axis = Axis::new("gamma", &[0.0, 0.002, 0.01, 0.05], 2);

const fn classical(
    name: &'static str,
    about: &'static str,
    axes: &'static [Axis],
    make: fn(&Bench<'_>, &Point) -> Result<Made, Error>,
) -> Contender {
    Contender { name, about, kind: Kind::Classical, reads: Reads::Nothing, axes, after: &[], make }
}

/// All of them.
pub(super) static ALL: &[Contender] = &[
    classical("linear", "the mean of the models", &[], |bench, _| {
        Ok(bench.merge("linear").with("weight", 1.0).with("normalize", true).into())
    }),
    classical("multislerp", "the mean of directions, of the mean length", &[], |bench, _| {
        Ok(bench.merge("multislerp").with("weight", 1.0).into())
    }),
    classical("model_stock", "the mean, drawn to the base by angles", &[], |bench, _| {
        Ok(bench.merge_from_base("model_stock").into())
    }),
    classical("task_arithmetic", "the mean of differences, scaled", &[LAMBDA], |bench, at| {
        Ok(scaled(bench, "task_arithmetic", at))
    }),
    classical(
        "multislerp of differences",
        "the mean direction of differences, scaled",
        &[LAMBDA],
        |bench, at| {
            // The length of a result is the weighted mean of lengths, so weights scale it.
            let weight = at.get("lambda") / bench.experts.len() as f64;
            Ok(bench
                .merge_from_base("multislerp")
                .with("weight", weight)
                .with("normalize_weights", false)
                .into())
        },
    ),
    classical("ties", "the largest elements, by elected sign", &[LAMBDA, DENSITY], |bench, at| {
        Ok(thinned(bench, "ties", at).into())
    }),
    classical("dare_linear", "random elements", &[LAMBDA, DENSITY], |bench, at| {
        Ok(thinned(bench, "dare_linear", at).into())
    }),
    classical("dare_ties", "random elements, by elected sign", &[SMALL_LAMBDA, DENSITY], |bench, at| {
        Ok(thinned(bench, "dare_ties", at).into())
    }),
    classical(
        "breadcrumbs",
        "neither the largest nor the smallest",
        &[LAMBDA, DENSITY, GAMMA],
        |bench, at| Ok(thinned(bench, "breadcrumbs", at).with("gamma", at.get("gamma")).into()),
    ),
    classical("breadcrumbs_ties", "the same by elected sign", &[LAMBDA, DENSITY, GAMMA], |bench, at| {
        Ok(thinned(bench, "breadcrumbs_ties", at).with("gamma", at.get("gamma")).into())
    }),
    classical(
        "della",
        "random elements, larger ones rather, by elected sign",
        &[SMALL_LAMBDA, DENSITY],
        |bench, at| {
            let density = at.get("density");
            // Chances are within `epsilon` of the density, and none may leave 0 to 1.
            let epsilon = 0.9 * density.min(1.0 - density).min(0.2);
            Ok(thinned(bench, "della", at).with("epsilon", epsilon).into())
        },
    ),
];

fn scaled(bench: &Bench<'_>, method: &'static str, at: &Point) -> Made {
    let words = bench.merge_from_base(method).with("weight", 1.0).with("normalize", true);
    words.with("lambda", at.get("lambda")).into()
}

fn thinned(bench: &Bench<'_>, method: &'static str, at: &Point) -> crate::languages::words::Words {
    let words = bench.merge_from_base(method).with("weight", 1.0).with("normalize", true);
    words.with("lambda", at.get("lambda")).with("density", at.get("density"))
}
