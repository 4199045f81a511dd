//! What is to become small: the mean over languages of bits per byte, each language as often as the user says.

use std::sync::Arc;

use super::Settings;
use super::divided::divided;
use super::order::permutation;
use super::packing::{Packed, Picked};
use super::teaching::{self, School};
use crate::decoder::Losses;
use crate::eval::{Measured, Model, Prepared, Text, Tokenizer, Tokens, Unit, Window, windows};
use crate::problem::{Problem, Problems};

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

/// A language in tokens.
#[derive(Debug)]
pub struct Language {
    /// The user's name for it.
    pub name: String,
    /// Its share in the objective; those of all languages sum to one.
    pub weight: f64,
    /// Bytes of text that coefficients are fitted to.
    pub bytes: usize,
    /// Tokens of it.
    pub tokens: usize,
    /// Documents that are held out.
    pub held_out: usize,
    /// SHA-256 of both texts, in hex.
    pub(super) sha256: String,
    pub(super) teacher: Option<Arc<Model>>,
    fit: Vec<Tokens>,
    windows: Vec<(usize, Window)>,
    watched: Prepared,
    /// From nats per token to bits per byte.
    ratio: f64,
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
            let problem = Problem::error("", "there is no text to fit coefficients to");
            problems.push(problem.hint("give texts with --texts DIR or --text LANG=FILE"));
        }
        let tokenizer = format!("{} {:?}", tokenizer.sha256(), tokenizer.start());
        if problems.has_errors() { Err(problems) } else { Ok(Self { languages, context, tokenizer }) }
    }

    /// Where reading begins.
    pub(super) fn turns(&self, seed: u64) -> Vec<Turn> {
        (0..self.languages.len())
            .map(|i| Turn { seed: seed ^ (i as u64) << 32, epoch: 0, at: 0, order: Vec::new() })
            .collect()
    }

    /// The next documents of each language: about so many tokens of the one that counts most, and as many fewer of the
    /// others as they count less, since a gradient's noise is least where tokens count alike. Their scaled losses sum to
    /// the objective. Teachers say what they predict.
    pub(super) fn next(&self, turns: &mut [Turn], settings: &Settings, school: &School<'_>) -> Packed {
        let tokens = settings.tokens;
        let turns = self.languages.iter().zip(turns).zip(self.shares(tokens)).enumerate();
        let picked = turns.flat_map(|(at, ((language, turn), tokens))| language.next(at, turn, tokens));
        let mut picked: Vec<Picked<'_>> = picked.collect();
        school.teach(&mut picked);
        Packed::new(picked, settings.teaching as f32)
    }

    /// Those that teach.
    pub(super) fn school(&self) -> Result<School<'_>, Problems> {
        School::new(self.languages.iter().map(|language| language.teacher.as_deref()), self.context)
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

/// Bits per byte of each language that was measured.
pub(super) fn bits(measured: &[Measured]) -> Vec<f64> {
    measured.iter().map(|m| m.bits_per_byte().value).collect()
}

/// How far a language's text was read.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    seed: u64,
    epoch: u64,
    at: usize,
    order: Vec<usize>,
}

