//! Curves over a common axis, with a whisker for two standard errors where a point has one.

use std::fmt::Write;

use super::{BOTTOM, COLOURS, HEIGHT, LEFT, TOP, WIDTH, decimals, escape, legend, tick};

/// One curve.
#[derive(Clone, Debug)]
pub struct Line {
    /// For the legend.
    pub name: String,
    /// In the order of `x`: `x`, `y` and the standard error of `y`.
    pub points: Vec<(f64, f64, Option<f64>)>,
}

/// Up to this many points of a line are marked, each with its numbers.
const MARKED: usize = 24;

/// Curves with the names of both axes. The axis of `y` does not begin at 0. A point that is not finite
/// is left out, and parts the curve.
pub fn lines(series: &[Line], x_name: &str, y_name: &str) -> String {
    let finite = |p: &&(f64, f64, Option<f64>)| p.0.is_finite() && p.1.is_finite();
    let points = || series.iter().flat_map(|l| &l.points).filter(finite);
    let (left, right, _) = axis(points().map(|p| p.0));
    let reach = |p: &(f64, f64, Option<f64>)| {
        let error = 2.0 * p.2.unwrap_or(0.0);
        [p.1 - error, p.1 + error]
    };
    let (low, high, step) = axis(points().flat_map(reach));
    let x = |value: f64| LEFT + (WIDTH - LEFT - 8.0) * (value - left) / (right - left);
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{} by {}\">\n",
        HEIGHT + 20.0 * series.len() as f64,
        escape(y_name),
        escape(x_name)
    );
    for (value, text) in marks(low, high, step) {
        let at = y(value);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{WIDTH}\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            LEFT - 6.0,
            at + 4.0,
        );
    }
    // Steps and layers are counted; there is nothing half way between two.
    let counted = points().all(|p| p.0.fract() == 0.0);
    for (value, text) in marks(left, right, tick(right - left).max(if counted { 1.0 } else { 0.0 })) {
        let (at, below) = (x(value), HEIGHT - BOTTOM + 18.0);
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{text}</text>");
    }
    let _ = writeln!(
        svg,
        "<text x=\"{WIDTH}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
        HEIGHT - BOTTOM - 6.0,
        escape(x_name)
    );
    for (i, line) in series.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let points = line.points.iter().filter(finite).count();
        for run in line.points.split(|p| !finite(&p)).filter(|run| !run.is_empty()) {
            let path: Vec<String> = run.iter().map(|p| format!("{:.1} {:.1}", x(p.0), y(p.1))).collect();
            let path = path.join("L");
            let _ =
                writeln!(svg, "<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>");
            // A point that no line leads to would not be seen.
            for p in run.iter().filter(|_| points <= MARKED || run.len() == 1) {
                let (px, py) = (x(p.0), y(p.1));
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\" fill=\"{colour}\"><title>{}, {}: {:.4}</title></circle>",
                    escape(&line.name),
                    p.0,
                    p.1
                );
                if let Some(error) = p.2 {
                    let (top, bottom) = (y(p.1 + 2.0 * error), y(p.1 - 2.0 * error));
                    let _ = writeln!(svg, "<path class=\"whisker\" d=\"M{px:.1} {top:.1}V{bottom:.1}\"/>");
                }
            }
        }
    }
    let names: Vec<&str> = series.iter().map(|l| l.name.as_str()).collect();
    svg + &legend(&names) + "</svg>\n"
}

/// From, to and step of an axis that holds all values.
fn axis(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if low > high {
        return (0.0, 1.0, 1.0);
    }
    if low == high {
        return (low - 0.5, high + 0.5, 0.5);
    }
    let step = tick(high - low);
    ((low / step).floor() * step, (high / step).ceil() * step, step)
}

/// The marks of an axis with their texts.
fn marks(low: f64, high: f64, step: f64) -> impl Iterator<Item = (f64, String)> {
    let (first, last) = ((low / step).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(move |i| (i as f64 * step, format!("{:.*}", decimals(step), i as f64 * step)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_all_values_and_little_more() {
        assert_eq!(axis([1.0, 3.0].into_iter()), (1.0, 3.0, 0.5));
        assert_eq!(axis([-0.31, 0.02].into_iter()), (-0.35000000000000003, 0.05, 0.05));
        assert_eq!(axis([2.0].into_iter()), (1.5, 2.5, 0.5));
        assert_eq!(axis(std::iter::empty()), (0.0, 1.0, 1.0));
    }

    #[test]
    fn points_that_are_no_numbers_are_left_out_and_part_the_curve() {
        let points = vec![(0.0, 1.0, None), (1.0, f64::NAN, None), (2.0, 2.0, Some(0.1))];
        let svg = lines(&[Line { name: "<a>".into(), points }], "steps", "nats");
        assert!(!svg.contains("NaN") && svg.contains("&lt;a&gt;"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert_eq!(svg.matches("stroke-width=\"1.8\"").count(), 2);
        assert_eq!(svg.matches("whisker").count(), 1);
        assert!(lines(&[], "x", "y").ends_with("</svg>\n"));
    }
}
