//! The arithmetic of one tensor: declared statistics, then one block at a time.

use std::fmt::Debug;

use crate::device::cpu::Cpu;
use crate::device::{Chunk, Cut, Device, Draw, LINE};
use crate::problem::ExecError;

/// Something about a whole tensor that an operator must know before it can merge a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stat {
    /// Inner products of all pairs of inputs.
    Gram(Vectors),
    /// The same of each column, for a matrix with rows of `width` elements.
    ColumnGram {
        /// Of what.
        of: Vectors,
        /// Number of columns.
        width: usize,
    },
    /// Where to cut to keep the `keep` largest differences of a model from the base; 1 or more, and
    /// fewer than the tensor has elements. Among equals the lower flat index is kept.
    Cut {
        /// Which model.
        model: usize,
        /// How many elements.
        keep: u64,
        /// Whether the sums of magnitudes before and after are wanted too.
        sums: Sums,
    },
    /// The sums of magnitudes of a model's difference from the base, of all and of what a draw keeps.
    DrawSums {
        /// Which model.
        model: usize,
        /// The drop.
        draw: Draw,
    },
}

/// What inner products are taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vectors {
    /// The models as they are.
    Models,
    /// Their differences from the base.
    Deltas,
}

/// Whether sums are measured along with a cut: they cost one more pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// Not needed.
    Skip,
    /// Needed for rescaling.
    Measure,
}

/// Sums of magnitudes of a difference before and after elements were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AbsSums {
    /// Of all elements.
    pub all: f64,
    /// Of the kept ones.
    pub kept: f64,
}

/// The value of a [`Stat`].
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// The upper triangle of `n × n`, row by row.
    Gram(Vec<f64>),
    /// For each pair of the upper triangle, one value for each column.
    ColumnGram(Vec<Vec<f64>>),
    /// Factors that an operator made of its statistics, for each model one or one for each column.
    Factors(Vec<Vec<f32>>),
    /// The cut; the sums are zero where they were not asked for.
    Cut(Cut, AbsSums),
    /// Of a random drop.
    DrawSums(AbsSums),
}

/// One block of a tensor: the same elements of every input.
#[derive(Debug)]
pub struct Block<'a> {
    /// The models in order; without the base where the method takes differences from it.
    pub models: &'a [Chunk<'a>],
    /// The base, where the method takes differences from it.
    pub base: Option<Chunk<'a>>,
    /// Flat index of the first element in the tensor.
    pub first: u64,
    /// What [`Operator::settle`] made of what [`Operator::needs`] asked for.
    pub stats: &'a [Measured],
}

impl<'a> Block<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.models.first().or(self.base.as_ref()).map_or(0, Chunk::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The base. Plans give one to every method that takes differences; an empty chunk otherwise.
    pub fn base(&self) -> Chunk<'a> {
        self.base.unwrap_or(Chunk { dtype: crate::checkpoint::DType::F32, bytes: &[] })
    }
}

/// A method with its parameters for one tensor.
pub trait Operator: Debug + Send + Sync + 'static {
    /// Statistics that must be measured first.
    fn needs(&self) -> Vec<Stat> {
        Vec::new()
    }

    /// Blocks hold whole runs of this many elements (the tensor's last one may be shorter): a line, or
    /// where rows count, the width of a row. Sums over the tensor add sums of these runs.
    fn grain(&self) -> usize {
        LINE
    }

    /// Makes of the statistics, in the order of [`Operator::needs`], what blocks need to know; once for
    /// each tensor, on the host.
    fn settle(&self, measured: Vec<Measured>) -> Vec<Measured> {
        measured
    }

    /// Merges one block.
    ///
    /// # Errors
    /// Only what the device reports.
    fn merge<D: Device>(&self, device: &D, block: &Block<'_>) -> Result<D::Buf, ExecError>;
}

/// An operator for a given device, so that operators can be boxed.
pub trait RunsOn<D: Device> {
    /// [`Operator::merge`].
    ///
    /// # Errors
    /// Only what the device reports.
    fn merge_on(&self, device: &D, block: &Block<'_>) -> Result<D::Buf, ExecError>;
}

impl<T: Operator, D: Device> RunsOn<D> for T {
    fn merge_on(&self, device: &D, block: &Block<'_>) -> Result<D::Buf, ExecError> {
        self.merge(device, block)
    }
}

/// An operator that runs on every device there is. A new backend is one more bound here.
pub trait AnyOperator: RunsOn<Cpu> + Debug + Send + Sync {
    /// [`Operator::needs`].
    fn stats(&self) -> Vec<Stat>;
    /// [`Operator::grain`], at least 1.
    fn run_length(&self) -> usize;
    /// [`Operator::settle`].
    fn settled(&self, measured: Vec<Measured>) -> Vec<Measured>;
}

impl<T: Operator> AnyOperator for T {
    fn stats(&self) -> Vec<Stat> {
        self.needs()
    }

    fn run_length(&self) -> usize {
        self.grain().max(1)
    }

    fn settled(&self, measured: Vec<Measured>) -> Vec<Measured> {
        self.settle(measured)
    }
}
