//! NVRTC: CUDA C++ in, code for a card out. No driver and no card are needed for it.

mod library;

use std::path::PathBuf;
use std::sync::OnceLock;

use library::Library;

use super::missing::{Missing, Version};
use super::target::{Arch, Target};
use crate::device::cuda::source::Source;
use crate::problem::ExecError;

/// The variable that names the folder of NVRTC's library.
pub const VARIABLE: &str = "GROWMERGE_NVRTC";

/// Which NVRTC compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Its release.
    pub version: Version,
    /// Path, or name if the system found it by that.
    pub from: String,
    /// What it makes machine code for.
    pub archs: Vec<Arch>,
}

/// Whether the log says what a kernel takes of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Warnings only.
    Quiet,
    /// Registers and spills too.
    Resources,
}

/// What was made of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What it was made for.
    pub target: Target,
    /// A cubin, or PTX with a zero at its end.
    pub code: Vec<u8>,
    /// What the compiler had to say.
    pub log: String,
}

/// Why nothing was made of a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// There is no compiler.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The card is older than everything that the compiler makes code for.
    #[error(
        "NVRTC {version} makes no code for compute capability {arch}; the oldest that it knows is {oldest}"
    )]
    Arch {
        /// The compiler's.
        version: Version,
        /// The card's.
        arch: Arch,
        /// The least of [`Compiler::archs`].
        oldest: Arch,
    },
    /// The compiler refused the source.
    #[error("NVRTC refused a kernel ({what}):\n{log}")]
    Source {
        /// In a word.
        what: String,
        /// With lines and carets.
        log: String,
    },
    /// The compiler failed without a reason in its log.
    #[error("NVRTC failed: {what}")]
    Failed {
        /// Its word for it.
        what: String,
    },
}

impl From<CompileError> for ExecError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Missing(missing) => missing.into(),
            other => Self::Device { what: other.to_string() },
        }
    }
}

/// The process's NVRTC. Looked for once: libraries are not unloaded.
fn library() -> Result<&'static Library, Missing> {
    static FOUND: OnceLock<Result<Library, Missing>> = OnceLock::new();
    let find = || {
        let folder = std::env::var_os(VARIABLE).filter(|f| !f.is_empty()).map(PathBuf::from);
        Library::find(folder.as_deref())
    };
    FOUND.get_or_init(find).as_ref().map_err(Missing::clone)
}

/// Which NVRTC there is.
///
/// # Errors
/// Where it was looked for, and how to get it.
pub fn compiler() -> Result<Compiler, Missing> {
    let library = library()?;
    Ok(Compiler { version: library.version, from: library.from.clone(), archs: library.archs.clone() })
}

/// What is made for a card of this architecture.
///
/// # Errors
/// If there is no compiler, or it knows newer cards only.
pub fn target(arch: Arch) -> Result<Target, CompileError> {
    let library = library()?;
    Target::of(arch, &library.archs).ok_or_else(|| CompileError::Arch {
        version: library.version,
        arch,
        oldest: library.archs.iter().min().copied().unwrap_or(arch),
    })
}

/// Compiles a source with [`Source::OPTIONS`].
///
/// # Errors
/// If there is no compiler, or it refuses; then with what it says of the lines.
pub fn compile(source: &Source, target: Target, verbosity: Verbosity) -> Result<Compiled, CompileError> {
    let mut options: Vec<String> = Source::OPTIONS.map(String::from).to_vec();
    options.push(format!("--gpu-architecture={target}"));
    // A source has every function that some kernel calls, and each calls few.
    options.push("--diag-suppress=177".into());
    match verbosity {
        Verbosity::Quiet => {}
        Verbosity::Resources => options.push("--ptxas-options=-v".into()),
    }
    let (code, log) = library()?.compile(&source.text, &options, target)?;
    Ok(Compiled { target, code, log })
}