impl Language {
    fn new(
        Wanted { text, held_out, weight, teacher }: Wanted,
        tokenizer: &Tokenizer,
        vocab: usize,
        context: usize,
    ) -> Result<Self, Problems> {
        let at = text.path.display().to_string();
        let digests = [Some(&text), held_out.as_ref()].map(|t| t.map_or(String::new(), Text::sha256));
        let sha256 = digests.concat();
        let (fit, watched) = match held_out {
            Some(held_out) => (text.documents, held_out.documents),
            None => divided(text.documents),
        };
        if fit.is_empty() || watched.is_empty() {
            let what = format!(
                "the text of `{}` is a single document, and nothing is left to hold out",
                text.language
            );
            return Err(Problem::error(at, what).hint("give more text").into());
        }
        let documents = fit;
        let fit = tokenizer.encode(&documents, vocab)?;
        if let Some(teacher) = &teacher {
            teaching::check(teacher, &text.language, (&documents, &fit), (tokenizer, vocab, context))?;
        }
        let watched_count = watched.len();
        let watched = tokenizer.encode(&watched, vocab)?;
        let watched = Prepared::new(watched, context, (context / 2).max(1), Unit::Document);
        let cut = |(i, tokens): (usize, &Tokens)| {
            windows(tokens.ids.len(), context, context).into_iter().map(move |w| (i, w)).collect::<Vec<_>>()
        };
        let windows: Vec<(usize, Window)> = fit.iter().enumerate().flat_map(cut).collect();
        let tokens = windows.iter().map(|(_, w)| w.scored.len()).sum();
        let bytes: usize = windows.iter().map(|(i, w)| fit[*i].bytes(w.scored.clone())).sum();
        if tokens == 0 || bytes == 0 || watched.scored() == 0 {
            let what = format!(
                "no token of the text of `{}` can be scored: each is the first of its document",
                text.language
            );
            return Err(Problem::error(at, what).hint("--bos gives documents a beginning").into());
        }
        let ratio = tokens as f64 / bytes as f64 / std::f64::consts::LN_2;
        Ok(Self {
            name: text.language,
            weight,
            bytes,
            tokens,
            held_out: watched_count,
            sha256,
            teacher,
            fit,
            windows,
            watched,
            ratio,
        })
    }

    /// The windows that a step reads, and how many of their tokens are predicted.
    fn take(&self, turn: &mut Turn, tokens: usize) -> (Vec<usize>, usize) {
        let (mut taken, mut scored) = (Vec::new(), 0);
        while scored < tokens {
            if turn.at == turn.order.len() {
                turn.order = permutation(self.windows.len(), turn.seed, turn.epoch);
                (turn.at, turn.epoch) = (0, turn.epoch + 1);
            }
            let window = turn.order[turn.at];
            turn.at += 1;
            taken.push(window);
            scored += self.windows[window].1.scored.len();
        }
        (taken, scored)
    }

    /// The texts that a step reads of the language at `language`.
    fn next(&self, language: usize, turn: &mut Turn, tokens: usize) -> Vec<Picked<'_>> {
        let (taken, scored) = self.take(turn, tokens);
        let scale = (self.weight * self.ratio / scored as f64) as f32;
        let picked = |at: usize| {
            let (document, Window { range, scored }) = &self.windows[at];
            let ids = &self.fit[*document].ids[range.clone()];
            let scored = scored.start - range.start..scored.end - range.start;
            Picked { language, ids, scored, scale, lesson: None }
        };
        taken.into_iter().map(picked).collect()
    }

    /// About so many tokens of what coefficients are fitted to: windows by chance, which the seed decides.
    pub(super) fn sample(&self, tokens: usize, seed: u64) -> Prepared {
        let (mut chosen, mut scored) = (Vec::new(), 0);
        for at in permutation(self.windows.len(), seed, 0) {
            if scored >= tokens.max(1) {
                break;
            }
            scored += self.windows[at].1.scored.len();
            chosen.push(at);
        }
        chosen.sort_unstable();
        let mut documents: Vec<usize> = chosen.iter().map(|at| self.windows[*at].0).collect();
        documents.dedup();
        let place = |document: usize| documents.partition_point(|d| *d < document);
        let windows = chosen.iter().map(|at| (place(self.windows[*at].0), self.windows[*at].1.clone()));
        Prepared::of_windows(documents.iter().map(|d| self.fit[*d].clone()).collect(), windows)
    }

    /// Bits per byte, of nats over so many tokens.
    pub(super) fn bits(&self, nats: f64, tokens: usize) -> f64 {
        nats / tokens.max(1) as f64 * self.ratio
    }
}
