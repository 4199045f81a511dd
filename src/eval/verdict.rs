//! What a later evaluation is worth against a baseline.
//!
//! A language has become worse if its bits per byte grew beyond its tolerance *and* beyond noise. Noise is
//! small: both evaluations saw the same text, so only the differences of their units count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, rounded};
use super::measure::Sums;
use super::run::{Evaluation, Language};
use super::statistics::{Estimate, paired, ratio};

/// How much worse a language may become.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerance {
    /// A part of the baseline's bits per byte.
    Relative(f64),
    /// Bits per byte.
    BitsPerByte(f64),
}

impl Tolerance {
    /// `1%`, or `0.02` bits per byte.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |t: &str| t.trim().parse::<f64>().ok().filter(|x| x.is_finite() && *x >= 0.0);
        match text.trim().strip_suffix('%') {
            Some(percent) => number(percent).map(|x| Self::Relative(x / 100.0)),
            None => number(text).map(Self::BitsPerByte),
        }
    }

    pub(super) fn is_sound(self) -> bool {
        let (Self::Relative(x) | Self::BitsPerByte(x)) = self;
        x.is_finite() && x >= 0.0
    }

    /// In bits per byte, from where the baseline is.
    fn bits(self, before: f64) -> f64 {
        match self {
            Self::Relative(part) => part * before,
            Self::BitsPerByte(bits) => bits,
        }
    }
}

/// What the user allows.
#[derive(Clone, Debug, Default)]
pub struct Tolerances {
    /// Of every language that is not listed.
    pub all: Option<Tolerance>,
    /// Of single languages.
    pub each: BTreeMap<String, Tolerance>,
}

/// Where nothing else is said.
const DEFAULT: Tolerance = Tolerance::Relative(0.01);

/// Standard errors that a difference must exceed to count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise(pub f64);

/// What became of a language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Not worse.
    NotWorse,
    /// Worse, but no more than is tolerated.
    WithinTolerance,
    /// Worse than is tolerated, but it may be chance.
    WithinNoise,
    /// Worse than is tolerated, and hardly by chance.
    Worse,
}

/// The verdict on one language, all in bits per byte.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The language.
    pub language: String,
    /// The baseline.
    pub before: f64,
    /// Now.
    pub now: f64,
    /// Now minus before, with the error of the difference.
    pub difference: Estimate,
    /// How much worse is tolerated.
    pub tolerance: f64,
    /// The verdict.
    pub why: Why,
}

impl Verdict {
    /// The verdict in words.
    pub fn explain(&self) -> String {
        let change = 100.0 * self.difference.value / self.before;
        let tolerated = 100.0 * self.tolerance / self.before;
        match self.why {
            Why::NotWorse if self.difference.value == 0.0 => "the same".into(),
            Why::NotWorse => format!("better by {:.3} %", -change),
            Why::WithinTolerance => format!("worse by {change:.3} %, {tolerated:.3} % are tolerated"),
            Why::WithinNoise => {
                format!("worse by {change:.3} %, beyond the tolerated {tolerated:.3} %, but within noise")
            }
            Why::Worse => format!("worse by {change:.3} %, beyond noise and the tolerated {tolerated:.3} %"),
        }
    }
}

impl Baseline {
    /// Judges every language of an evaluation that [`Baseline::fits`].
    pub fn judge(&self, evaluation: &Evaluation, tolerances: &Tolerances, noise: Noise) -> Vec<Verdict> {
        let judge = |l: &Language| {
            let kept = self.languages.get(&l.language)?;
            let before = kept.bits();
            let given = tolerances.each.get(&l.language).copied().or(tolerances.all);
            let tolerance = given.or(kept.tolerance).or(self.tolerance).unwrap_or(DEFAULT);
            Some(verdict(l, &before, tolerance, noise))
        };
        evaluation.languages.iter().filter_map(judge).collect()
    }
}

fn verdict(language: &Language, before: &[(f64, f64)], tolerance: Tolerance, noise: Noise) -> Verdict {
    // What is kept is rounded; so must be what is held against it, or nothing would ever be the same.
    let round = |u: &Sums| (rounded(u.nats) / std::f64::consts::LN_2, u.bytes as f64);
    let now: Vec<(f64, f64)> = language.measured.units.iter().map(round).collect();
    let difference = paired(&now, before);
    let before = ratio(before).value;
    let tolerance = tolerance.bits(before);
    let why = if difference.value <= 0.0 {
        Why::NotWorse
    } else if difference.value <= tolerance {
        Why::WithinTolerance
    } else if difference.value <= noise.0 * difference.error.unwrap_or(0.0) {
        Why::WithinNoise
    } else {
        Why::Worse
    };
    Verdict {
        language: language.language.clone(),
        before,
        now: ratio(&now).value,
        difference,
        tolerance,
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::baseline::tests::evaluation;

    fn judged(before: &[f64], now: &[f64], tolerance: &str) -> Why {
        let baseline = Baseline::keep(&evaluation(before), "m", &Tolerances::default(), None);
        let tolerances = Tolerances { all: Tolerance::parse(tolerance), each: BTreeMap::new() };
        baseline.judge(&evaluation(now), &tolerances, Noise(2.0)).remove(0).why
    }

    #[test]
    fn a_language_fails_beyond_tolerance_and_noise_only() {
        let before = [10.0, 12.0, 14.0, 16.0];
        let plus = |x: [f64; 4]| [10.0 + x[0], 12.0 + x[1], 14.0 + x[2], 16.0 + x[3]];
        assert_eq!(judged(&before, &before, "0"), Why::NotWorse);
        assert_eq!(judged(&before, &plus([-0.1; 4]), "0"), Why::NotWorse);
        assert_eq!(judged(&before, &plus([0.1; 4]), "2%"), Why::WithinTolerance);
        assert_eq!(judged(&before, &plus([0.1, 0.12, 0.11, 0.09]), "0.5%"), Why::Worse);
        assert_eq!(judged(&before, &plus([0.6, -0.5, 0.5, -0.2]), "0.5%"), Why::WithinNoise);
        assert_eq!(judged(&[10.0], &[10.5], "0.5%"), Why::Worse, "one unit knows no noise");
        assert_eq!(judged(&before, &plus([0.1; 4]), "0.02"), Why::WithinTolerance, "0.0144 bits per byte");
    }
}
