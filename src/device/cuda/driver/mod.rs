//! NVIDIA's driver behind [`Runtime`]: a card's primary context, a stream for each lane, and NVRTC with a cache on disk.
//!
//! Driver and NVRTC are opened when they are asked for. A machine that has neither runs everything else, and
//! [`Driver::open`] says what is [`Missing`].

pub mod cache;
mod calls;
mod lane;
mod missing;
pub mod nvrtc;
mod once;
mod queue;
mod staging;
pub mod survey;
mod target;

use std::sync::Arc;

use cache::{Cache, Key};
use calls::{Card, Context, Function};
use lane::Lane;
pub use missing::{Missing, Version};
use nvrtc::Verbosity;
use once::Once;
pub use target::{Arch, Target};

use super::runtime::{Kernel, Memory, Runtime};
use super::source::Source;
use crate::problem::ExecError;

/// A card, with what compiles for it.
#[derive(Clone, Debug)]
pub struct Driver {
    shared: Arc<Shared>,
}

/// What a card's lanes share.
#[derive(Debug)]
struct Shared {
    name: String,
    processors: u32,
    target: Target,
    compiler: Version,
    cache: Option<Cache>,
    kernels: Once<Key, Function>,
    context: Arc<Context>,
}

impl Driver {
    /// The card of this number, from 0, in the driver's order (which CUDA_VISIBLE_DEVICES decides).
    ///
    /// # Errors
    /// What the machine lacks.
    pub fn open(ordinal: usize) -> Result<Self, Missing> {
        calls::start()?;
        let count = Card::count().map_err(other)?;
        match count {
            0 => return Err(Missing::Card),
            _ if ordinal >= count => return Err(Missing::Ordinal { ordinal, count }),
            _ => {}
        }
        let compiler = nvrtc::compiler()?.version;
        let card = Card::get(ordinal).map_err(other)?;
        let target = card.arch().map_err(other).and_then(|arch| {
            nvrtc::target(arch).map_err(|error| match error {
                nvrtc::CompileError::Missing(missing) => missing,
                error => Missing::Other { what: format!("{error}.") },
            })
        })?;
        let shared = Shared {
            name: card.name().map_err(other)?,
            processors: card.processors().map_err(other)?,
            target,
            compiler,
            cache: Cache::of_user(),
            kernels: Once::new(),
            context: Context::of(card).map_err(other)?,
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// A failure of the driver, as a sentence.
fn other(error: ExecError) -> Missing {
    let text = error.to_string();
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    Missing::Other { what: format!("{first}{}.", letters.as_str()) }
}

impl Shared {
    /// Finds a kernel on disk, or compiles it.
    fn load(&self, source: &Source, key: &Key) -> Result<Function, ExecError> {
        let place = |code: &[u8]| Function::load(&self.context, code, Source::ENTRY, source.words);
        if let Some(code) = self.cache.as_ref().and_then(|cache| cache.read(key)) {
            match place(&code) {
                Ok(function) => return Ok(function),
                Err(error) => tracing::info!("a kernel that was compiled before does not load ({error})"),
            }
        }
        let compiled = nvrtc::compile(source, self.target, Verbosity::Quiet)?;
        if !compiled.log.is_empty() {
            tracing::debug!("NVRTC: {}", compiled.log);
        }
        let function = place(&compiled.code)?;
        if let Some(cache) = &self.cache {
            cache.write(key, &compiled.code);
        }
        Ok(function)
    }
}

impl Runtime for Driver {
    fn name(&self) -> String {
        self.shared.name.clone()
    }

    fn memory(&self) -> Result<Memory, ExecError> {
        self.shared.context.memory()
    }

    fn processors(&self) -> u32 {
        self.shared.processors
    }

    fn compile(&self, source: &Source) -> Result<Arc<dyn Kernel>, ExecError> {
        let key = Key::new(source, self.shared.target, self.shared.compiler);
        let function = self.shared.kernels.get(key.clone(), || self.shared.load(source, &key))?;
        if function.words() != source.words {
            let what = "the same text was compiled for another number of words".into();
            return Err(ExecError::Device { what });
        }
        Ok(function)
    }

    fn lane(&self) -> Result<Box<dyn super::runtime::Lane>, ExecError> {
        Ok(Box::new(Lane::new(&self.shared)?))
    }
}
