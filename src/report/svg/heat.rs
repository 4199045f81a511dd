//! A heat map: a row and a column of names, and a coloured cell with its number for each pair.

use std::fmt::Write;

use super::{WIDTH, escape};

/// What a heat map shows.
#[derive(Clone, Debug)]
pub struct Heat {
    /// Names of rows.
    pub rows: Vec<String>,
    /// Names of columns.
    pub columns: Vec<String>,
    /// A list for each row with a value for each column; cells that are not finite stay empty.
    pub values: Vec<Vec<f64>>,
}

/// Room for the names of rows.
const NAMES: f64 = 150.0;
/// Height of a row.
const ROW: f64 = 20.0;
/// From low to high: steps of viridis, which stay in order in grey and for all kinds of colour vision.
const SCALE: [[f64; 3]; 5] =
    [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];

/// The picture; `unit` says what the numbers are. The lowest value of all is the brightest.
pub fn heat(map: &Heat, unit: &str) -> String {
    let finite = || map.values.iter().flatten().filter(|v| v.is_finite());
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
    let width = (WIDTH - NAMES) / map.columns.len().max(1) as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{}\">\n",
        ROW * (map.rows.len() + 1) as f64,
        escape(unit)
    );
    for (c, name) in map.columns.iter().enumerate() {
        let at = NAMES + width * (c as f64 + 0.5);
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"14\" text-anchor=\"middle\">{}</text>", escape(name));
    }
    for (r, (name, values)) in map.rows.iter().zip(&map.values).enumerate() {
        let top = ROW * (r + 1) as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            NAMES - 8.0,
            top + 14.0,
            escape(name)
        );
        for (c, value) in values.iter().enumerate().filter(|(_, v)| v.is_finite()) {
            let share = if high > low { (high - value) / (high - low) } else { 0.5 };
            let ([red, green, blue], ink) = colour(share);
            let left = NAMES + width * c as f64;
            let _ = writeln!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{top:.0}\" width=\"{width:.1}\" height=\"{ROW}\" fill=\"rgb({red:.0},{green:.0},{blue:.0})\">\
                 <title>{}, {}: {value:.4} {}</title></rect>\
                 <text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\" style=\"fill:{ink}\">{value:.3}</text>",
                escape(name),
                escape(map.columns.get(c).map_or("", String::as_str)),
                escape(unit),
                left + width / 2.0,
                top + 14.0,
            );
        }
    }
    svg + "</svg>\n"
}

/// A colour between the ends of the scale, and that of text on it.
fn colour(share: f64) -> ([f64; 3], &'static str) {
    let at = share.clamp(0.0, 1.0) * (SCALE.len() - 1) as f64;
    let below = (at as usize).min(SCALE.len() - 2);
    let part = at - below as f64;
    let mix = |i: usize| SCALE[below][i] * (1.0 - part) + SCALE[below + 1][i] * part;
    (std::array::from_fn(mix), if share > 0.55 { "#111" } else { "#fff" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_value_is_the_brightest_and_no_number_is_empty() {
        let map = Heat {
            rows: vec!["a<".into()],
            columns: vec!["x".into(), "y".into(), "z".into()],
            values: vec![vec![1.0, 3.0, f64::NAN]],
        };
        let svg = heat(&map, "bits/byte");
        assert!(svg.contains("rgb(253,231,37)\"><title>a&lt;, x: 1.0000 bits/byte"), "{svg}");
        assert!(svg.contains("rgb(68,1,84)\"><title>a&lt;, y: 3.0000 bits/byte"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2);
    }

    #[test]
    fn colours_run_through_the_scale() {
        assert_eq!(colour(0.5).0, SCALE[2]);
        assert_eq!(colour(-1.0).0, SCALE[0]);
        assert_eq!(colour(f64::INFINITY).0, SCALE[4]);
    }
}
