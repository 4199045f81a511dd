//! Recorded values → the text of one kernel, and its arguments.
//!
//! Equal structures give equal texts, whatever the numbers in them, so a merge compiles a handful of kernels.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::node::{Arg, Node};
use super::source::Source;
use crate::checkpoint::DType;
use crate::problem::ExecError;

const PRELUDE: &str = concat!(
    include_str!("../../../kernels/prelude.cuh"),
    include_str!("../../../kernels/math.cuh"),
    include_str!("../../../kernels/draws.cuh"),
    include_str!("../../../kernels/element.cuh"),
);

/// What is done with the values of a block: a file of `kernels/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sink {
    /// Stored in a type, NaN as there is one.
    Store(DType),
    /// Kept as f32, bit for bit.
    Keep,
    LineDots,
    LineAbsSums,
    EqualCounts,
    ColumnDots,
    AbsCounts,
    Overlaps,
    Divergences,
    Ranked,
}

/// How a type's elements are called in `kernels/prelude.cuh`.
fn words_of(dtype: DType) -> Result<(&'static str, &'static str), ExecError> {
    match dtype {
        DType::BF16 => Ok(("u16", "bf16")),
        DType::F16 => Ok(("u16", "f16")),
        DType::F32 => Ok(("u32", "f32")),
        DType::F64 => Ok(("u64", "f64")),
        other => Err(ExecError::NoArithmetic { dtype: other.name() }),
    }
}

impl Sink {
    /// How many words of its own come first.
    fn words(self) -> usize {
        match self {
            Self::Store(_) | Self::Keep | Self::ColumnDots | Self::Overlaps => 3,
            Self::LineDots | Self::LineAbsSums | Self::EqualCounts => 5,
            Self::Divergences => 4,
            Self::AbsCounts => 6,
            Self::Ranked => 9,
        }
    }

    fn defines(self) -> Result<String, ExecError> {
        let stored = |ty: &str, name: &str| {
            format!("#define TYPE {ty}\n#define TO to_{name}\n#define NO_NUMBER no_number_{name}\n")
        };
        let sums = |ty: &str, term: &str| format!("#define SUM {ty}\n#define TERM(of) ({term})\n");
        Ok(match self {
            Self::Store(dtype) => words_of(dtype).map(|(ty, name)| stored(ty, name))?,
            Self::Keep => stored("u32", "bits"),
            Self::LineDots => sums("double", "(double)of[0] * (double)of[1]"),
            Self::LineAbsSums => sums("double", "(double)fabsf(of[0])"),
            Self::EqualCounts => sums("u32", "key_of(of[0]) == key ? 1u : 0u"),
            _ => String::new(),
        })
    }

    fn text(self) -> &'static str {
        match self {
            Self::Store(_) | Self::Keep => include_str!("../../../kernels/store.cu"),
            Self::LineDots | Self::LineAbsSums | Self::EqualCounts => {
                include_str!("../../../kernels/lines.cu")
            }
            Self::ColumnDots => include_str!("../../../kernels/columns.cu"),
            Self::AbsCounts => include_str!("../../../kernels/counts.cu"),
            Self::Overlaps => include_str!("../../../kernels/overlaps.cu"),
            Self::Divergences => include_str!("../../../kernels/divergence.cu"),
            Self::Ranked => include_str!("../../../kernels/ranked.cu"),
        }
    }
}

/// A kernel to be, and what it is called with.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) sink: Sink,
    /// What differs from other kernels with the same sink.
    pub(super) body: String,
    /// The functions that it calls, for those who read sources.
    calls: Vec<&'static str>,
    pub(super) words: Vec<u64>,
}

impl Program {
    /// The whole source.
    pub(super) fn source(&self) -> Result<Source, ExecError> {
        let Self { sink, body, calls, words } = self;
        let title = format!("// {sink:?}: {}\n", calls.join(", "));
        let text = [&title, PRELUDE, body, &sink.defines()?, sink.text()].concat();
        Ok(Source { text, words: words.len() })
    }

