//! Everything that was measured, to be asked by seed, setup, model and language.

use std::collections::BTreeMap;
use std::fmt;

use growmerge::eval::{Estimate, ratio};
use serde::Serialize;

use super::subject::{Method, Setup, Subject, Subset};
use super::yardstick::{Nats, Yardstick};

/// One point of the search for lambda, in bits per byte of valid text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Swept {
    /// Of the study.
    pub seed: u64,
    /// Where the models come from.
    pub setup: Setup,
    /// Which of them.
    pub subset: Subset,
    /// How they are merged.
    pub method: Method,
    /// Factor on the merged difference.
    pub lambda: f64,
    /// Mean over the subset's languages: what chooses lambda.
    pub members: f64,
    /// Of English.
    pub english: f64,
}

/// How many choices of lambda fell on the first or the last value that was tried: what lies beyond may be better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// So many.
    pub at: usize,
    /// Of so many.
    pub of: usize,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.at, self.of)
    }
}

/// Measurements on test text.
#[derive(Debug)]
pub(super) struct Book {
    /// In ascending order.
    pub seeds: Vec<u64>,
    /// Bytes of each sentence, by language.
    bytes: BTreeMap<&'static str, Vec<usize>>,
    /// Scored tokens, and sentences of the whole text, by language.
    amounts: BTreeMap<&'static str, (usize, usize)>,
    /// Nats of each sentence.
    nats: BTreeMap<(u64, Setup, Subject), BTreeMap<&'static str, Vec<f64>>>,
    /// The search for lambda.
    pub sweep: Vec<Swept>,
    /// What the search found.
    pub chosen: BTreeMap<(u64, Setup, Subset, Method), f64>,
}

impl Book {
    /// An empty book of measurements by a yardstick.
    pub(super) fn new(test: &Yardstick) -> Self {
        let of = |m: &super::yardstick::Measure| (m.language, m.bytes.clone());
        Self::of_bytes(
            test.languages.iter().map(of).collect(),
            test.languages.iter().map(|m| (m.language, (m.tokens, m.of))).collect(),
        )
    }

    /// An empty book of sentences with so many bytes; of each language, tokens of them all and sentences of its text.
    pub(super) fn of_bytes(
        bytes: BTreeMap<&'static str, Vec<usize>>,
        amounts: BTreeMap<&'static str, (usize, usize)>,
    ) -> Self {
        Self {
            seeds: Vec::new(),
            bytes,
            amounts,
            nats: BTreeMap::new(),
            sweep: Vec::new(),
            chosen: BTreeMap::new(),
        }
    }

    /// Adds what was measured of a model.
    pub(super) fn insert(&mut self, seed: u64, setup: Setup, subject: Subject, nats: Nats) {
        if let Err(at) = self.seeds.binary_search(&seed) {
            self.seeds.insert(at, seed);
        }
        self.nats.insert((seed, setup, subject), nats.into_iter().collect());
    }

    /// Choices of lambda, those of all seeds for each of `merges`, that fell on an end of what was tried.
    pub(super) fn edge(&self, merges: impl Fn(Setup, Subset, Method) -> bool) -> Edge {
        let tried = || self.sweep.iter().map(|s| s.lambda);
        let ends = [tried().fold(f64::INFINITY, f64::min), tried().fold(0.0, f64::max)];
        let chosen = self.chosen.iter().filter(|(k, _)| merges(k.1, k.2, k.3));
        chosen.fold(Edge { at: 0, of: 0 }, |sum, (_, lambda)| Edge {
            at: sum.at + usize::from(ends.contains(lambda)),
            of: sum.of + 1,
        })
    }

    /// All models that were measured.
    pub(super) fn subjects(&self) -> impl Iterator<Item = (u64, Setup, Subject)> {
        self.nats.keys().copied()
    }

    /// Of a language's text: sentences that were measured, sentences that there are, and tokens and bytes measured.
    pub(super) fn amount(&self, language: &str) -> [usize; 4] {
        let bytes = self.bytes.get(language).map_or(&[][..], Vec::as_slice);
        let (tokens, of) = self.amounts.get(language).copied().unwrap_or((0, 0));
        [bytes.len(), of, tokens, bytes.iter().sum()]
    }

    /// Bits and bytes of each sentence of a language.
    pub(super) fn sentences(
        &self,
        seed: u64,
        setup: Setup,
        subject: Subject,
        language: &str,
    ) -> Option<Vec<(f64, f64)>> {
        let nats = self.nats.get(&(seed, setup, subject))?.get(language)?;
        let bytes = self.bytes.get(language)?;
        Some(nats.iter().zip(bytes).map(|(n, b)| (n / std::f64::consts::LN_2, *b as f64)).collect())
    }

    /// Bits per byte, with the standard error over sentences.
    pub(super) fn bits(&self, seed: u64, setup: Setup, subject: Subject, language: &str) -> Option<Estimate> {
        self.sentences(seed, setup, subject, language).map(|s| ratio(&s))
    }
}
