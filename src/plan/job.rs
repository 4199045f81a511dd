//! A job: one tensor of the output, where its inputs are and what is done with them.

use super::{Input, Leaf, Lookup, Order};
use crate::checkpoint::{DType, TensorInfo};
use crate::device::LINE;
use crate::method::{AnyOperator, Args, Stat, Then};

/// A tensor of one of the plan's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// Position in the plan's inputs.
    pub input: usize,
    /// Position among that input's tensors, as they are seen.
    pub tensor: usize,
}

impl Source {
    /// The tensor's description, as it is seen.
    pub fn info(self, inputs: &[Input]) -> &TensorInfo {
        &inputs[self.input].tensors()[self.tensor]
    }

    /// The stored tensors that it is made of.
    pub fn leaves(self, inputs: &[Input]) -> Vec<Leaf<'_>> {
        inputs[self.input].leaves(self.tensor)
    }

    /// The name of the tensor that it is made of, as its model or the stage has it.
    pub fn origin_name(self, inputs: &[Input]) -> &str {
        let first = inputs[self.input].leaves(self.tensor).into_iter().next();
        let stored = first.filter(|_| inputs[self.input].stage().is_none());
        stored.map_or(&self.info(inputs).name, |leaf| &leaf.info().name)
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

/// What a job reads beside models and base: a tensor for each of the models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    #[default]
    Nothing,
    /// Tensors of the job's shape, the same elements as of the models.
    Along(Vec<Source>),
    /// Tensors that every block needs all of.
    Whole(Vec<Source>),
}

impl Beside {
    /// Its tensors.
    pub fn sources(&self) -> &[Source] {
        match self {
            Self::Nothing => &[],
            Self::Along(sources) | Self::Whole(sources) => sources,
        }
    }
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
    /// What is read beside them.
    pub beside: Beside,
    /// Copy or arithmetic.
    pub work: Work,
    /// Global parameters as resolved for this tensor.
    pub global: Args,
    /// Parameters of each of `models`; none where the only source is taken as it is.
    pub per_model: Vec<Args>,
    /// Who set them.
    pub lookup: Lookup,
}

impl Job {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements in a row: the last dimension. A vector is one row.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
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

    /// Whether the only source is taken as it is, whatever the parameters say.
    pub fn is_as_it_is(&self) -> bool {
        self.per_model.is_empty()
    }

    /// Every source that is read: models in order, then the base, then what stands beside the models.
    pub fn sources(&self) -> impl Iterator<Item = Source> {
        self.models.iter().copied().chain(self.base).chain(self.beside.sources().iter().copied())
    }

    /// The sources that are read from the first element to the last: all but those that blocks need all of.
    pub fn streamed(&self) -> impl Iterator<Item = Source> {
        let along = match &self.beside {
            Beside::Along(sources) => sources.as_slice(),
            Beside::Nothing | Beside::Whole(_) => &[],
        };
        self.models.iter().copied().chain(self.base).chain(along.iter().copied())
    }

    /// The sources of which every block needs all.
    pub fn whole(&self) -> &[Source] {
        match &self.beside {
            Beside::Whole(sources) => sources,
            Beside::Nothing | Beside::Along(_) => &[],
        }
    }

    /// The stored tensors behind all sources, in order.
    pub fn leaves<'a>(&self, inputs: &'a [Input]) -> Vec<Leaf<'a>> {
        let whole = self.whole().iter().flat_map(|s| s.leaves(inputs));
        let whole = whole.map(|leaf| Leaf { order: Order::Any, ..leaf });
        self.streamed().flat_map(|s| s.leaves(inputs)).chain(whole).collect()
    }

    /// Bytes of all sources, as they are seen.
    pub fn input_bytes(&self, inputs: &[Input]) -> u64 {
        let bytes = |info: &TensorInfo| (info.elements() * info.dtype.size()) as u64;
        self.sources().map(|s| bytes(s.info(inputs))).sum()
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
