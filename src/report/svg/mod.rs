//! Pictures as text: bars, lines and heat maps, each one `<svg>` element for a page with [`super::page()`]'s style.

mod bars;
mod heat;
mod lines;

use std::fmt::Write;

pub use bars::{Bar, bars};
pub use heat::{Heat, heat};
pub use lines::{Line, lines};

use super::junit::escape;

/// Colours that people with any kind of colour vision tell apart (Okabe and Ito), then again from the start.
const COLOURS: [&str; 7] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999"];
const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 48.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 12.0;

/// Names of series below a picture, a line of 20 units each, from [`HEIGHT`] on.
fn legend(series: &[&str]) -> String {
    let mut svg = String::new();
    for (i, name) in series.iter().enumerate() {
        let at = HEIGHT + 20.0 * i as f64;
        let colour = COLOURS[i % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{at}\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            LEFT + 18.0,
            at + 11.0,
            escape(name)
        );
    }
    svg
}

/// A round step that divides a length of `span` on an axis into four to ten parts.
fn tick(span: f64) -> f64 {
    if !(span > 0.0 && span.is_finite()) {
        return 1.0;
    }
    let power = 10f64.powf((span / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
    steps.into_iter().find(|s| span / s <= 8.0).unwrap_or(10.0 * power)
}

/// Decimals that tell the marks of an axis apart.
fn decimals(step: f64) -> usize {
    (-step.log10().floor()).clamp(0.0, 6.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps() {
        for (top, step) in
            [(2.6, 0.5), (4.9, 1.0), (0.31, 0.05), (7.7, 1.0), (88.0, 20.0), (0.0, 1.0), (f64::NAN, 1.0)]
        {
            assert!((tick(top) - step).abs() < 1e-12, "{top}: {}", tick(top));
        }
        assert_eq!([20.0, 1.0, 0.5, 0.05, 0.002].map(decimals), [0, 0, 1, 2, 3]);
    }
}
