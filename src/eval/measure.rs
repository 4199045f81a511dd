//! Runs texts through a decoder and sums what it did not expect.

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::statistics::{Estimate, ratio};
use super::tokenizer::Tokens;
use super::windows::{Window, windows};
use crate::decoder::{Batch, Decoder, Scratch};
use crate::execute::Observer;

/// Tokens that go through the decoder together: enough for the products, few enough for the cache.
const BATCH: usize = 1024;

/// What is one observation for the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A document.
    Document,
    /// A window over all documents, joined by blank lines.
    Window,
}

/// Sums over the scored tokens of one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sums {
    /// Negative log probability.
    pub nats: f64,
    /// Scored tokens.
    pub tokens: usize,
    /// Bytes of text that they stand for.
    pub bytes: usize,
}

/// What was measured of one language.
#[derive(Clone, Debug)]
pub struct Measured {
    /// One for each unit, in order. A unit of which no token could be scored has zeros.
    pub units: Vec<Sums>,
    /// Its share of the time that all languages took.
    pub seconds: f64,
}

impl Measured {
    /// Over all units.
    pub fn total(&self) -> Sums {
        self.units.iter().fold(Sums::default(), |a, b| Sums {
            nats: a.nats + b.nats,
            tokens: a.tokens + b.tokens,
            bytes: a.bytes + b.bytes,
        })
    }

    /// Pairs for the statistics: bits and bytes of each unit.
    pub fn bits(&self) -> Vec<(f64, f64)> {
        self.units.iter().map(|u| (u.nats / std::f64::consts::LN_2, u.bytes as f64)).collect()
    }

    /// Bits for each byte of text: comparable between tokenizers.
    pub fn bits_per_byte(&self) -> Estimate {
        ratio(&self.bits())
    }

    /// Mean negative log probability of a token.
    pub fn nats_per_token(&self) -> Estimate {
        ratio(&self.units.iter().map(|u| (u.nats, u.tokens as f64)).collect::<Vec<_>>())
    }

    /// The exponential of [`Measured::nats_per_token`]; its error to first order.
    pub fn perplexity(&self) -> Estimate {
        let nats = self.nats_per_token();
        let value = nats.value.exp();
        Estimate { value, error: nats.error.map(|e| e * value) }
    }
}

/// Texts of one language in tokens, with the windows that they are seen in.
#[derive(Debug)]
pub struct Prepared {
    texts: Vec<Tokens>,
    /// Text and window, in order, and the unit that it counts for.
    windows: Vec<(usize, Window, usize)>,
    units: usize,
}

impl Prepared {
    /// Lays windows of `context` tokens, `stride` apart, over each text.
    pub fn new(texts: Vec<Tokens>, context: usize, stride: usize, unit: Unit) -> Self {
        let mut list = Vec::new();
        for (text, tokens) in texts.iter().enumerate() {
            list.extend(windows(tokens.ids.len(), context, stride).into_iter().map(|w| (text, w, text)));
        }
        let mut units = texts.len();
        if unit == Unit::Window {
            list.iter_mut().enumerate().for_each(|(i, (_, _, unit))| *unit = i);
            units = list.len();
        }
        Self { texts, windows: list, units }
    }

    /// Only some windows of texts, each by text and window.
    pub fn of_windows(texts: Vec<Tokens>, windows: impl IntoIterator<Item = (usize, Window)>) -> Self {
        let windows = windows.into_iter().map(|(text, window)| (text, window, text)).collect();
        Self { units: texts.len(), texts, windows }
    }

    /// Tokens that will be scored.
    pub fn scored(&self) -> usize {
        self.windows.iter().map(|(_, w, _)| w.scored.len()).sum()
    }

    /// Tokens of the longest window.
    pub fn longest(&self) -> usize {
        self.windows.iter().map(|(_, w, _)| w.range.len()).max().unwrap_or(0)
    }

    /// Runs of windows that make up a batch each.
    fn batches(&self) -> Vec<Range<usize>> {
        let mut batches = Vec::new();
        let (mut first, mut tokens) = (0, 0);
        for (i, (_, window, _)) in self.windows.iter().enumerate() {
            if tokens > 0 && tokens + window.range.len() > BATCH {
                batches.push(first..i);
                (first, tokens) = (i, 0);
            }
            tokens += window.range.len();
        }
        batches.extend(Some(first..self.windows.len()).filter(|b| !b.is_empty()));
        batches
    }

    fn batch(&self, range: Range<usize>) -> Batch {
        let mut batch = Batch::default();
        for (text, window, _) in &self.windows[range] {
            let from = window.range.start;
            let scored = window.scored.start - from..window.scored.end - from;
            batch.push(&self.texts[*text].ids[window.range.clone()], scored);
        }
        batch
    }
}

/// Measures texts on `threads` threads; `progress` is told of tokens as they are scored. The sums do not depend
/// on the number of threads.
pub fn measure<P: Borrow<Prepared> + Sync>(
    decoder: &Decoder<'_>,
    languages: &[P],
    threads: usize,
    progress: &dyn Observer,
) -> Vec<Measured> {
    let batches: Vec<(usize, Range<usize>)> = languages
        .iter()
        .enumerate()
        .flat_map(|(i, l)| l.borrow().batches().into_iter().map(move |b| (i, b)))
        .collect();
    let next = AtomicUsize::new(0);
    // Of each batch: nats of each window, and the seconds it took.
    let results = Mutex::new(vec![(Vec::new(), 0.0); batches.len()]);
    let workers = threads.clamp(1, batches.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut scratch = Scratch::default();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((language, range)) = batches.get(index) else { break };
                    let started = Instant::now();
                    let nats =
                        windows_nats(decoder, languages[*language].borrow(), range.clone(), &mut scratch);
                    let windows = &languages[*language].borrow().windows[range.clone()];
                    progress.advance(windows.iter().map(|w| w.1.scored.len() as u64).sum());
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results[index] = (nats, started.elapsed().as_secs_f64());
                }
            });
        }
    });
    let mut all: Vec<Measured> = languages
        .iter()
        .map(|l| Measured { units: vec![Sums::default(); l.borrow().units], seconds: 0.0 })
        .collect();
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    for ((language, range), (nats, seconds)) in batches.iter().zip(results) {
        let (prepared, measured) = (languages[*language].borrow(), &mut all[*language]);
        measured.seconds += seconds / workers as f64;
        for ((text, window, unit), nats) in prepared.windows[range.clone()].iter().zip(nats) {
            let sums = &mut measured.units[*unit];
            sums.nats += nats;
            sums.tokens += window.scored.len();
            sums.bytes += prepared.texts[*text].bytes(window.scored.clone());
        }
    }
    all
}

/// The nats of each window of a batch.
fn windows_nats(
    decoder: &Decoder<'_>,
    texts: &Prepared,
    range: Range<usize>,
    scratch: &mut Scratch,
) -> Vec<f64> {
    let losses = decoder.losses(&texts.batch(range.clone()), scratch, &mut ());
    let mut losses = losses.into_iter();
    texts.windows[range].iter().map(|(_, w, _)| losses.by_ref().take(w.scored.len()).sum()).collect()
}
