//! Weights by depth and role, without any text. In tied models the embedding is the head too.

use growmerge::problem::Error;

use crate::languages::bench::{Bench, Made};
use crate::languages::contender::{Contender, Kind, Reads};
use crate::languages::point::{Axis, Point};

pub(super) const VALUES: &[f64] = &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0];

const fn axis(name: &'static str) -> Axis {
    Axis::new(name, VALUES, 4)
}

const fn structure(
    name: &'static str,
    about: &'static str,
    axes: &'static [Axis],
    make: fn(&Bench<'_>, &Point) -> Result<Made, Error>,
) -> Contender {
    Contender { name, about, kind: Kind::Structure, reads: Reads::Nothing, axes, after: &[], make }
}

/// All of them.
pub(super) static ALL: &[Contender] = &[
    structure(
        "embedding and body",
        "one factor for the embedding's rows, one for all else",
        &[axis("embedding"), axis("body")],
        |bench, at| {
            let rules = format!("[{}, {{value: {}}}]", rule(bench, at, "embed"), share(bench, at, "body"));
            Ok(sum(bench, rules))
        },
    ),
    structure(
        "embedding + attention + MLP",
        "one factor for each",
        &[axis("embedding"), axis("attention"), axis("mlp")],
        |bench, at| {
            let attention = share(bench, at, "attention");
            let rules = format!(
                "[{}, {{filter: mlp, value: {}}}, {{filter: post_attention_layernorm, value: {}}}, {{value: {attention}}}]",
                rule(bench, at, "embed"),
                share(bench, at, "mlp"),
                share(bench, at, "mlp"),
            );
            Ok(sum(bench, rules))
        },
    ),
    structure(
        "layer swapping",
        "ends of the depth from the experts, the middle averaged",
        &[axis("embedding"), axis("ends"), axis("middle")],
        |bench, at| {
            let layers = swapped(bench, at);
            Ok(sum(bench, format!("[{}, {{value: {layers}}}]", rule(bench, at, "embed"))))
        },
    ),
    structure(
        "slope over layers",
        "a straight line of factors from the first layer to the last",
        &[axis("embedding"), axis("first"), axis("last")],
        |bench, at| {
            let [first, last] = ["first", "last"].map(|name| share(bench, at, name));
            Ok(sum(bench, format!("[{}, {{value: [{first}, {last}]}}]", rule(bench, at, "embed"))))
        },
    ),
];

/// The sum of differences times weights that are rules.
fn sum(bench: &Bench<'_>, rules: String) -> Made {
    bench.merge_from_base("task_arithmetic").with("normalize", false).with("weight", rules).into()
}

/// A factor on the mean of differences as a weight in their sum.
fn share(bench: &Bench<'_>, at: &Point, name: &str) -> f64 {
    at.get(name) / bench.experts.len() as f64
}

/// The rule of the embedding's rows.
fn rule(bench: &Bench<'_>, at: &Point, filter: &str) -> String {
    format!("{{filter: {filter}, value: {}}}", share(bench, at, "embedding"))
}

/// One weight for the first and the last layer, and one for those between, as Layer Swapping has them (Bandarkar et al. 2024,
/// arXiv 2410.01335).
pub(super) fn swapped(bench: &Bench<'_>, at: &Point) -> String {
    let [ends, middle] = ["ends", "middle"].map(|name| share(bench, at, name));
    profile(bench.study.model.layers, |t| if t == 0.0 || t == 1.0 { ends } else { middle })
}

/// A weight for each layer.
fn profile(layers: u64, weight: impl Fn(f64) -> f64) -> String {
    let last = layers.saturating_sub(1).max(1) as f64;
    let weights: Vec<String> = (0..layers).map(|i| weight(i as f64 / last).to_string()).collect();
    format!("[{}]", weights.join(", "))
}
