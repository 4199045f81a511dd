//! A bar chart: a group for each language, a bar for each model, a whisker for two standard errors.

use std::fmt::Write;

use super::{BOTTOM, COLOURS, HEIGHT, LEFT, TOP, WIDTH, escape, legend, tick};

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Its height.
    pub value: f64,
    /// Standard error.
    pub error: Option<f64>,
}

/// `groups` are languages with a bar for each of `series`; bars that are not finite are left out.
pub fn bars(series: &[&str], groups: &[(String, Vec<Bar>)], unit: &str) -> String {
    let reach = |b: &Bar| b.value + 2.0 * b.error.unwrap_or(0.0);
    let top = groups.iter().flat_map(|g| &g.1).map(reach).filter(|x| x.is_finite()).fold(0.0, f64::max);
    let step = tick(top);
    let top = if top > 0.0 { (top / step).ceil() * step } else { 1.0 };
    let plot = HEIGHT - TOP - BOTTOM;
    let y = |value: f64| TOP + plot * (1.0 - value.clamp(0.0, top) / top);
    let room = 20.0 * series.len() as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{} by language\">\n",
        HEIGHT + room,
        escape(unit)
    );
    for i in 0..=(top / step).round() as usize {
        let value = i as f64 * step;
        let at = y(value);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{WIDTH}\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            LEFT - 6.0,
            at + 4.0,
            value = format_args!("{value:.*}", usize::from(step < 1.0) + usize::from(step < 0.1)),
        );
    }
    let group_width = (WIDTH - LEFT) / groups.len().max(1) as f64;
    let bar_width = (group_width * 0.8 / series.len().max(1) as f64).min(48.0);
    for (g, (language, bars)) in groups.iter().enumerate() {
        let middle = LEFT + group_width * (g as f64 + 0.5);
        let first = middle - bar_width * bars.len() as f64 / 2.0;
        for (i, bar) in bars.iter().enumerate().filter(|(_, b)| b.value.is_finite()) {
            let (x, at) = (first + bar_width * i as f64, y(bar.value));
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{at:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"><title>{}, {}: {:.4} {}</title></rect>",
                bar_width * 0.92,
                y(0.0) - at,
                COLOURS[i % COLOURS.len()],
                escape(language),
                escape(series.get(i).copied().unwrap_or_default()),
                bar.value,
                escape(unit),
            );
            if let Some(error) = bar.error {
                let (x, low, high) =
                    (x + bar_width * 0.46, y(bar.value - 2.0 * error), y(bar.value + 2.0 * error));
                let _ = writeln!(svg, "<path class=\"whisker\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>");
            }
        }
        let at = HEIGHT - BOTTOM + 18.0;
        let _ = writeln!(
            svg,
            "<text x=\"{middle:.1}\" y=\"{at}\" text-anchor=\"middle\">{}</text>",
            escape(language)
        );
    }
    svg += &legend(series);
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        let groups = [("<fo>".to_owned(), vec![Bar { value: 1.0, error: None }])];
        let svg = bars(&["a\"&b"], &groups, "bits/byte");
        assert!(
            svg.contains("&lt;fo&gt;") && svg.contains("a&quot;&amp;b") && !svg.contains("<fo>"),
            "{svg}"
        );
    }
}
