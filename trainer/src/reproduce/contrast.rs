//! A difference between two ways of doing things, and what may be concluded from it.

use growmerge::eval::Estimate;
use serde::Serialize;

use super::book::Book;
use super::form::{Form, t_quantile};

/// A difference in bits per byte. Below zero, what comes first is better.
#[derive(Clone, Debug, Serialize)]
pub struct Contrast {
    /// What minus what.
    pub what: String,
    /// Of each seed.
    pub by_seed: Vec<f64>,
    /// Mean and standard error over seeds.
    pub over_seeds: Estimate,
    /// Standard error over sentences, with these models.
    pub over_sentences: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
}

/// What follows from a contrast. *Clear* is a mean that is more than twice its standard error over sentences away from
/// zero, and more than Student's 97.5 % quantile times its standard error over seeds. Both, because the error over two
/// seeds is itself known badly: it may be small by luck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Clearly below zero.
    Below,
    /// All seeds are below zero, but it is not clear.
    LeansBelow,
    /// Seeds differ in sign, or there is one only.
    Open,
    /// All seeds are above zero, but it is not clear.
    LeansAbove,
    /// Clearly above zero.
    Above,
}

impl Verdict {
    fn of(by_seed: &[f64], over_seeds: Estimate, over_sentences: Option<f64>) -> Self {
        let Some(error) = over_seeds.error else { return Self::Open };
        let mean = over_seeds.value.abs();
        let clear = mean > t_quantile(by_seed.len()) * error && mean > 2.0 * over_sentences.unwrap_or(0.0);
        match (by_seed.iter().all(|v| *v < 0.0), by_seed.iter().all(|v| *v > 0.0)) {
            (true, _) if clear => Self::Below,
            (true, _) => Self::LeansBelow,
            (_, true) if clear => Self::Above,
            (_, true) => Self::LeansAbove,
            _ => Self::Open,
        }
    }

    /// Whether it settles anything.
    pub(super) fn is_clear(self) -> bool {
        matches!(self, Self::Below | Self::Above)
    }

    /// What it means for a claim that says that the contrast is below zero.
    pub(super) fn for_claim(self) -> &'static str {
        match self {
            Self::Below => "holds here",
            Self::LeansBelow => "points towards it",
            Self::Open => "open",
            Self::LeansAbove => "points against it",
            Self::Above => "the opposite holds here",
        }
    }

    /// What it means for what comes first, where no claim says which is better.
    pub(super) fn for_first(self) -> &'static str {
        match self {
            Self::Below => "better",
            Self::LeansBelow => "perhaps better",
            Self::Open => "open",
            Self::LeansAbove => "perhaps worse",
            Self::Above => "worse",
        }
    }

    /// The reason in words.
    fn reason(self) -> &'static str {
        match self {
            Self::Below | Self::Above => "the 95 % intervals over seeds and over sentences exclude zero",
            Self::LeansBelow | Self::LeansAbove => {
                "all seeds have this sign, but the 95 % interval over so few seeds, or that over sentences, includes zero"
            }
            Self::Open => "seeds differ in sign, or there is only one",
        }
    }
}

impl Contrast {
    /// Of a form.
    pub(super) fn new(book: &Book, what: impl Into<String>, form: &Form) -> Self {
        let (by_seed, over_seeds) = (form.by_seed(book), form.over_seeds(book));
        let over_sentences = form.over_sentences(book);
        let verdict = Verdict::of(&by_seed, over_seeds, over_sentences);
        Self { what: what.into(), by_seed, over_seeds, over_sentences, verdict }
    }

    /// The difference with its errors, and what follows for a claim that says that it is below zero.
    pub(super) fn sentence(&self) -> String {
        let sentences = self.over_sentences.map_or(String::new(), |e| format!(", ± {e:.4} over sentences"));
        format!(
            "{}: {} bits/byte over seeds{sentences}. {}: {}.",
            self.what,
            signed(self.over_seeds),
            capital(self.verdict.for_claim()),
            self.verdict.reason()
        )
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// `+0.0123 ± 0.0045`.
pub(super) fn signed(estimate: Estimate) -> String {
    let error = estimate.error.map_or("– (one seed)".into(), |e| format!("{e:.4}"));
    format!("{:+.4} ± {error}", estimate.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::form::mean;

    fn verdict(values: &[f64], over_sentences: f64) -> Verdict {
        Verdict::of(values, mean(values), Some(over_sentences))
    }

    #[test]
    fn verdicts_go_both_ways_and_heed_how_few_seeds_there_are() {
        assert_eq!(verdict(&[-1.0, -1.01], 0.1), Verdict::Below);
        assert_eq!(verdict(&[-1.0, -2.0], 0.1), Verdict::LeansBelow, "3 errors are not 12.7");
        assert_eq!(verdict(&[-1.0, 0.5], 0.1), Verdict::Open);
        assert_eq!(verdict(&[-1.0], 0.1), Verdict::Open);
        assert_eq!(verdict(&[1.0, 2.0], 0.1), Verdict::LeansAbove);
        assert_eq!(verdict(&[1.0, 1.01], 0.1), Verdict::Above);
        assert_eq!(verdict(&[-1.0, -2.0, -1.5, -1.2, -1.1], 0.1), Verdict::Below);
    }

    #[test]
    fn seeds_that_agree_by_luck_do_not_settle_what_sentences_leave_open() {
        assert_eq!(verdict(&[-0.0100, -0.0101], 0.006), Verdict::LeansBelow);
        assert_eq!(verdict(&[-0.0100, -0.0101], 0.004), Verdict::Below);
    }
}
