//! A difference between two ways of doing things, and what may be concluded from it.

use growmerge::eval::Estimate;
use serde::Serialize;

use super::book::{Book, Edge};
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
    /// Where lambda was chosen: how often at an end of what was tried.
    pub edge: Option<Edge>,
    /// What follows.
    pub verdict: Verdict,
}

/// What follows from a contrast. *Clear* is a mean that is more than twice its standard error over sentences away from
/// zero, and more than Student's 97.5 % quantile times its standard error over seeds. Both, because the error over two
/// seeds is itself known badly: it may be small by luck. And no lambda in it was chosen at an end of what was tried: what
/// is compared then is not the best of each.
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
    fn of(by_seed: &[f64], over_seeds: Estimate, over_sentences: Option<f64>, edge: Option<Edge>) -> Self {
        let Some(error) = over_seeds.error else { return Self::Open };
        let mean = over_seeds.value.abs();
        let clear = mean > t_quantile(by_seed.len()) * error
            && over_sentences.is_some_and(|error| mean > 2.0 * error)
            && edge.is_none_or(|edge| edge.at == 0);
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
}

impl Contrast {
    /// Of a form.
    pub(super) fn new(book: &Book, what: impl Into<String>, form: &Form) -> Self {
        let (by_seed, over_seeds) = (form.by_seed(book), form.over_seeds(book));
        let (over_sentences, edge) = (form.over_sentences(book), form.edge(book));
        let verdict = Verdict::of(&by_seed, over_seeds, over_sentences, edge);
        Self { what: what.into(), by_seed, over_seeds, over_sentences, edge, verdict }
    }

    /// The difference with its errors, and what follows for a claim that says that it is below zero.
    pub(super) fn sentence(&self) -> String {
        self.sentence_with(self.verdict.for_claim())
    }

    /// The difference with its errors, and what follows for what comes first, where no claim says which is better.
    pub(super) fn sentence_beside(&self) -> String {
        self.sentence_with(self.verdict.for_first())
    }

    fn sentence_with(&self, follows: &str) -> String {
        let sentences = self.over_sentences.map_or(String::new(), |e| format!(", ± {e:.4} over sentences"));
        format!(
            "{}: {} bits/byte over seeds{sentences}. {}: {}.",
            self.what,
            signed(self.over_seeds),
            capital(follows),
            self.reason()
        )
    }

    /// The reason of the verdict in words.
    fn reason(&self) -> String {
        match (self.verdict, self.edge) {
            (Verdict::Below | Verdict::Above, _) => {
                "the 95 % intervals over seeds and over sentences exclude zero".into()
            }
            (Verdict::LeansBelow | Verdict::LeansAbove, Some(edge)) if edge.at > 0 => format!(
                "all seeds have this sign, but {edge} choices of lambda behind it are the first or last that was tried"
            ),
            (Verdict::LeansBelow | Verdict::LeansAbove, _) => {
                "all seeds have this sign, but the 95 % interval over \
                 so few seeds, or that over sentences, includes zero"
                    .into()
            }
            (Verdict::Open, _) => "seeds differ in sign, or there is only one".into(),
        }
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
    use crate::reproduce::book::Swept;
    use crate::reproduce::form::mean;
    use crate::reproduce::form::tests::book;
    use crate::reproduce::subject::{Method, Setup, Subject, Subset, Tuning};

    fn verdict(values: &[f64], over_sentences: f64) -> Verdict {
        Verdict::of(values, mean(values), Some(over_sentences), None)
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
        let values = [-0.0100, -0.0101];
        assert_eq!(
            Verdict::of(&values, mean(&values), None, None),
            Verdict::LeansBelow,
            "unknown is not zero"
        );
    }

    /// Two seeds that differ clearly, with lambda chosen inside what was tried and then at an end of it.
    #[test]
    fn a_lambda_at_the_edge_settles_nothing() {
        let merge = |setup| (setup, Subject::Merge(Subset::WHOLE, Method::Ties, Tuning::Swept));
        let small = |seed| (seed, Setup::Small, merge(Setup::Small).1, [20.0, 60.0]);
        let grown = |seed, bits| (seed, Setup::Grown, merge(Setup::Grown).1, [bits, 3.0 * bits]);
        let mut book = book(&[small(1), grown(1, 10.0), small(2), grown(2, 10.1)]);
        for lambda in [0.1, 1.0, 2.0] {
            let (setup, subset, method) = (Setup::Small, Subset::WHOLE, Method::Ties);
            book.sweep.push(Swept { seed: 1, setup, subset, method, lambda, members: 1.0, english: 1.0 });
        }
        let form = Form::bits(Setup::Grown, merge(Setup::Grown).1, "fo").minus(Form::bits(
            Setup::Small,
            merge(Setup::Small).1,
            "fo",
        ));
        let mut contrast = |lambda| {
            for (seed, setup) in [1, 2].into_iter().flat_map(|s| [(s, Setup::Small), (s, Setup::Grown)]) {
                book.chosen.insert((seed, setup, Subset::WHOLE, Method::Ties), 1.0);
            }
            book.chosen.insert((2, Setup::Grown, Subset::WHOLE, Method::Ties), lambda);
            Contrast::new(&book, "2x minus 1x", &form)
        };
        let inside = contrast(1.0);
        assert_eq!((inside.verdict, inside.edge), (Verdict::Below, Some(Edge { at: 0, of: 4 })));
        for end in [0.1, 2.0] {
            let at_end = contrast(end);
            assert_eq!((at_end.verdict, at_end.edge), (Verdict::LeansBelow, Some(Edge { at: 1, of: 4 })));
            assert!(at_end.sentence().contains("1 of 4 choices of lambda"), "{}", at_end.sentence());
        }
    }
}
