//! NVIDIA's compiler on the kernels that every method becomes, without a card. It is no part of a Rust toolchain: without one this says so
//! and passes, and GROWMERGE_REQUIRE_NVRTC=1 forbids that.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cuda/host.rs"]
mod host;
mod support;

use std::io::Write;
use std::sync::OnceLock;

use growmerge::checkpoint::DType;
use growmerge::device::cuda::driver::nvrtc::{self, CompileError, Compiled, Verbosity};
use growmerge::device::cuda::driver::{Arch, Target};
use growmerge::device::cuda::source::Source;
use growmerge::device::{Chunk, Device};
use host::{Host, Threads};
use safetensors::tensor::Dtype;
use support::every::set;
use support::{plan, run};

/// The cards that are compiled for: A100 and H100.
const ARCHS: [u32; 2] = [80, 90];

/// A kernel that asks for everything by which machines differ.
const ARITHMETIC: &str = r#"
struct Words { unsigned long long w[4]; };

static __device__ float unused(float x) { return x; }

extern "C" __global__ void growmerge_kernel(Words words) {
    float *out = (float *)words.w[0];
    const float *a = (const float *)words.w[1];
    const float *b = (const float *)words.w[2];
    unsigned long long step = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < words.w[3]; i += step) {
        double wide = (double)a[i] * (double)b[i] + (double)out[i];
        out[i] = a[i] * b[i] + sqrtf(out[i]) / b[i] + (float)wide;
    }
}
"#;

/// What is compiled, by name: the kernels that merges by all methods become.
fn sources() -> &'static [(String, Source)] {
    static SOURCES: OnceLock<Vec<(String, Source)>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut sources = vec![("arithmetic".into(), Source { text: ARITHMETIC.into(), words: 4 })];
        let Some(host) = Host::new(Threads::One, 1 << 30) else { return sources };
        let (cuda, shared) = host.device();
        for text in set(false, [Dtype::BF16; 4]).recipes() {
            run(&plan(&text), &cuda, 2).unwrap();
        }
        // As many arguments as a kernel may have.
        let mut sum = cuda.zeros(4).unwrap();
        for _ in 0..370 {
            cuda.add_scaled(&mut sum, 0.5, Chunk { dtype: DType::BF16, bytes: &[0; 8] }).unwrap();
        }
        cuda.store(&sum, DType::BF16, &mut [0; 8]).unwrap();
        let made = shared.sources.lock().unwrap();
        assert!(made.iter().any(|source| source.words > 700));
        let named =
            |source: &Source| (source.text.lines().next().unwrap_or_default().to_owned(), source.clone());
        sources.extend(made.iter().map(named));
        assert!(sources.len() > 30, "{}", sources.len());
        sources
    })
}

/// Whether there is an NVRTC; if not, says so.
fn found() -> bool {
    match nvrtc::compiler() {
        Ok(compiler) => {
            println!("NVRTC {} from {}", compiler.version, compiler.from);
            true
        }
        Err(missing) => {
            let required = std::env::var_os("GROWMERGE_REQUIRE_NVRTC").is_some_and(|v| v == "1");
            assert!(!required, "{missing}");
            // Past the test harness, which shows nothing of a test that passes.
            let hint = missing.hint().unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "skipped: {missing} {hint}");
            false
        }
    }
}

fn compile(source: &Source, target: Target) -> Compiled {
    nvrtc::compile(source, target, Verbosity::Resources).unwrap_or_else(|error| panic!("{target}: {error}"))
}

/// The number in front of a word in a log.
fn before(log: &str, word: &str) -> Option<u64> {
    log[..log.find(word)?].split_ascii_whitespace().next_back()?.parse().ok()
}

#[test]
fn every_source_compiles_and_says_what_it_takes() {
    if !found() {
        return;
    }
    for arch in ARCHS.map(Arch::of_number) {
        let target = nvrtc::target(arch).unwrap();
        assert_eq!(target, Target::Cubin(arch));
        for (name, source) in sources() {
            let compiled = compile(source, target);
            assert!(compiled.code.starts_with(b"\x7fELF"), "{name}: a cubin");
            let text = String::from_utf8_lossy(&compiled.code);
            assert!(text.contains(Source::ENTRY), "{name}: the kernel is called as it should be");
            let registers = before(&compiled.log, " registers").unwrap_or_else(|| panic!("{}", compiled.log));
            let stores = before(&compiled.log, " bytes spill stores").unwrap();
            let loads = before(&compiled.log, " bytes spill loads").unwrap();
            println!("{target} {registers:3} registers, {stores} + {loads} bytes spilled  {name}");
            assert_eq!((stores, loads), (0, 0), "{name} spills");
        }
        let (name, source) = &sources()[0];
        let again = [(); 2].map(|()| compile(source, target).code);
        assert!(again[0] == again[1], "{name}: a compiler that is asked again answers the same");
    }
}

/// Instructions on floats that do not round by themselves, or round in another way than a CPU. What a driver makes of PTX is
/// up to the driver, unless each instruction says how it rounds.
fn careless(source: &Source) -> Vec<String> {
    let compiled = compile(source, Target::Ptx(Arch::of_number(80)));
    assert_eq!(compiled.code.last(), Some(&0), "a text that ends");
    let text = String::from_utf8(compiled.code).unwrap();
    let words = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
    let floats = words.filter(|word| word.contains(".f32") || word.contains(".f64"));
    let careless = |word: &&str| {
        let operation = word.split('.').next().unwrap();
        let rounds = ["add", "sub", "mul", "div", "sqrt", "rcp"].contains(&operation);
        operation == "fma"
            || word.contains(".ftz")
            || word.contains(".approx")
            || rounds && !word.contains(".rn")
    };
    floats.filter(careless).map(str::to_owned).collect()
}

#[test]
fn every_operation_rounds_by_itself() {
    if !found() {
        return;
    }
    for (name, source) in sources() {
        assert_eq!(careless(source), Vec::<String>::new(), "{name}");
    }
    // What is looked for is found where it is.
    let with = |from: &str, to: &str| Source { text: ARITHMETIC.replace(from, to), words: 4 };
    assert_eq!(careless(&with("sqrtf(out[i])", "fmaf(out[i], 2.0f, b[i])")), ["fma.rn.f32"]);
    assert_eq!(careless(&with("sqrtf(out[i])", "__expf(out[i])")), ["ex2.approx.f32"]);
}

#[test]
fn a_source_that_is_wrong_is_refused_with_its_line() {
    if !found() {
        return;
    }
    let wrong =
        Source { text: "extern \"C\" __global__ void growmerge_kernel() {\n  x = 1;\n}".into(), words: 1 };
    let target = Target::Cubin(Arch::of_number(90));
    match nvrtc::compile(&wrong, target, Verbosity::Quiet) {
        Err(CompileError::Source { log, .. }) => {
            assert!(log.contains("growmerge.cu(2)") && log.contains("\"x\" is undefined"), "{log}");
        }
        other => panic!("{other:?}"),
    }
    let right = Source { text: ARITHMETIC.into(), words: 4 };
    assert_eq!(nvrtc::compile(&right, target, Verbosity::Quiet).unwrap().log, "", "nothing is said unasked");
    let old = nvrtc::target(Arch { major: 3, minor: 5 }).unwrap_err().to_string();
    assert!(old.contains("makes no code for compute capability 3.5"), "{old}");
    let newest = nvrtc::compiler().unwrap().archs.into_iter().max().unwrap();
    assert_eq!(nvrtc::target(Arch { major: 99, minor: 0 }), Ok(Target::Ptx(newest)));
}
