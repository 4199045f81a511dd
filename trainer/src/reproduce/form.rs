//! Sums of measurements: a mean, a distance, a difference of distances; each with its standard errors.
//!
//! Everything that the report says is a linear form of bits per byte, so there is one place where errors come from.
//! Over seeds: the values of the seeds are a sample, their mean has the error `sd / √n`. Over sentences: models and seeds
//! are taken as they are; the forms of single sentences are a sample of each language's text, see [`ratio`].

use std::collections::BTreeSet;

use growmerge::eval::{Estimate, ratio};

use super::book::{Book, Edge};
use super::subject::{Setup, Subject, Tuning};

/// `Σ factor · bits(setup, subject, language)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Form(Vec<Term>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Term {
    factor: f64,
    setup: Setup,
    subject: Subject,
    language: &'static str,
}

impl Form {
    /// Bits per byte of a model on a language's text.
    pub(super) fn bits(setup: Setup, subject: Subject, language: &'static str) -> Self {
        Self(vec![Term { factor: 1.0, setup, subject, language }])
    }

    /// The mean of forms.
    pub(super) fn mean(forms: impl IntoIterator<Item = Self>) -> Self {
        let forms: Vec<Self> = forms.into_iter().collect();
        let share = 1.0 / forms.len().max(1) as f64;
        Self(forms.into_iter().flat_map(|f| f.0).map(|t| Term { factor: t.factor * share, ..t }).collect())
    }

    /// This form minus another.
    #[must_use]
    pub(super) fn minus(mut self, other: Self) -> Self {
        self.0.extend(other.0.into_iter().map(|t| Term { factor: -t.factor, ..t }));
        self
    }

    /// Its value for one seed; `None` if something in it was not measured.
    pub(super) fn at(&self, book: &Book, seed: u64) -> Option<f64> {
        let term = |t: &Term| Some(t.factor * book.bits(seed, t.setup, t.subject, t.language)?.value);
        self.0.iter().map(term).sum()
    }

    /// Its values for all seeds that have one.
    pub(super) fn by_seed(&self, book: &Book) -> Vec<f64> {
        book.seeds.iter().filter_map(|s| self.at(book, *s)).collect()
    }

    /// Its mean over seeds, with the standard error of that.
    pub(super) fn over_seeds(&self, book: &Book) -> Estimate {
        mean(&self.by_seed(book))
    }

    /// The choices of lambda behind it; `None` if it has none.
    pub(super) fn edge(&self, book: &Book) -> Option<Edge> {
        let chosen = |t: &Term| match t.subject {
            Subject::Merge(subset, method, Tuning::Swept) => Some((t.setup, subset, method)),
            _ => None,
        };
        let chosen: BTreeSet<_> = self.0.iter().filter_map(chosen).collect();
        let edge = book.edge(|setup, subset, method| chosen.contains(&(setup, subset, method)));
        (edge.of > 0).then_some(edge)
    }

    /// The standard error of its mean over seeds if other sentences of the same kinds of text were measured.
    pub(super) fn over_sentences(&self, book: &Book) -> Option<f64> {
        let mut languages: Vec<&'static str> = self.0.iter().map(|t| t.language).collect();
        languages.sort_unstable();
        languages.dedup();
        let variance = |language: &&'static str| -> Option<f64> {
            let share = 1.0 / book.seeds.len() as f64;
            let mut sums: Vec<(f64, f64)> = Vec::new();
            for term in self.0.iter().filter(|t| t.language == *language) {
                for seed in &book.seeds {
                    let sentences = book.sentences(*seed, term.setup, term.subject, term.language)?;
                    sums.resize(sentences.len(), (0.0, 0.0));
                    for (sum, (bits, bytes)) in sums.iter_mut().zip(sentences) {
                        *sum = (sum.0 + share * term.factor * bits, bytes);
                    }
                }
            }
            ratio(&sums).error.map(|e| e * e)
        };
        languages.iter().map(variance).sum::<Option<f64>>().map(f64::sqrt)
    }
}

/// The mean of a sample and its standard error.
pub(crate) fn mean(values: &[f64]) -> Estimate {
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - value).powi(2)).sum();
    Estimate { value, error: (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt()) }
}

