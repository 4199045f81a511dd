//! A language of an objective: its text in tokens and windows, and the order in which they are read.

use std::sync::Arc;

use super::divided::divided;
use super::objective::Wanted;
use super::order::permutation;
use super::packing::Picked;
use super::teaching;
use crate::eval::{Model, Prepared, Text, Tokenizer, Tokens, Unit, Window, windows};
use crate::problem::{Problem, Problems};

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
    /// Whose predictions are learned from.
    pub(super) teacher: Option<Arc<Model>>,
    fit: Vec<Tokens>,
    windows: Vec<(usize, Window)>,
    /// What is held out.
    pub(super) watched: Prepared,
    /// From nats per token to bits per byte.
    ratio: f64,
}

/// How far a language's text was read.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    seed: u64,
    epoch: u64,
    at: usize,
    order: Vec<usize>,
}

impl Turn {
    /// Before the first text.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, epoch: 0, at: 0, order: Vec::new() }
    }
}

impl Language {
    /// Divides a text, if nothing is given to be held out, and makes tokens of it.
    ///
    /// # Errors
    /// A text of which nothing is left to fit to or to hold out; a teacher that does not suit.
    pub(super) fn new(
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
    pub(super) fn take(&self, turn: &mut Turn, tokens: usize) -> (Vec<usize>, usize) {
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
    pub(super) fn next(&self, language: usize, turn: &mut Turn, tokens: usize) -> Vec<Picked<'_>> {
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
