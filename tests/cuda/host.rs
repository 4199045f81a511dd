//! Runs kernels on the host: compiled by the system's C++ compiler through `kernels/host.h`.
//!
//! It watches what a card would not: memory is filled with garbage, has guards behind it, and copies must stay inside it.
#![allow(unsafe_code, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use growmerge::device::cuda::Cuda;
use growmerge::device::cuda::runtime::{Address, Kernel, Lane, Memory, Runtime, Shape};
use growmerge::device::cuda::source::Source;
use growmerge::problem::ExecError;
use sha2::{Digest, Sha256};

/// The compiler, if there is one.
pub(crate) fn compiler() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let name = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
        let runs = Command::new(&name).arg("--version").output().is_ok_and(|out| out.status.success());
        if !runs {
            let told = format!("no C++ compiler ({}): kernels are not run on the host", name.display());
            let required = std::env::var_os("GROWMERGE_REQUIRE_CXX").is_some_and(|v| v == "1");
            assert!(!required, "{told}");
            // Past the test harness, which shows nothing of a test that passes.
            let _ = writeln!(std::io::stderr(), "skipped: {told}");
        }
        runs.then(|| name.into())
    };
    FOUND.get_or_init(find).clone()
}

/// How the threads of a block run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One of them does everything.
    One,
    /// So many at once, in few blocks.
    Together(u32),
}

/// A line of memory as a card aligns it.
#[derive(Clone, Copy)]
#[repr(align(256))]
struct Line([u8; 256]);

const GARBAGE: u8 = 0xA5;

/// A device that is the host.
#[derive(Debug)]
pub(crate) struct Host {
    compiler: PathBuf,
    threads: Threads,
    /// Bytes that may be allocated at once.
    limit: usize,
    shared: Arc<Shared>,
}

/// Kernels by their libraries, of all devices: a library that is loaded twice is one, and so is the memory that its threads share.
static KERNELS: Mutex<BTreeMap<PathBuf, Arc<Compiled>>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
pub(crate) struct Shared {
    memory: Mutex<BTreeMap<Address, Vec<Line>>>,
    pub(crate) uploaded: AtomicU64,
    pub(crate) launches: AtomicUsize,
    /// What was compiled.
    pub(crate) sources: Mutex<Vec<Source>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

#[derive(Debug)]
struct Compiled {
    /// Memory that threads share is the library's own, so only one launch at a time.
    library: Mutex<libloading::Library>,
    words: usize,
}

impl Kernel for Compiled {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Host {
    /// With so much memory; nothing if there is no compiler.
    pub(crate) fn new(threads: Threads, limit: usize) -> Option<Self> {
        let shared = Arc::new(Shared::default());
        Some(Self { compiler: compiler()?, threads, limit, shared })
    }

    /// A device on it that may take all of its memory.
    pub(crate) fn device(self) -> (Cuda, Arc<Shared>) {
        let (shared, limit) = (self.shared.clone(), self.limit as u64);
        (Cuda::new(Arc::new(self), limit), shared)
    }

    /// A folder that stays between runs.
    pub(crate) fn folder() -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn build(&self, source: &Source) -> PathBuf {
        let host = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/host.h")).unwrap();
        let text = format!(
            "{host}\n#line 1 \"kernel\"\n{}\nextern \"C\" void run(const Args *args, unsigned blocks, unsigned threads) {{\n    \
             host_launch(blocks, threads, [=] {{ {}(*args); }});\n}}\n",
            source.text,
            Source::ENTRY
        );
        let hash = Sha256::digest(&text);
        let name: String = hash.iter().take(16).map(|b| format!("{b:02x}")).collect();
        let library = Self::folder().join(format!("{name}.so"));
        if library.exists() {
            return library;
        }
        // Written aside and renamed: other tests may want the same.
        let own =
            Self::folder().join(format!("{name}-{}-{:?}", std::process::id(), std::thread::current().id()));
        let (code, made) = (own.with_extension("cpp"), own.with_extension("tmp"));
        std::fs::write(&code, text).unwrap();
        let out = Command::new(&self.compiler)
            .args([
                "-std=c++20",
                "-O1",
                "-ffp-contract=off",
                "-fno-fast-math",
                "-shared",
                "-fPIC",
                "-pthread",
            ])
            .args([
                "-Wall",
                "-Wextra",
                "-Wno-unknown-pragmas",
                "-Wno-unused-function",
                "-Wno-unused-parameter",
            ])
            .args(["-Wno-unused-variable", "-Werror", "-o"])
            .args([&made, &code])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stderr), source.text);
        std::fs::rename(&made, &library).unwrap();
        std::fs::rename(&code, library.with_extension("cpp")).unwrap();
        std::fs::write(library.with_extension("cu"), &source.text).unwrap();
        library
    }
}

