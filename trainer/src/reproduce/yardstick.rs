//! Sentences that all models are measured on, in tokens: cut once, used for every model.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use growmerge::decoder::{Config, Decoder};
use growmerge::eval::{Estimate, ModelSource, Prepared, Start, Tokenizer, Unit, measure, ratio};
use growmerge::execute::Observer;
use growmerge::problem::{Error, ExecError, Problem, Problems};
use growmerge::write::sha256_hex;

use super::corpus::{Corpus, Part, all_languages};

/// The sentences of one part of the corpus.
#[derive(Debug)]
pub(super) struct Yardstick {
    /// Which part.
    pub part: Part,
    /// Of sentences, tokenizer and windows, in hex: equal digests measure the same.
    pub digest: String,
    /// In the order of [`all_languages`].
    pub languages: Vec<Measure>,
    /// In the order of `languages`.
    prepared: Vec<Prepared>,
    context: usize,
}

/// What is measured of one language.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    /// Its code.
    pub language: &'static str,
    /// As they are in the text.
    pub sentences: Vec<String>,
    /// Bytes of each sentence.
    pub bytes: Vec<usize>,
    /// Tokens of all sentences that are scored.
    pub tokens: usize,
}

/// Nats of each sentence, for each language of a yardstick that was asked for.
pub(super) type Nats = Vec<(&'static str, Vec<f64>)>;

impl Yardstick {
    /// Of each language the first sentences with together at most `tokens` tokens, and at least two. `context` is the
    /// number of tokens that models were trained to see; longer sentences are seen in windows, half of each new.
    ///
    /// # Errors
    /// What is wrong with texts or tokenizer.
    pub(super) fn new(
        corpus: &Corpus,
        part: Part,
        tokens: usize,
        tokenizer: &Path,
        vocab: usize,
        context: usize,
    ) -> Result<Self, Problems> {
        let tokenizer = Tokenizer::open(tokenizer, &Start::Auto)?;
        if tokenizer.start().is_none() {
            let what =
                "has no token that texts begin with, so the first token of a sentence could not be scored";
            return Err(Problem::error("tokenizer", what).into());
        }
        let mut identity = format!("{}\n{:?}\n{context}\n", tokenizer.sha256(), tokenizer.start());
        let (mut languages, mut prepared) = (Vec::new(), Vec::new());
        for language in all_languages() {
            let mut text = corpus.read(language, part)?;
            // Sentences of a token or more each: no more of them are needed.
            text.documents.truncate(tokens.max(2));
            let mut encoded = tokenizer.encode(&text.documents, vocab)?;
            let mut sum = 0;
            let fits = encoded.iter().take_while(|t| {
                sum += t.ids.len() - 1;
                sum <= tokens
            });
            let count = fits.count().max(2).min(encoded.len());
            encoded.truncate(count);
            text.documents.truncate(count);
            identity += &text.sha256();
            languages.push(Measure {
                language,
                bytes: encoded.iter().map(|t| t.bytes(1..t.ids.len())).collect(),
                tokens: encoded.iter().map(|t| t.ids.len() - 1).sum(),
                sentences: text.documents,
            });
            prepared.push(Prepared::new(encoded, context, (context / 2).max(1), Unit::Document));
        }
        let digest = sha256_hex(identity.as_bytes());
        Ok(Self { part, digest, languages, prepared, context })
    }

    /// Bytes of each sentence of a language.
    pub(super) fn bytes(&self, language: &str) -> &[usize] {
        self.languages.iter().find(|m| m.language == language).map_or(&[], |m| &m.bytes)
    }

    /// Measures a model on all languages, or merges a recipe in memory and measures that.
    ///
    /// # Errors
    /// What is wrong with the model; what the machine does to a merge; [`ExecError::Interrupted`].
    pub(super) fn measure(
        &self,
        source: ModelSource,
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Nats, Error> {
        let model = source.load(threads, &Quiet)?;
        if cancel.load(Ordering::Relaxed) {
            return Err(ExecError::Interrupted.into());
        }
        let config = Config::read(&model.config, &format!("{}: config.json", model.name))?;
        let decoder = Decoder::new(config, model.tensors(), &model.name, self.context)?;
        let measured = measure(&decoder, &self.prepared, threads, &Quiet);
        if measured.iter().any(|m| !m.total().nats.is_finite()) {
            let what = "computes no number for some token, though its weights are numbers";
            return Err(Problem::error(&model.name, what).hint("the training may have diverged").into());
        }
        // A ten-thousandth of a nat is far below what anything shows, and keeps the file of results short.
        let rounded = |nats: f64| (nats * 1e4).round() / 1e4;
        let nats = measured.iter().map(|m| m.units.iter().map(|u| rounded(u.nats)).collect());
        Ok(self.languages.iter().map(|m| m.language).zip(nats).collect())
    }
}

/// What the measuring itself is not told about; a study counts models.
struct Quiet;

impl Observer for Quiet {
    fn advance(&self, _: u64) {}
}

/// Bits per byte of a language, from the nats of its sentences.
pub(super) fn bits_per_byte(yardstick: &Yardstick, nats: &Nats, language: &str) -> Estimate {
    let nats = nats.iter().find(|n| n.0 == language).map_or(&[][..], |n| n.1.as_slice());
    let pairs = nats.iter().zip(yardstick.bytes(language));
    ratio(&pairs.map(|(n, b)| (n / std::f64::consts::LN_2, *b as f64)).collect::<Vec<_>>())
}
