//! Minimal pairs: a good and a bad sentence that differ in one thing. A model knows the thing if it finds
//! the good one more probable (Warstadt et al. 2020, BLiMP).

use std::path::Path;

use serde_json::Value;

use super::measure::{Measured, Prepared, Unit};
use super::statistics::{Estimate, paired, ratio};
use super::text::{each, json_lines};
use super::tokenizer::Tokenizer;
use crate::problem::{Problem, Problems};

/// Pairs of one language.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// The user's name for it.
    pub language: String,
    /// Good and bad sentence, in turn.
    pub sentences: Vec<String>,
}

/// What the fields of a pair are called, here and in BLiMP's files.
const NAMES: [[&str; 2]; 2] = [["good", "bad"], ["sentence_good", "sentence_bad"]];

impl Pairs {
    /// Reads a `.jsonl` file of objects with `good` and `bad`, or BLiMP's names for them.
    ///
    /// # Errors
    /// Lines that are no such objects.
    pub fn read(language: &str, path: &Path) -> Result<Self, Problems> {
        let pairs = each(json_lines(path)?, |(at, value)| {
            let field = |name: &str| value.get(name).and_then(Value::as_str).filter(|s| !s.trim().is_empty());
            let pair = NAMES.iter().find_map(|[good, bad]| Some([field(good)?, field(bad)?]));
            let Some(pair) = pair else {
                let hint = "wanted are the fields `good` and `bad`, or `sentence_good` and `sentence_bad`";
                return Err(Problem::error(at, "is not a pair of sentences").hint(hint).into());
            };
            Ok(pair.map(str::to_owned))
        })?;
        let sentences: Vec<String> = pairs.into_iter().flatten().collect();
        if sentences.is_empty() {
            return Err(Problem::error(path.display().to_string(), "there are no pairs in the file").into());
        }
        Ok(Self { language: language.into(), sentences })
    }

    /// Sentences in tokens, each a unit, in windows of at most `context` tokens.
    ///
    /// # Errors
    /// If the tokenizer begins texts with nothing, or a sentence is longer than a window.
    pub fn prepare(&self, tokenizer: &Tokenizer, vocab: usize, context: usize) -> Result<Prepared, Problems> {
        if tokenizer.start().is_none() {
            let what =
                "pairs need a token to begin with: without one the first of each sentence is not scored";
            return Err(Problem::error(&self.language, what).hint("choose one with --bos").into());
        }
        let tokens = tokenizer.encode(&self.sentences, vocab)?;
        if let Some(i) = tokens.iter().position(|t| t.ids.len() > context) {
            let found = tokens[i].ids.len();
            let what =
                format!("a sentence of pair {} has {found} tokens, a window only {context}", i / 2 + 1);
            return Err(Problem::error(&self.language, what).hint("choose a larger --context").into());
        }
        Ok(Prepared::new(tokens, context, context, Unit::Document))
    }
}

/// How a model judged pairs.
#[derive(Clone, Debug)]
pub struct Judged {
    /// 1 for each pair of which the good sentence was the more probable one, else 0; a tie is no knowledge.
    right: Vec<(f64, f64)>,
}

impl Judged {
    /// From what was measured of the sentences of [`Pairs`], as units.
    pub fn new(measured: &Measured) -> Self {
        let right = |pair: &[super::Sums]| f64::from(pair[0].nats < pair[1].nats);
        Self { right: measured.units.chunks_exact(2).map(|pair| (right(pair), 1.0)).collect() }
    }

    /// Number of pairs.
    pub fn pairs(&self) -> usize {
        self.right.len()
    }

    /// The part of pairs that were judged right.
    pub fn accuracy(&self) -> Estimate {
        ratio(&self.right)
    }

    /// Accuracy minus that of another model on the same pairs.
    pub fn difference(&self, other: &Self) -> Estimate {
        paired(&self.right, &other.right)
    }
}
