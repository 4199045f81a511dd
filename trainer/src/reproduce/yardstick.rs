//! Sentences that all models are measured on, in tokens: cut once, used for every model.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use growmerge::decoder::{Config, Decoder};
use growmerge::eval::{
    Estimate, ModelSource, Prepared, Start, Text, Tokenizer, Tokens, Unit, measure, ratio,
};
use growmerge::problem::{Error, ExecError, Problem, Problems};
use growmerge::write::sha256_hex;

use super::Quiet;
use super::texts::{Part, Texts, all_languages};

/// Sentences of one part of the texts.
#[derive(Debug)]
pub(crate) struct Yardstick {
    /// Which part.
    pub part: Part,
    /// Of sentences, tokenizer and windows, in hex: equal digests measure the same.
    pub digest: String,
    /// In the order of [`all_languages`].
    pub languages: Vec<Measure>,
    context: usize,
}

/// Which sentences of a text are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// The first ones. Curves of training have them: which they are belongs to what a model is found again by.
    First,
    /// Equally many between each and the next. Neighbours in a text are alike, and errors over sentences take them for
    /// independent; so no two are neighbours if it can be helped.
    Spread,
}

/// What is measured of one language.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    /// Its code.
    pub language: &'static str,
    /// As they are in the text.
    pub sentences: Vec<String>,
    /// Bytes of each sentence.
    pub bytes: Vec<usize>,
    /// Tokens of all sentences that are scored.
    pub tokens: usize,
    /// Sentences of the whole text.
    pub of: usize,
    encoded: Vec<Tokens>,
}

