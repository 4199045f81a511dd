//! A job: one tensor of the output, where its inputs are and what is done with them.

use crate::checkpoint::{Checkpoint, DType, TensorInfo};
use crate::device::{Chunk, LINE};
use crate::method::{AnyOperator, Args, Stat, Then};

/// A tensor of one of the plan's checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// Position in the plan's inputs.
    pub input: usize,
    /// Position in that checkpoint's tensors.
    pub tensor: usize,
}

impl Source {
    /// The tensor's description.
    pub fn info(self, inputs: &[Checkpoint]) -> &TensorInfo {
        &inputs[self.input].tensors()[self.tensor]
    }

    /// Some of its elements, as they lie in the file.
    pub fn chunk(self, inputs: &[Checkpoint], elements: std::ops::Range<usize>) -> Chunk<'_> {
        let info = self.info(inputs);
        let size = info.dtype.size();
        let bytes = inputs[self.input].bytes(info);
        let bytes = bytes.get(elements.start * size..elements.end * size).unwrap_or_default();
        Chunk { dtype: info.dtype, bytes }
    }

    /// Brings some of its elements into memory before they are used.
    pub fn prefetch(self, inputs: &[Checkpoint], elements: std::ops::Range<usize>) {
        let info = self.info(inputs);
        let size = info.dtype.size();
        inputs[self.input].prefetch(info, elements.start * size..elements.end * size);
    }
}

/// What is done with the inputs of a job.
#[derive(Debug)]
pub enum Work {
    /// The bytes of one source, unchanged; any dtype.
    Copy(Source),
    /// Arithmetic.
    Merge(Box<dyn AnyOperator>),
}

/// One output tensor.
#[derive(Debug)]
pub struct Job {
    /// Name in the output.
    pub name: String,
    /// Element type in the output.
    pub dtype: DType,
    /// Shape, the same for all inputs.
    pub shape: Vec<usize>,
    /// The models, without the base where the method takes differences from it.
    pub models: Vec<Source>,
    /// The base, where the method takes differences from it.
    pub base: Option<Source>,
    /// Copy or arithmetic.
    pub work: Work,
    /// Global parameters as resolved for this tensor.
    pub global: Args,
    /// Parameters of each of `models`.
    pub per_model: Vec<Args>,
}

impl Job {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements that are not parted when the tensor is cut into pieces: a line, or a row.
    pub fn grain(&self) -> usize {
        match &self.work {
            Work::Copy(_) => LINE,
            Work::Merge(op) => op.run_length(),
        }
    }

    /// Bytes in the output.
    pub fn bytes(&self) -> u64 {
        self.elements() as u64 * self.dtype.size() as u64
    }

    /// Every source that is read: models in order, then the base.
    pub fn sources(&self) -> impl Iterator<Item = Source> {
        self.models.iter().copied().chain(self.base)
    }

    /// Bytes of all sources.
    pub fn input_bytes(&self, inputs: &[Checkpoint]) -> u64 {
        self.sources().map(|s| s.info(inputs).range.end - s.info(inputs).range.start).sum()
    }

    /// How often the inputs are read, as a rule: once to merge, and for statistics before.
    pub fn passes(&self) -> u64 {
        let Work::Merge(op) = &self.work else { return 1 };
        let of = |stat: Stat| match stat {
            Stat::Gram(_) | Stat::ColumnGram { .. } | Stat::DrawSums { .. } | Stat::Overlap { .. } => 1,
            Stat::Cuts { then: Then::Magnitude | Then::Cut, .. } => 2,
            Stat::Cuts { then: Then::AbsSums | Then::Squares, .. } => 3,
        };
        1 + op.stats().into_iter().map(of).max().unwrap_or(0)
    }
}
