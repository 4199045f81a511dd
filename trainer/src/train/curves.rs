//! `curves.svg`: the loss of the batches, and of the texts that were measured, over the steps.

use growmerge::report::svg::{Line as Curve, lines};

use super::metrics::Line;

/// Points of the loss that are drawn at most, each the mean of so many steps.
const POINTS: usize = 200;

/// A picture of a run's metrics that stands by itself; nats per token, because that is what a loss is.
pub(super) fn picture(metrics: &[Line]) -> String {
    let steps = metrics.iter().filter_map(|line| match line {
        Line::Step { step, loss, .. } => Some((*step as f64, *loss)),
        Line::Measured { .. } => None,
    });
    let steps: Vec<(f64, f64)> = steps.collect();
    let mean = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        (part.iter().map(|p| p.0).sum::<f64>() / n, part.iter().map(|p| p.1).sum::<f64>() / n, None)
    };
    let each = steps.len().div_ceil(POINTS).max(1);
    let mut curves = vec![Curve { name: "training".into(), points: steps.chunks(each).map(mean).collect() }];
    for line in metrics {
        let Line::Measured { step, validation, .. } = line else { continue };
        for (language, score) in validation {
            let point = (*step as f64, score.nats_per_token, None);
            match curves.iter_mut().skip(1).find(|c| c.name == *language) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { name: language.clone(), points: vec![point] }),
            }
        }
    }
    // As a file of its own it needs the namespace, and the style that a report has for all its pictures.
    lines(&curves, "step", "nats per token")
        .replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1)
        .replacen(">\n", "><style>text{font:12px sans-serif}.grid{stroke:#ddd;fill:none}</style>\n", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Score, Scores};

    #[test]
    fn every_language_has_a_curve_and_the_picture_a_namespace() {
        let step = |step: u64| Line::Step {
            step,
            loss: 8.0 / step as f64,
            lr: 0.1,
            gradient_norm: 1.0,
            tokens: step,
            seconds: 0.0,
        };
        let measured = |step: u64| Line::Measured {
            step,
            validation: Scores::from([("fo".into(), Score { bits_per_byte: 1.0, nats_per_token: 2.0 })]),
            asymmetry: None,
        };
        let mut metrics: Vec<Line> = (1..=1000).map(step).collect();
        metrics.extend([measured(0), measured(1000)]);
        let svg = picture(&metrics);
        assert!(svg.starts_with("<svg xmlns="), "{svg}");
        assert!(svg.contains("training") && svg.contains(">fo<") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.len() < 40_000, "a long run makes no long file: {}", svg.len());
    }
}