/// Nats of each sentence, for each language of a yardstick that was asked for.
pub(crate) type Nats = Vec<(&'static str, Vec<f64>)>;

impl Yardstick {
    /// Of each language sentences with together at most `tokens` tokens, and at least two. `context` is the number of
    /// tokens that models were trained to see; longer sentences are seen in windows, half of each new.
    ///
    /// # Errors
    /// What is wrong with texts or tokenizer.
    pub(crate) fn new(
        texts: &Texts,
        part: Part,
        (pick, tokens): (Pick, usize),
        tokenizer: &Path,
        vocab: usize,
        context: usize,
    ) -> Result<Self, Problems> {
        Self::of(part, |language| texts.read(language, part), (pick, tokens), tokenizer, vocab, context)
    }

    /// The same of texts that `read` has.
    ///
    /// # Errors
    /// As [`Yardstick::new`].
    pub(crate) fn of(
        part: Part,
        read: impl Fn(&'static str) -> Result<Text, Problems>,
        (pick, tokens): (Pick, usize),
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
        let mut languages = Vec::new();
        for language in all_languages() {
            let mut text = read(language)?;
            let encoded = tokenizer.encode(&text.documents, vocab)?;
            let lengths: Vec<usize> = encoded.iter().map(|t| t.ids.len() - 1).collect();
            let picked = picked(&lengths, pick, tokens);
            text.documents = picked.iter().map(|i| text.documents[*i].clone()).collect();
            let encoded: Vec<Tokens> = picked.iter().map(|i| encoded[*i].clone()).collect();
            identity += &text.sha256();
            languages.push(Measure {
                language,
                bytes: encoded.iter().map(|t| t.bytes(1..t.ids.len())).collect(),
                tokens: picked.iter().map(|i| lengths[*i]).sum(),
                of: lengths.len(),
                sentences: text.documents,
                encoded,
            });
        }
        let digest = sha256_hex(identity.as_bytes());
        Ok(Self { part, digest, languages, context })
    }

    /// Bytes of each sentence of a language.
    pub(crate) fn bytes(&self, language: &str) -> &[usize] {
        self.languages.iter().find(|m| m.language == language).map_or(&[], |m| &m.bytes)
    }

    /// Measures a model on the languages that are asked for, or merges a recipe in memory and measures that.
    ///
    /// # Errors
    /// What is wrong with the model; what the machine does to a merge; [`ExecError::Interrupted`].
    pub(crate) fn measure(
        &self,
        source: ModelSource,
        asked: &[&'static str],
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Nats, Error> {
        let model = source.load(threads, &Quiet)?;
        if cancel.load(Ordering::Relaxed) {
            return Err(ExecError::Interrupted.into());
        }
        let config = Config::read(&model.config, &format!("{}: config.json", model.name))?;
        let decoder = Decoder::new(config, model.tensors(), &model.name, self.context)?;
        let languages: Vec<&Measure> =
            self.languages.iter().filter(|m| asked.contains(&m.language)).collect();
        let (context, stride) = (self.context, (self.context / 2).max(1));
        let prepare = |m: &&Measure| Prepared::new(m.encoded.clone(), context, stride, Unit::Document);
        let prepared: Vec<Prepared> = languages.iter().map(prepare).collect();
        let measured = measure(&decoder, &prepared, threads, &Quiet);
        if measured.iter().any(|m| !m.total().nats.is_finite()) {
            let what = "computes no number for some token, though its weights are numbers";
            return Err(Problem::error(&model.name, what).hint("the training may have diverged").into());
        }
        // A ten-thousandth of a nat is far below what anything shows, and keeps the file of results short.
        let rounded = |nats: f64| (nats * 1e4).round() / 1e4;
        let nats = measured.iter().map(|m| m.units.iter().map(|u| rounded(u.nats)).collect());
        Ok(languages.iter().map(|m| m.language).zip(nats).collect())
    }
}

/// Places of the sentences to measure, in order, from the lengths of all.
fn picked(lengths: &[usize], pick: Pick, tokens: usize) -> Vec<usize> {
    // The middles of `count` equal parts.
    let spread = |count: usize| (0..count).map(move |i| (2 * i + 1) * lengths.len() / (2 * count));
    let least = lengths.len().min(2);
    match pick {
        Pick::First => {
            let mut sum = 0;
            let fits = lengths.iter().take_while(|length| {
                sum += **length;
                sum <= tokens
            });
            (0..fits.count().max(least)).collect()
        }
        Pick::Spread => {
            // As many as would fit if all were as short as the shortest; one less until they do.
            let shortest = lengths.iter().min().map_or(1, |l| (*l).max(1));
            let most = lengths.len().min(tokens / shortest).max(least);
            let fits = |count: &usize| spread(*count).map(|i| lengths[i]).sum::<usize>() <= tokens;
            spread((least..=most).rev().find(fits).unwrap_or(least)).collect()
        }
    }
}

/// Bits per byte of a language, from the nats of its sentences.
pub(crate) fn bits_per_byte(yardstick: &Yardstick, nats: &Nats, language: &str) -> Estimate {
    let nats = nats.iter().find(|n| n.0 == language).map_or(&[][..], |n| n.1.as_slice());
    let pairs = nats.iter().zip(yardstick.bytes(language));
    ratio(&pairs.map(|(n, b)| (n / std::f64::consts::LN_2, *b as f64)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_spread_over_the_text_and_fit() {
        assert_eq!(picked(&[5; 12], Pick::Spread, 21), [1, 4, 7, 10], "four of twelve");
        assert_eq!(picked(&[5; 12], Pick::First, 21), [0, 1, 2, 3]);
        assert_eq!(picked(&[5; 3], Pick::Spread, 1000), [0, 1, 2], "all that there are");
        assert_eq!(picked(&[50; 9], Pick::Spread, 10), [2, 6], "two at least");
        assert_eq!(picked(&[50; 9], Pick::First, 10), [0, 1]);
        assert_eq!(picked(&[7], Pick::Spread, 10), [0]);
        assert!(picked(&[], Pick::Spread, 10).is_empty());
        let lengths: Vec<usize> = (0..1000).map(|i| 5 + i * 7919 % 31).collect();
        let found = picked(&lengths, Pick::Spread, 2000);
        let sum: usize = found.iter().map(|i| lengths[*i]).sum();
        assert!((1900..=2000).contains(&sum), "{sum}");
        let gaps: Vec<usize> = found.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
        assert!(most - least <= 1, "equal steps: {gaps:?}");
    }
}
