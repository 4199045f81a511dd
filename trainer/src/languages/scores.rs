//! Bits per byte of one model in each language, and what is made of them.

use std::collections::BTreeMap;

use growmerge::eval::Estimate;

use crate::reproduce::yardstick::{Nats, Yardstick, bits_per_byte};
use crate::reproduce::{ENGLISH, LANGUAGES};

/// Bits per byte by language, with errors over sentences.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scores(pub BTreeMap<&'static str, Estimate>);

impl Scores {
    /// Of what was measured.
    pub(super) fn new(yardstick: &Yardstick, nats: &Nats) -> Self {
        Self(nats.iter().map(|(l, _)| (*l, bits_per_byte(yardstick, nats, l))).collect())
    }

    /// Of a language; not a number if it was not measured.
    pub(super) fn of(&self, language: &str) -> f64 {
        self.0.get(language).map_or(f64::NAN, |e| e.value)
    }

    /// Mean of the five languages.
    pub(super) fn five(&self) -> f64 {
        LANGUAGES.iter().map(|l| self.of(l)).sum::<f64>() / LANGUAGES.len() as f64
    }

    /// Of English.
    pub(super) fn english(&self) -> f64 {
        self.of(ENGLISH)
    }
}

/// What a contender's settings are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Goal {
    /// The mean of the five languages.
    Five,
    /// The mean of six, English being one.
    Six,
}

impl Goal {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Five, Self::Six];

    /// As files have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Five => "five",
            Self::Six => "six",
        }
    }

    /// What it makes of scores; lower is better, and what is no number is worst.
    pub(super) fn of(self, scores: &Scores) -> f64 {
        let five = LANGUAGES.len() as f64;
        let score = match self {
            Self::Five => scores.five(),
            Self::Six => (five * scores.five() + scores.english()) / (five + 1.0),
        };
        if score.is_nan() { f64::INFINITY } else { score }
    }
}

/// The share of the gap between the best classical merge and joint training that a merge closes: 0 is as good as the
/// one, 1 as good as the other. All three are means of five languages.
pub(super) fn gap_closed(classical: f64, merge: f64, joint: f64) -> f64 {
    (classical - merge) / (classical - joint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(five: [f64; 5], english: f64) -> Scores {
        let all = LANGUAGES.into_iter().zip(five).chain([(ENGLISH, english)]);
        Scores(all.map(|(l, value)| (l, Estimate { value, error: None })).collect())
    }

    #[test]
    fn english_is_one_of_six_or_nothing() {
        let scores = scores([1.0, 2.0, 3.0, 4.0, 5.0], 9.0);
        assert_eq!((scores.five(), scores.english()), (3.0, 9.0));
        assert_eq!((Goal::Five.of(&scores), Goal::Six.of(&scores)), (3.0, 4.0));
        assert_eq!(Goal::Six.of(&Scores::default()), f64::INFINITY);
    }

    #[test]
    fn the_gap_is_worked_out_by_hand() {
        // Task arithmetic 4.76, joint 2.12: coefficients by row at 2.71 close 78 %.
        assert!((gap_closed(4.76, 2.71, 2.12) - 0.7765).abs() < 1e-4);
        assert_eq!(gap_closed(4.0, 4.0, 2.0), 0.0);
        assert_eq!(gap_closed(4.0, 2.0, 2.0), 1.0);
        assert_eq!(gap_closed(4.0, 5.0, 2.0), -0.5);
    }
}