    /// A kernel that computes `outputs` and does with them what `sink` says, with its `words`.
    pub(super) fn new(sink: Sink, words: &[u64], outputs: &[&Arc<Node>]) -> Result<Self, ExecError> {
        debug_assert_eq!(words.len(), sink.words(), "{sink:?}");
        let mut writer = Writer { words: words.to_vec(), ..Writer::default() };
        let values: Vec<String> = outputs.iter().map(|node| writer.value(node)).collect::<Result<_, _>>()?;
        let Writer { words, leaves, reads, fours, computes, calls, .. } = writer;
        let mut body = String::new();
        for (i, value) in values.iter().enumerate() {
            let _ = writeln!(body, "    values.of[{i}] = {value};");
        }
        let body = format!(
            "#define OUTPUTS {}\n\
             struct Args {{ u64 word[{}]; }};\n\
             struct Leaves {{ float of[{}]; }};\n\
             struct Values {{ float of[OUTPUTS]; }};\n\
             DEVICE void read(const Args &args, u64 i, Leaves &leaves) {{\n{reads}}}\n\
             DEVICE void read_four(const Args &args, u64 four, Leaves *leaves) {{\n{fours}}}\n\
             DEVICE void compute(const Args &args, u64 i, const Leaves &leaves, Values &values) {{\n{computes}{body}}}\n",
            outputs.len().max(1),
            words.len(),
            leaves.max(1),
        );
        Ok(Self { sink, body, calls, words })
    }
}

#[derive(Default)]
struct Writer {
    words: Vec<u64>,
    /// Names of values that are written already.
    names: HashMap<*const Node, String>,
    leaves: usize,
    made: usize,
    calls: Vec<&'static str>,
    reads: String,
    fours: String,
    computes: String,
}

impl Writer {
    fn word(&mut self, word: u64) -> String {
        self.words.push(word);
        format!("args.word[{}]", self.words.len() - 1)
    }

    /// Writes everything that a value is made of, and returns its name.
    fn value(&mut self, node: &Arc<Node>) -> Result<String, ExecError> {
        // Chains are as long as there are models, which is more than a stack wants.
        let mut open = vec![node];
        while let Some(node) = open.last().copied() {
            let before = open.len();
            open.extend(node.of().filter(|of| !self.names.contains_key(&Arc::as_ptr(of))));
            if open.len() > before {
                continue;
            }
            open.pop();
            if !self.names.contains_key(&Arc::as_ptr(node)) {
                let name = self.write(node)?;
                self.names.insert(Arc::as_ptr(node), name);
            }
        }
        Ok(self.name(node))
    }

    fn name(&self, node: &Arc<Node>) -> String {
        self.names.get(&Arc::as_ptr(node)).cloned().unwrap_or_default()
    }

    /// Writes one value, of which all that it is made of is written.
    fn write(&mut self, node: &Node) -> Result<String, ExecError> {
        let (call, args) = match node {
            Node::Stored { block, dtype } => {
                let (ty, from) = words_of(*dtype)?;
                let (at, leaf) = (self.word(block.at()), self.leaves);
                self.leaves += 1;
                let _ = writeln!(self.reads, "    leaves.of[{leaf}] = from_{from}(((const {ty} *){at})[i]);");
                let _ = write!(
                    self.fours,
                    "    const Four<{ty}> x{leaf} = ((const Four<{ty}> *){at})[four];\n\
                     #pragma unroll\n    for (int j = 0; j < 4; ++j) leaves[j].of[{leaf}] = from_{from}(x{leaf}.of[j]);\n"
                );
                return Ok(format!("leaves.of[{leaf}]"));
            }
            Node::Made { call, args, .. } => (call, args),
        };
        let name = format!("v{}", self.made);
        self.made += 1;
        if !self.calls.contains(call) {
            self.calls.push(call);
        }
        let mut given = Vec::with_capacity(args.len());
        for (i, arg) in args.iter().enumerate() {
            let text = match arg {
                Arg::Value(node) => self.name(node),
                Arg::Values(nodes) => {
                    let all = nodes.iter().map(|node| self.name(node)).collect();
                    self.array("float", &name, i, all)
                }
                Arg::F32(x) => format!("as_f32({})", self.word(u64::from(x.to_bits()))),
                Arg::F64(x) => format!("as_f64({})", self.word(x.to_bits())),
                Arg::U32(x) => format!("(u32){}", self.word(u64::from(*x))),
                Arg::U64(x) => self.word(*x),
                Arg::Floats(x) => {
                    let word = |x: &f32| format!("as_f32({})", self.word(u64::from(x.to_bits())));
                    let all = x.iter().map(word).collect();
                    self.array("float", &name, i, all)
                }
                Arg::Doubles(x) => {
                    let word = |x: &f64| format!("as_f64({})", self.word(x.to_bits()));
                    let all = x.iter().map(word).collect();
                    self.array("double", &name, i, all)
                }
                Arg::Table(block) => format!("(const float *){}", self.word(block.at())),
                Arg::Index => "i".to_owned(),
            };
            given.push(text);
        }
        let _ = writeln!(self.computes, "    const float {name} = {call}({});", given.join(", "));
        Ok(name)
    }

    fn array(&mut self, ty: &str, name: &str, arg: usize, of: Vec<String>) -> String {
        let _ = writeln!(self.computes, "    const {ty} {name}_{arg}[] = {{{}}};", of.join(", "));
        format!("{name}_{arg}")
    }
}
