//! What there is for merges on cards, and what is missing: nothing here fails.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::calls::{self, Card, Context};
use super::missing::{Missing, Version};
use super::nvrtc::{self, Compiler};
use super::queue::{Direction, Slot, Stream};
use super::target::Arch;
use super::{cache::Cache, other};
use crate::device::cuda::runtime::Memory;
use crate::problem::ExecError;

/// Bytes of a copy that is timed.
const COPY: usize = 256 << 20;

/// How often each copy is timed; the best counts.
const COPIES: usize = 3;

/// What was found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The driver's release, if there is one, be it too old.
    pub driver: Option<Version>,
    /// The cards that answer, in the driver's order.
    pub cards: Vec<Found>,
    /// What compiles kernels.
    pub compiler: Option<Compiler>,
    /// Where compiled kernels are kept.
    pub cache: Option<Cache>,
    /// What is missing, in the order in which it has to be got.
    pub missing: Vec<Missing>,
}

/// A card.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its number.
    pub ordinal: usize,
    /// What it calls itself.
    pub name: String,
    /// Its compute capability.
    pub arch: Arch,
    /// Multiprocessors.
    pub processors: u32,
    /// Its memory.
    pub memory: Memory,
    /// How fast it copies, if that could be measured.
    pub bandwidth: Option<Bandwidth>,
}

/// Bytes a second between a card and memory of the host that stays in place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bandwidth {
    /// From the host to the card.
    pub upload: f64,
    /// From the card to the host.
    pub download: f64,
}

impl Survey {
    /// Looks, and times copies.
    pub fn new() -> Self {
        let (mut cards, mut missing) = (Vec::new(), Vec::new());
        match calls::start().and_then(|()| Card::count().map_err(other)) {
            Ok(0) => missing.push(Missing::Card),
            Ok(count) => {
                for ordinal in 0..count {
                    match Found::look(ordinal, &mut missing) {
                        Ok(found) => cards.push(found),
                        Err(error) => missing.push(of_card(ordinal, &error)),
                    }
                }
            }
            Err(found) => missing.push(found),
        }
        let compiler = nvrtc::compiler();
        missing.extend(compiler.as_ref().err().cloned());
        Self {
            driver: calls::version().ok(),
            cards,
            compiler: compiler.ok(),
            cache: Cache::of_user(),
            missing,
        }
    }
}

impl Default for Survey {
    fn default() -> Self {
        Self::new()
    }
}

impl Found {
    fn look(ordinal: usize, missing: &mut Vec<Missing>) -> Result<Self, ExecError> {
        let card = Card::get(ordinal)?;
        let context = Context::of(card)?;
        let bandwidth = bandwidth(&context);
        missing.extend(bandwidth.as_ref().err().map(|error| of_card(ordinal, error)));
        Ok(Self {
            ordinal,
            name: card.name()?,
            arch: card.arch()?,
            processors: card.processors()?,
            memory: context.memory()?,
            bandwidth: bandwidth.ok(),
        })
    }
}

/// A card's failure, as a sentence.
fn of_card(ordinal: usize, error: &ExecError) -> Missing {
    Missing::Other { what: format!("Card {ordinal}: {error}.") }
}

/// The best of a few copies of each kind.
fn bandwidth(context: &Arc<Context>) -> Result<Bandwidth, ExecError> {
    let at = context.allocate(COPY)?;
    let measured = (|| {
        let stream = Stream::new(context)?;
        let mut slot = Slot::new(context, COPY, Direction::Download)?;
        let mut best = Bandwidth { upload: 0.0, download: 0.0 };
        for _ in 0..COPIES {
            let begun = Instant::now();
            slot.send_all(&stream, at)?;
            slot.reclaim()?;
            best.upload = best.upload.max(COPY as f64 / begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            slot.fetch(&stream, at, COPY)?;
            slot.reclaim()?;
            best.download = best.download.max(COPY as f64 / begun.elapsed().as_secs_f64());
        }
        Ok(best)
    })();
    context.free(at);
    measured
}
