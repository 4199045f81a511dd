//! The arithmetic of one tensor: declared statistics, then one block at a time.

use std::fmt::Debug;

use super::Invalid;
use crate::device::cpu::Cpu;
use crate::device::cuda::Cuda;
use crate::device::{Chunk, Cut, Device, Draw, LINE, Overlap, RankedDraw};
use crate::problem::ExecError;

/// Something about a whole tensor that an operator must know before it can merge a block.
#[derive(Clone, Debug, PartialEq)]
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
    /// Where to cut to keep the largest. Among equals the lower flat index is kept.
    Cuts {
        /// The largest of what.
        of: Quantity,
        /// How many of them.
        keep: Keep,
        /// What else.
        then: Then,
    },
    /// The sums of magnitudes of a model's difference from the base, of all and of what a draw keeps.
    DrawSums {
        /// Which model.
        model: usize,
        /// The drop.
        drop: RandomDrop,
    },
    /// For each model, how many elements it changes alone and how many along with others.
    Overlap {
        /// Smaller differences are no change.
        epsilon: f32,
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

/// A value for each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// A model's difference from the base.
    Delta(usize),
    /// The variance of all differences from the base.
    Variance,
    /// The first model's difference from the base, times the divergence of its row from the base's.
    Importance {
        /// Elements in a row.
        width: usize,
    },
}

impl Quantity {
    /// Its values in a block, whose base is loaded already.
    ///
    /// # Errors
    /// Only what the device reports.
    pub fn of<D: Device>(self, d: &D, models: &[Chunk<'_>], base: &D::Buf) -> Result<D::Buf, ExecError> {
        let model = |i: usize| models.get(i).copied().unwrap_or(Chunk::NOTHING);
        match self {
            Self::Delta(i) => d.delta(model(i), base),
            Self::Variance => d.variance(&super::vectors(d, models, Some(base))?),
            Self::Importance { width } => {
                importance(d, model(0), base, width, &divergences(d, model(0), base, width)?)
            }
        }
    }
}

/// The divergence of each row of a model from the base's, as [`Quantity::Importance`] has it.
pub(crate) fn divergences<D: Device>(
    d: &D,
    model: Chunk<'_>,
    base: &D::Buf,
    width: usize,
) -> Result<Vec<f32>, ExecError> {
    Ok(d.row_divergences(&d.load(model)?, base, width)?.into_iter().map(|x| x as f32).collect())
}

/// [`Quantity::Importance`] where the divergences are known.
pub(crate) fn importance<D: Device>(
    d: &D,
    model: Chunk<'_>,
    base: &D::Buf,
    width: usize,
    divergences: &[f32],
) -> Result<D::Buf, ExecError> {
    let mut importance = d.delta(model, base)?;
    d.scale_rows(&mut importance, width, divergences)?;
    Ok(importance)
}

/// How many elements a cut keeps: 1 or more, and at most as many as the tensor has.
#[derive(Clone, Debug, PartialEq)]
pub enum Keep {
    /// So many; a cut for each number.
    Counts(Vec<u64>),
    /// This share, rounded down, of those that are not zero; none is fine.
    OfNonZero(f64),
}

/// What is wanted along with cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing, and not even where to part equals: only the magnitude at each cut.
    Magnitude,
    /// Nothing.
    Cut,
    /// The sums of magnitudes of all elements, and of those that the band of the cuts keeps. One more pass.
    AbsSums,
    /// Of each model's difference, the sum of squares of what the cut keeps. One more pass.
    Squares,
}

/// The elements that cuts leave: up to two, of which the one that keeps more keeps, and the other drops
/// what it would keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    keep: Cut,
    drop: Option<Cut>,
}

impl Band {
    /// Of one cut, or of two in any order; of none it is everything.
    pub fn of(cuts: &[Cut]) -> Self {
        let mut cuts = cuts.to_vec();
        cuts.sort_by_key(|cut| (cut.key, std::cmp::Reverse(cut.last)));
        let keep = cuts.first().copied().unwrap_or(Cut::NONE);
        Self { keep, drop: cuts.get(1).copied() }
    }

    /// Sets what is not in the band to zero. `first` is the flat index of the block's first element.
    ///
    /// # Errors
    /// Only what the device reports.
    pub fn apply<D: Device>(&self, d: &D, x: &mut D::Buf, first: u64) -> Result<(), ExecError> {
        d.keep_largest(x, self.keep, first)?;
        match self.drop {
            Some(cut) => d.drop_largest(x, cut, first),
            None => Ok(()),
        }
    }
}

/// A random drop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RandomDrop {
    /// Every element with the same chance.
    Even(Draw),
    /// By rank in rows of `width` elements.
    Ranked {
        /// The chances.
        draw: RankedDraw,
        /// Elements in a row.
        width: usize,
    },
}

impl RandomDrop {
    /// Sets what is dropped to zero. `first` is the flat index of the block's first element.
    ///
    /// # Errors
    /// Only what the device reports.
    pub fn apply<D: Device>(self, d: &D, x: &mut D::Buf, first: u64) -> Result<(), ExecError> {
        match self {
            Self::Even(draw) => d.keep_random(x, draw, first),
            Self::Ranked { draw, width } => d.keep_ranked(x, width, draw, first),
        }
    }
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
    /// Cuts in the order of what was asked for.
    Cuts(Vec<Cut>),
    /// Cuts of an importance, and the divergence of each row.
    CutRows(Vec<Cut>, Vec<f32>),
    /// Cuts, and the sums that the band leaves.
    CutSums(Vec<Cut>, AbsSums),
    /// A cut, and the sum of squares of each model.
    CutSquares(Cut, Vec<f64>),
    /// Of a random drop.
    DrawSums(AbsSums),
    /// Of each model.
    Overlap(Vec<Overlap>),
}

/// One block of a tensor: the same elements of every input.
#[derive(Debug)]
pub struct Block<'a> {
    /// The models in order; without the base where the method takes differences from it.
    pub models: &'a [Chunk<'a>],
    /// The base, where the method takes differences from it.
    pub base: Option<Chunk<'a>>,
    /// What stands beside the models, for each of them: the same elements of its importance, or the whole of its Gram
    /// matrix.
    pub beside: &'a [Chunk<'a>],
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
        self.base.unwrap_or(Chunk::NOTHING)
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

    /// Makes of what stands beside the models and is read whole the operator that blocks are merged with, if that is
    /// another one; once for each tensor, on the host. May stop as soon as `go_on` says no, with any result.
    ///
    /// # Errors
    /// If nothing can be made of it.
    fn begin(
        &self,
        whole: &[Chunk<'_>],
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn AnyOperator>>, Invalid> {
        let _ = (whole, go_on);
        Ok(None)
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
pub trait AnyOperator: RunsOn<Cpu> + RunsOn<Cuda> + Debug + Send + Sync {
    /// [`Operator::needs`].
    fn stats(&self) -> Vec<Stat>;
    /// [`Operator::grain`], at least 1.
    fn run_length(&self) -> usize;
    /// [`Operator::begin`].
    ///
    /// # Errors
    /// As there.
    fn begun(
        &self,
        whole: &[Chunk<'_>],
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn AnyOperator>>, Invalid>;
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

    fn begun(
        &self,
        whole: &[Chunk<'_>],
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn AnyOperator>>, Invalid> {
        self.begin(whole, go_on)
    }

    fn settled(&self, measured: Vec<Measured>) -> Vec<Measured> {
        self.settle(measured)
    }
}
