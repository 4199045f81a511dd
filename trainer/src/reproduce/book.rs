//! Everything that was measured, to be asked by seed, setup, model and language.

use std::collections::BTreeMap;

use growmerge::eval::{Estimate, ratio};

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

/// Measurements on test text.
#[derive(Debug)]
pub(super) struct Book {
    /// In ascending order.
    pub seeds: Vec<u64>,
    /// Bytes of each sentence, by language.
    bytes: BTreeMap<&'static str, Vec<usize>>,
    /// Scored tokens, by language.
    tokens: BTreeMap<&'static str, usize>,
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
            test.languages.iter().map(|m| (m.language, m.tokens)).collect(),
        )
    }

    /// An empty book of sentences with so many bytes, and so many tokens together.
    pub(super) fn of_bytes(
        bytes: BTreeMap<&'static str, Vec<usize>>,
        tokens: BTreeMap<&'static str, usize>,
    ) -> Self {
        Self {
            seeds: Vec::new(),
            bytes,
            tokens,
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

    /// All models that were measured.
    pub(super) fn subjects(&self) -> impl Iterator<Item = (u64, Setup, Subject)> {
        self.nats.keys().copied()
    }

    /// Sentences, tokens and bytes of a language's text.
    pub(super) fn amount(&self, language: &str) -> (usize, usize, usize) {
        let bytes = self.bytes.get(language).map_or(&[][..], Vec::as_slice);
        (bytes.len(), self.tokens.get(language).copied().unwrap_or(0), bytes.iter().sum())
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
