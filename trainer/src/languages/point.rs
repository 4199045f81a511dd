//! Settings of a contender: axes of values, and a point on each.

use std::fmt;

/// A setting and the values that are tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    /// What it is called.
    pub name: &'static str,
    /// In ascending order.
    pub values: &'static [f64],
    /// The place of the value that a search begins with.
    pub start: usize,
}

impl Axis {
    /// An axis whose search begins with the value at `start`.
    pub(super) const fn new(name: &'static str, values: &'static [f64], start: usize) -> Self {
        Self { name, values, start }
    }
}

/// A value of each axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Point(Vec<(&'static str, f64)>);

impl Point {
    /// The values at these places.
    pub(super) fn on(axes: &[Axis], places: &[usize]) -> Self {
        let value = |(axis, at): (&Axis, &usize)| Some((axis.name, *axis.values.get(*at)?));
        Self(axes.iter().zip(places).filter_map(value).collect())
    }

    /// The value of an axis; not a number if there is no such axis, which no recipe takes.
    pub(super) fn get(&self, name: &str) -> f64 {
        self.0.iter().find(|(n, _)| *n == name).map_or(f64::NAN, |(_, v)| *v)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.0.iter().map(|(name, value)| format!("{name} {value}")).collect();
        f.write_str(&values.join(", "))
    }
}