impl Runtime for Host {
    fn name(&self) -> String {
        format!("host, {:?}", self.threads)
    }

    fn memory(&self) -> Result<Memory, ExecError> {
        let total = self.limit as u64;
        Ok(Memory { free: total, total })
    }

    fn processors(&self) -> u32 {
        1
    }

    fn compile(&self, source: &Source) -> Result<Arc<dyn Kernel>, ExecError> {
        self.shared.sources.lock().unwrap().push(source.clone());
        let file = self.build(source);
        let mut kernels = KERNELS.lock().unwrap();
        if let Some(known) = kernels.get(&file) {
            return Ok(known.clone());
        }
        // SAFETY: the library was built from a kernel; it does nothing when it is loaded.
        let library = Mutex::new(unsafe { libloading::Library::new(&file).unwrap() });
        let compiled = Arc::new(Compiled { library, words: source.words });
        kernels.insert(file, compiled.clone());
        Ok(compiled)
    }

    fn lane(&self) -> Result<Box<dyn Lane>, ExecError> {
        Ok(Box::new(HostLane { threads: self.threads, limit: self.limit, shared: self.shared.clone() }))
    }
}

#[derive(Debug)]
struct HostLane {
    threads: Threads,
    limit: usize,
    shared: Arc<Shared>,
}

impl HostLane {
    /// Checks that some bytes lie within one allocation.
    fn check(&self, at: Address, len: usize) {
        let memory = self.shared.memory.lock().unwrap();
        let (from, lines) = memory.range(..=at).next_back().expect("an address that was allocated");
        let end = from + (lines.len() as u64 - 1) * 256;
        assert!(at + len as u64 <= end, "{len} bytes at {at:#x} leave {from:#x} .. {end:#x}");
    }
}

impl Lane for HostLane {
    fn allocate(&mut self, bytes: usize) -> Result<Address, ExecError> {
        let mut memory = self.shared.memory.lock().unwrap();
        let taken: usize = memory.values().map(|lines| (lines.len() - 1) * 256).sum();
        if taken + bytes > self.limit {
            return Err(ExecError::DeviceMemory { bytes });
        }
        // One more line, which nobody may write.
        let lines = vec![Line([GARBAGE; 256]); bytes.div_ceil(256) + 1];
        let at = lines.as_ptr().addr() as Address;
        memory.insert(at, lines);
        Ok(at)
    }

    fn free(&mut self, at: Address) {
        let lines = self.shared.memory.lock().unwrap().remove(&at).expect("memory is freed once");
        assert!(lines.last().unwrap().0.iter().all(|b| *b == GARBAGE), "a kernel wrote behind {at:#x}");
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), ExecError> {
        self.check(to, bytes.len());
        self.shared.uploaded.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // SAFETY: `check` found that the bytes lie in one allocation, which only this queue uses.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as usize as *mut u8, bytes.len()) };
        Ok(())
    }

    fn clear(&mut self, at: Address, bytes: usize) -> Result<(), ExecError> {
        self.check(at, bytes);
        // SAFETY: as in `upload`.
        unsafe { std::ptr::write_bytes(at as usize as *mut u8, 0, bytes) };
        Ok(())
    }

    fn launch(&mut self, kernel: &dyn Kernel, shape: Shape, words: &[u64]) -> Result<(), ExecError> {
        self.shared.launches.fetch_add(1, Ordering::Relaxed);
        let kernel = kernel.as_any().downcast_ref::<Compiled>().unwrap();
        assert_eq!(kernel.words, words.len());
        let (blocks, threads) = match self.threads {
            Threads::One => (shape.blocks.min(3), 1),
            Threads::Together(threads) => (shape.blocks.min(3), shape.threads.min(threads)),
        };
        let library = kernel.library.lock().unwrap();
        type Run = unsafe extern "C" fn(*const u64, u32, u32);
        // SAFETY: `run` has this signature, see `build`; the words are as many as the kernel reads, and what they point at was
        // allocated above, with room for what the kernels say they touch.
        unsafe { library.get::<Run>(b"run").unwrap()(words.as_ptr(), blocks, threads) };
        Ok(())
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), ExecError> {
        self.check(from, bytes.len());
        // SAFETY: as in `upload`.
        unsafe { std::ptr::copy_nonoverlapping(from as usize as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn wait(&mut self) -> Result<(), ExecError> {
        Ok(())
    }
}
