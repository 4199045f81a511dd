//! Bits per byte of held-out texts.

use std::collections::BTreeMap;
use std::path::Path;

use growmerge::eval::{Measured, Prepared, Reading, Split, Start, Text, Tokenizer, Unit, measure};
use growmerge::execute::Observer;
use growmerge::problem::Problems;
use growmerge::write::sha256_hex;
use serde::{Deserialize, Serialize};

use super::config::Validation;
use super::model::Model;

/// Texts in tokens, each line by itself, in windows of a training sequence.
#[derive(Debug, Default)]
pub(super) struct Held {
    languages: Vec<String>,
    /// Of text and start token, in hex.
    digests: Vec<String>,
    prepared: Vec<Prepared>,
}

/// What was measured of one language.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Comparable between tokenizers.
    pub bits_per_byte: f64,
    /// Mean negative log probability.
    pub nats_per_token: f64,
}

/// By language.
pub type Scores = BTreeMap<String, Score>;

impl Held {
    /// Reads and tokenizes all texts; windows have `sequence` tokens.
    ///
    /// # Errors
    /// What is wrong with texts and tokenizer.
    pub(super) fn open(
        config: &Validation,
        tokenizer: &Path,
        vocab: usize,
        sequence: usize,
    ) -> Result<Self, Problems> {
        let tokenizer = Tokenizer::open(tokenizer, &Start::Auto)?;
        let reading = Reading { split: Split::Line, field: "text".into() };
        let (mut held, mut problems) = (Self::default(), Problems::new());
        for (language, path) in &config.texts {
            let tokens = Text::read(language, path, &reading)
                .and_then(|text| Ok((text.sha256(), tokenizer.encode(&text.documents, vocab)?)));
            match tokens {
                Ok((digest, tokens)) => {
                    held.languages.push(language.clone());
                    let identity = format!("{digest} {:?}", tokenizer.start());
                    held.digests.push(sha256_hex(identity.as_bytes()));
                    let stride = (sequence / 2).max(1);
                    held.prepared.push(Prepared::new(tokens, sequence, stride, Unit::Document));
                }
                Err(found) => problems.extend(found),
            }
        }
        if problems.has_errors() { Err(problems) } else { Ok(held) }
    }

    /// Of everything that is measured, by language.
    pub(super) fn digests(&self) -> impl Iterator<Item = &str> {
        self.digests.iter().map(String::as_str)
    }

    /// Measures a model on all of them.
    ///
    /// # Errors
    /// None for a model that was opened.
    pub(super) fn measure(&self, model: &Model, threads: usize) -> Result<Scores, Problems> {
        let longest = self.prepared.iter().map(Prepared::longest).max().unwrap_or(0);
        let measured = measure(&model.decoder(longest)?, &self.prepared, threads, &Silent);
        let score = |m: &Measured| Score {
            bits_per_byte: m.bits_per_byte().value,
            nats_per_token: m.nats_per_token().value,
        };
        Ok(self.languages.iter().cloned().zip(measured.iter().map(score)).collect())
    }
}

struct Silent;

impl Observer for Silent {
    fn advance(&self, _amount: u64) {}
}
