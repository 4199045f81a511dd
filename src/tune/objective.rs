//! What is to become small: the mean over languages of bits per byte, each language as often as the user says.

use std::sync::Arc;

use super::Settings;
use super::language::{Language, Turn};
use super::packing::{Packed, Picked};
use super::teaching::Teachers;
use crate::decoder::Losses;
use crate::eval::{Measured, Model, Prepared, Text, Tokenizer};
use crate::problem::{ExecError, Problem, Problems};

/// A language's text, and how much it counts.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Coefficients are fitted to it.
    pub text: Text,
    /// What is looked at to decide when to end; of none, every eighth block of 16 documents of `text` is held out for it.
    pub held_out: Option<Text>,
    /// Its share in the objective, relative to those of the others; above zero.
    pub weight: f64,
    /// A model whose predictions are learned from instead of the text's tokens. Searches leave it aside.
    pub teacher: Option<Arc<Model>>,
}

/// All languages of an objective.
#[derive(Debug)]
pub struct Goal {
    /// In the order they were given.
    pub languages: Vec<Language>,
    /// Tokens of the longest window.
    pub(super) context: usize,
    /// Which tokenizer, and what texts begin with.
    pub(super) tokenizer: String,
}

impl Goal {
    /// Divides texts and makes tokens of them; windows are `context` tokens long at most.
    ///
    /// # Errors
    /// What is wrong with any of the texts or weights, together.
    pub fn new(
        wanted: Vec<Wanted>,
        tokenizer: &Tokenizer,
        vocab: usize,
        context: usize,
    ) -> Result<Self, Problems> {
        let (mut problems, mut languages) = (Problems::new(), Vec::new());
        let total: f64 = wanted.iter().map(|w| w.weight).sum();
        for wanted in wanted {
            let weight = wanted.weight;
            if !(weight.is_finite() && weight > 0.0) {
                let what = format!("counts {weight} times; it must be a number above zero");
                problems.push(Problem::error(&wanted.text.language, what).hint("leave its text out instead"));
                continue;
            }
            let wanted = Wanted { weight: weight / total, ..wanted };
            match Language::new(wanted, tokenizer, vocab, context) {
                Ok(language) => languages.push(language),
                Err(found) => problems.extend(found),
            }
        }
        if languages.is_empty() && !problems.has_errors() {
            problems.push(no_text());
        }
        let tokenizer = format!("{} {:?}", tokenizer.sha256(), tokenizer.start());
        if problems.has_errors() { Err(problems) } else { Ok(Self { languages, context, tokenizer }) }
    }

    /// Where reading begins.
    pub(super) fn turns(&self, seed: u64) -> Vec<Turn> {
        (0..self.languages.len()).map(|i| Turn::new(seed ^ (i as u64) << 32)).collect()
    }

    /// The next documents of each language: about so many tokens of the one that counts most, and as many fewer of the
    /// others as they count less, since a gradient's noise is least where tokens count alike. Their scaled losses sum to
    /// the objective. Teachers say what they predict.
    pub(super) fn next(&self, turns: &mut [Turn], settings: &Settings, teachers: &Teachers<'_>) -> Packed {
        let tokens = settings.tokens;
        let turns = self.languages.iter().zip(turns).zip(self.shares(tokens)).enumerate();
        let picked = turns.flat_map(|(at, ((language, turn), tokens))| language.next(at, turn, tokens));
        let mut picked: Vec<Picked<'_>> = picked.collect();
        teachers.teach(&mut picked);
        Packed::new(picked, settings.teaching as f32)
    }

    /// Whether the files of all teachers still are what they were.
    ///
    /// # Errors
    /// If one is not.
    pub(super) fn check_intact(&self) -> Result<(), ExecError> {
        self.languages
            .iter()
            .filter_map(|language| language.teacher.as_ref())
            .try_for_each(|t| t.check_intact())
    }

    /// Those that teach.
    pub(super) fn teachers(&self) -> Result<Teachers<'_>, Problems> {
        Teachers::new(self.languages.iter().map(|language| language.teacher.as_deref()), self.context)
    }

    /// Tokens of each language in a step.
    fn shares(&self, tokens: usize) -> impl Iterator<Item = usize> {
        let most = self.languages.iter().map(|l| l.weight).fold(0.0, f64::max);
        self.languages.iter().map(move |l| ((tokens as f64 * l.weight / most).ceil() as usize).max(1))
    }

    /// Bits per byte of each language in a step, of what its batches cost.
    pub(super) fn seen(&self, packed: &Packed, losses: &[Losses]) -> Vec<f64> {
        let seen = packed.seen(losses, self.languages.len());
        self.languages.iter().zip(seen).map(|(l, (nats, tokens))| l.bits(nats, tokens)).collect()
    }

    /// Goes past the documents of a step.
    pub(super) fn skip(&self, turns: &mut [Turn], tokens: usize) {
        for ((language, turn), tokens) in self.languages.iter().zip(turns).zip(self.shares(tokens)) {
            language.take(turn, tokens);
        }
    }

    /// The objective, from each language's bits per byte.
    pub(super) fn value(&self, bits: &[f64]) -> f64 {
        self.languages.iter().zip(bits).map(|(l, bits)| l.weight * bits).sum()
    }

    /// What is held out, in the order of languages.
    pub(super) fn watched(&self) -> Vec<&Prepared> {
        self.languages.iter().map(|l| &l.watched).collect()
    }
}

/// What is wrong where there is nothing to learn from.
pub fn no_text() -> Problem {
    Problem::error("", "there is no text to fit coefficients to")
        .hint("give texts with --texts DIR or --text LANG=FILE")
}

/// Bits per byte of each language that was measured.
pub(super) fn bits(measured: &[Measured]) -> Vec<f64> {
    measured.iter().map(|m| m.bits_per_byte().value).collect()
}
