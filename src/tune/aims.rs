//! What a search makes small: it needs values alone, so minimal pairs can be part of it.

use super::divided::divided;
use super::objective::{Goal, bits};
use super::search::Search;
use crate::eval::{Judged, Measured, Pairs, Prepared, Tokenizer};
use crate::problem::{Problem, Problems};

/// Texts, minimal pairs or both. The objective is the weighted mean of bits per byte of texts, plus the weighted mean of
/// the part of pairs that is judged wrong.
#[derive(Debug)]
pub struct Aims {
    texts: Option<Goal>,
    /// Of each text what points are tried on.
    samples: Vec<Prepared>,
    pairs: Vec<OfPairs>,
    /// Tokens of the longest window.
    pub(super) context: usize,
}

/// Pairs of one language in tokens.
#[derive(Debug)]
struct OfPairs {
    language: String,
    /// Those of all pairs sum to one.
    weight: f64,
    fit: Prepared,
    held_out: Prepared,
    /// Of both.
    count: usize,
}

/// One of the means that an objective is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// The language, with `pairs` behind it where it is of these.
    pub name: String,
    /// Its share in the objective.
    pub weight: f64,
    /// Bytes of text, or pairs.
    pub amount: usize,
    /// The part of pairs that is judged wrong, else bits per byte.
    pub of_pairs: bool,
}

impl Goal {
    /// What the objective is made of.
    pub fn measures(&self) -> Vec<Measure> {
        let measure = |language: &super::Language| Measure {
            name: language.name.clone(),
            weight: language.weight,
            amount: language.bytes,
            of_pairs: false,
        };
        self.languages.iter().map(measure).collect()
    }
}

impl Aims {
    /// Takes a sample of each text, and holds out every eighth block of 16 pairs (of few pairs every eighth), each file of
    /// which counts as often as is said.
    ///
    /// # Errors
    /// What is wrong with any of the pairs, together; if there is nothing.
    pub fn new(
        texts: Option<Goal>,
        pairs: Vec<(f64, Pairs)>,
        (tokenizer, vocab, context): (&Tokenizer, usize, usize),
        settings: &Search,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let total: f64 = pairs.iter().map(|(weight, _)| weight).sum();
        let mut prepared = Vec::new();
        for (weight, pairs) in pairs {
            if !(weight.is_finite() && weight > 0.0) {
                let what = format!("counts {weight} times; it must be a number above zero");
                problems.push(Problem::error(&pairs.language, what).hint("leave its pairs out instead"));
                continue;
            }
            match OfPairs::new(&pairs, weight / total, tokenizer, vocab, context) {
                Ok(pairs) => prepared.push(pairs),
                Err(found) => problems.extend(found),
            }
        }
        if texts.is_none() && prepared.is_empty() && !problems.has_errors() {
            let problem = Problem::error("", "there is nothing to search by");
            problems.push(problem.hint("give texts with --texts DIR, or pairs with --pairs LANG=FILE"));
        }
        if problems.has_errors() {
            return Err(problems);
        }
        let languages = texts.iter().flat_map(|goal| &goal.languages).enumerate();
        let samples =
            languages.map(|(i, l)| l.sample(settings.tokens, settings.seed ^ (i as u64) << 32)).collect();
        Ok(Self { texts, samples, pairs: prepared, context })
    }

    /// What the objective is made of, in the order of its values.
    pub fn measures(&self) -> Vec<Measure> {
        let texts = self.texts.iter().flat_map(Goal::measures);
        let pairs = self.pairs.iter().map(|pairs| Measure {
            name: format!("{} pairs", pairs.language),
            weight: pairs.weight,
            amount: pairs.count,
            of_pairs: true,
        });
        texts.chain(pairs).collect()
    }

    /// What points are tried on.
    pub(super) fn fit(&self) -> Vec<&Prepared> {
        self.samples.iter().chain(self.pairs.iter().map(|pairs| &pairs.fit)).collect()
    }

    /// What decides which of them is kept.
    pub(super) fn held_out(&self) -> Vec<&Prepared> {
        let texts = self.texts.iter().flat_map(Goal::watched);
        texts.chain(self.pairs.iter().map(|pairs| &pairs.held_out)).collect()
    }

    /// The value of each measure, from what was measured of all.
    pub(super) fn values(&self, measured: &[Measured]) -> Vec<f64> {
        let (texts, pairs) = measured.split_at(self.samples.len().min(measured.len()));
        let mut values = bits(texts);
        values.extend(pairs.iter().map(|pairs| 1.0 - Judged::new(pairs).accuracy().value));
        values
    }

    /// The objective.
    pub(super) fn value(&self, values: &[f64]) -> f64 {
        let weights = self.texts.iter().flat_map(|goal| goal.languages.iter().map(|l| l.weight));
        let weights = weights.chain(self.pairs.iter().map(|pairs| pairs.weight));
        weights.zip(values).map(|(weight, value)| weight * value).sum()
    }
}

impl OfPairs {
    fn new(
        pairs: &Pairs,
        weight: f64,
        tokenizer: &Tokenizer,
        vocab: usize,
        context: usize,
    ) -> Result<Self, Problems> {
        // All of them first: what is wrong is told by the number that a pair has in its file.
        pairs.prepare(tokenizer, vocab, context)?;
        let both: Vec<&[String]> = pairs.sentences.chunks_exact(2).collect();
        let count = both.len();
        let (fit, held_out) = divided(both);
        if fit.is_empty() || held_out.is_empty() {
            let what =
                format!("there is a single pair of `{}`, and nothing is left to hold out", pairs.language);
            return Err(Problem::error("--pairs", what).hint("give more pairs").into());
        }
        let prepare = |part: Vec<&[String]>| {
            let part = Pairs { language: pairs.language.clone(), sentences: part.concat() };
            part.prepare(tokenizer, vocab, context)
        };
        let (fit, held_out) = (prepare(fit)?, prepare(held_out)?);
        Ok(Self { language: pairs.language.clone(), weight, fit, held_out, count })
    }
}