/// The half-width of a 95 % interval in standard errors, for a mean of `n` values: the 97.5 % quantile of Student's t
/// with `n - 1` degrees of freedom. From eleven values on, that of eleven, which is a little too wide.
pub(crate) fn t_quantile(n: usize) -> f64 {
    const TABLE: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    TABLE[n.saturating_sub(2).min(TABLE.len() - 1)]
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::reproduce::texts::all_languages;

    /// A book of two sentences of 10 and 30 bytes in each language, with the given bits of each by seed and setup.
    pub(in crate::reproduce) fn book(entries: &[(u64, Setup, Subject, [f64; 2])]) -> Book {
        let bytes: BTreeMap<_, _> = all_languages().map(|l| (l, vec![10, 30])).collect();
        let mut book = Book::of_bytes(bytes, all_languages().map(|l| (l, (16, 2))).collect());
        for (seed, setup, subject, bits) in entries {
            let nats = bits.map(|b| b * std::f64::consts::LN_2).to_vec();
            book.insert(*seed, *setup, *subject, all_languages().map(|l| (l, nats.clone())).collect());
        }
        book
    }

    /// A model's seed, setup, name and bits by language.
    pub(in crate::reproduce) type ByLanguage<'a> = (u64, Setup, Subject, &'a dyn Fn(&str) -> f64);

    /// The same with one sentence of 40 bytes, whose bits depend on the language.
    pub(in crate::reproduce) fn book_by_language(entries: &[ByLanguage<'_>]) -> Book {
        let bytes: BTreeMap<_, _> = all_languages().map(|l| (l, vec![40])).collect();
        let mut book = Book::of_bytes(bytes, all_languages().map(|l| (l, (8, 1))).collect());
        for (seed, setup, subject, bits) in entries {
            let nats = all_languages().map(|l| (l, vec![bits(l) * std::f64::consts::LN_2]));
            book.insert(*seed, *setup, *subject, nats.collect());
        }
        book
    }

    #[test]
    fn errors_over_seeds_are_those_worked_out_by_hand() {
        let english = Subject::English;
        let book = book(&[
            (1, Setup::Small, english, [20.0, 60.0]),
            (1, Setup::Grown, english, [15.0, 65.0]),
            (2, Setup::Small, english, [30.0, 70.0]),
            (2, Setup::Grown, english, [24.0, 64.0]),
        ]);
        let form = Form::bits(Setup::Grown, english, "fo").minus(Form::bits(Setup::Small, english, "fo"));
        // Seed 1: 80/40 - 80/40 = 0; seed 2: 88/40 - 100/40 = -0.3. Mean -0.15; sd 0.3/√2, error 0.3/2.
        let by_seed = form.by_seed(&book);
        assert!((by_seed[0]).abs() < 1e-12 && (by_seed[1] + 0.3).abs() < 1e-12, "{by_seed:?}");
        let estimate = form.over_seeds(&book);
        assert!((estimate.value + 0.15).abs() < 1e-12);
        assert!((estimate.error.unwrap() - 0.15).abs() < 1e-12);
        // Sentences, mean of seeds: bits -5.5 of 10 bytes and -0.5 of 30; ratio -6/40 = -0.15.
        // Residuals (-5.5 + 1.5)/40 = -0.1 and (-0.5 + 4.5)/40 = 0.1: √(2 · (0.01 + 0.01)) = 0.2.
        assert!((form.over_sentences(&book).unwrap() - 0.2).abs() < 1e-12);
        // The same in two languages: half of each, so errors of 0.1 that are independent.
        let two = Form::mean(
            ["fo", "sv"]
                .map(|l| Form::bits(Setup::Grown, english, l).minus(Form::bits(Setup::Small, english, l))),
        );
        assert!((two.over_sentences(&book).unwrap() - 0.2 / 2f64.sqrt()).abs() < 1e-12);
        assert!((two.over_seeds(&book).value + 0.15).abs() < 1e-12);
    }

    #[test]
    fn what_was_not_measured_has_no_value() {
        let book = book(&[(1, Setup::Small, Subject::English, [1.0, 2.0])]);
        let form = Form::bits(Setup::Small, Subject::Joint, "fo");
        assert_eq!(form.at(&book, 1), None);
        assert_eq!(form.over_sentences(&book), None);
        let one = Form::bits(Setup::Small, Subject::English, "fo").over_seeds(&book);
        assert_eq!(one.error, None, "one seed says nothing about others");
    }

    #[test]
    fn a_mean_of_two_needs_nearly_thirteen_errors() {
        assert_eq!(
            (t_quantile(2), t_quantile(3), t_quantile(11), t_quantile(40)),
            (12.706, 4.303, 2.228, 2.228)
        );
    }
}
