//! The narrow waist between methods and machines: some thirty primitives on blocks of f32.
//!
//! A method is written once over [`Device`]; a backend is one file that implements it. Element types
//! exist only in [`Device::load`] and [`Device::store`]; everything between is f32, sums are f64.
//!
//! **The same bytes on every device.** Every primitive rounds after each operation (no fused
//! multiply-add), sums run in a fixed order (see [`LANES`]), selection is by integer counting, random
//! numbers come from a counter ([`philox`]). Two devices may differ in nothing, not even the last bit.

pub mod cpu;
pub mod cuda;
mod importance;
mod kernels;
pub mod philox;
mod power;
mod ranks;
mod simd;

pub use power::power;

pub use importance::{Importance, ModelImportance, Power};

use crate::checkpoint::DType;
use crate::problem::ExecError;

/// Elements in a line of a tensor that is merged element by element. A sum over a tensor adds the
/// sums of its lines in order, so the result does not depend on where blocks begin.
pub const LINE: usize = 4096;

/// Elements in a unit, the run of a tensor that one worker takes at a time. Part of the numbers'
/// definition: sums over a tensor add the sums of its units in order.
pub const UNIT: usize = 128 * LINE;

/// A line is summed in this many interleaved lanes: lane `j` takes elements `j, j + LANES, …`; then
/// the lanes are added pairwise, halves onto halves.
pub const LANES: usize = 32;

/// A run of elements of a stored tensor, as they lie in the file: little-endian, maybe unaligned.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Element type of `bytes`.
    pub dtype: DType,
    /// `dtype.size()` bytes an element.
    pub bytes: &'a [u8],
}

impl Chunk<'_> {
    /// No elements.
    pub const NOTHING: Self = Self { dtype: DType::F32, bytes: &[] };

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Magnitudes to count. The key of a value is its bit pattern without the sign; for non-negative
/// floats the order of keys is the order of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First key of bin 0, a multiple of `1 << shift`.
    pub low: u32,
    /// A bin spans `1 << shift` keys.
    pub shift: u32,
    /// Number of bins.
    pub bins: usize,
}

impl Window {
    /// Every finite or infinite magnitude, in 32768 bins; exact for bf16 values.
    pub const ALL: Self = Self { low: 0, shift: 16, bins: 1 << 15 };

    /// The first key above the window.
    pub fn high(&self) -> u64 {
        u64::from(self.low) + ((self.bins as u64) << self.shift)
    }
}

/// What is known of magnitudes beside their bins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// How many lie above the window.
    pub above: u64,
    /// The bits that bins leave out (the lowest `shift`), of all keys in the window, or-ed. Zero says
    /// that each bin holds a single key: differences of 16-bit floats have few bits, so that wide bins
    /// are often exact.
    pub residue: u32,
}

impl Outside {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { above: self.above + other.above, residue: self.residue | other.residue }
    }
}

/// Which elements of a delta survive trimming: the keys above `key`, and of those equal to it the
/// ones at flat index `last` or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The smallest key that is kept.
    pub key: u32,
    /// Flat index in the tensor of the last kept element with that key.
    pub last: u64,
}

impl Cut {
    /// Keeps everything.
    pub const NONE: Self = Self { key: 0, last: u64::MAX };

    /// Keeps nothing: there is no such key.
    pub const WHOLE: Self = Self { key: u32::MAX, last: 0 };
}

/// A random drop, fixed by its key: element `i` is kept where the `i`-th draw is below `keep_below`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Key of the counter-based generator: seed, tensor and model in one number.
    pub key: u64,
    /// Draws are 24-bit integers; this is `ceil(density * 2^24)`.
    pub keep_below: u32,
}

impl Draw {
    /// Keeps an element with probability `density`, which must be in `[0, 1]`.
    pub fn new(key: u64, density: f64) -> Self {
        Self { key, keep_below: (density * f64::from(1u32 << 24)).ceil() as u32 }
    }
}

/// A random drop that spares the large: in each row, with its elements in ascending order of magnitude,
/// among equals the lower index first, the element of rank `r` of `n` (from 0) is kept where its draw, as
/// a fraction of one, is below `density - epsilon + 2 · epsilon · r / (n - 1)`; a row of one element has
/// the chance `density`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedDraw {
    /// Key of the counter-based generator, as of [`Draw`].
    pub key: u64,
    /// The mean chance to stay.
    pub density: f64,
    /// How far chances depart from it.
    pub epsilon: f64,
}

/// Who votes in [`Device::elect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// The weighted deltas.
    Weighted,
    /// The deltas as they are.
    Plain,
}

/// How many elements a model changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// That another model changes too.
    pub shared: u64,
    /// That no other model changes.
    pub alone: u64,
}

/// What [`Device::elect`] divides the sum of the agreeing deltas by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Divisor {
    /// Nothing: the weighted sum.
    One,
    /// The weights of the models that agree on the element; 1 where they sum to zero.
    AgreeingWeights,
    /// The same, but at least this much.
    AgreeingWeightsFrom(f32),
}

/// Whether all stored elements are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finiteness {
    /// No NaN and no infinity.
    Finite,
    /// At least one NaN or infinity.
    NonFinite,
}

/// The primitives. `Buf` is a block of f32 in the device's memory; two buffers that meet in one call
/// have the same length, which callers guarantee.
pub trait Device: Sync {
    /// A block of f32.
    type Buf: Send;

    /// How many elements a block should have: cache-sized on a CPU, tens of millions on a GPU.
    fn block_elements(&self) -> usize;

    /// Is told by a thread that it needs the device no more.
    fn leave(&self) {}

    /// A block of zeros.
    fn zeros(&self, len: usize) -> Result<Self::Buf, ExecError>;

    /// Any floating dtype to f32; f64 rounds to nearest.
    fn load(&self, x: Chunk<'_>) -> Result<Self::Buf, ExecError>;

    /// `x - base`, rounded once.
    fn delta(&self, x: Chunk<'_>, base: &Self::Buf) -> Result<Self::Buf, ExecError>;

    /// `acc += w * x`, rounded after the product and after the sum.
    fn add_scaled(&self, acc: &mut Self::Buf, w: f32, x: Chunk<'_>) -> Result<(), ExecError>;

    /// `acc += w * x` for a block that is loaded already.
    fn axpy(&self, acc: &mut Self::Buf, w: f32, x: &Self::Buf) -> Result<(), ExecError>;

    /// `x *= factor`.
    fn scale(&self, x: &mut Self::Buf, factor: f32) -> Result<(), ExecError>;

    /// `x /= divisor`; not the same as scaling by the reciprocal.
    fn divide(&self, x: &mut Self::Buf, divisor: f32) -> Result<(), ExecError>;

    /// `acc += x`.
    fn add(&self, acc: &mut Self::Buf, x: &Self::Buf) -> Result<(), ExecError>;

    /// Multiplies each row of `width` elements by its factor. The block holds whole rows.
    fn scale_rows(&self, x: &mut Self::Buf, width: usize, factors: &[f32]) -> Result<(), ExecError>;

    /// Multiplies each column by its factor. The block holds whole rows of `factors.len()` elements.
    fn scale_columns(&self, x: &mut Self::Buf, factors: &[f32]) -> Result<(), ExecError>;

    /// A block of rows of `width` elements, each the row's value.
    fn repeat_rows(&self, values: &[f32], width: usize) -> Result<Self::Buf, ExecError>;

    /// `x /= y`, element by element; where the magnitude of `y` is below `least`, `x` stays as it is.
    fn divide_each(&self, x: &mut Self::Buf, y: &Self::Buf, least: f32) -> Result<(), ExecError>;

    /// `x · y` of each line of `line` elements, the products exact and the sums in f64.
    fn line_dots(&self, x: &Self::Buf, y: &Self::Buf, line: usize) -> Result<Vec<f64>, ExecError>;

    /// Adds to each sum `x · y` of its column, row after row, the products exact and the sums in f64. The
    /// block holds whole rows of `sums.len()` elements.
    fn add_column_dots(&self, x: &Self::Buf, y: &Self::Buf, sums: &mut [f64]) -> Result<(), ExecError>;

    /// `Σ|x|` of each line in f64.
    fn line_abs_sums(&self, x: &Self::Buf, line: usize) -> Result<Vec<f64>, ExecError>;

    /// Adds to `bins[b]` the number of elements with a key in bin `b` of `window`, and returns what
    /// the bins do not tell. NaN counts as above infinity.
    fn abs_counts(&self, x: &Self::Buf, window: Window, bins: &mut [u32]) -> Result<Outside, ExecError>;

    /// For each line of `line` elements, how many have exactly this key.
    fn equal_counts(&self, x: &Self::Buf, key: u32, line: usize) -> Result<Vec<u32>, ExecError>;

    /// Sets to zero what `cut` drops. `first` is the flat index of the block's first element.
    fn keep_largest(&self, x: &mut Self::Buf, cut: Cut, first: u64) -> Result<(), ExecError>;

    /// Sets to zero what `cut` would keep. `first` is the flat index of the block's first element.
    fn drop_largest(&self, x: &mut Self::Buf, cut: Cut, first: u64) -> Result<(), ExecError>;

    /// Sets to zero where `mask` is zero, of either sign.
    fn keep_where(&self, x: &mut Self::Buf, mask: &Self::Buf) -> Result<(), ExecError>;

    /// Sets to zero what `draw` drops. `first` is the flat index of the block's first element.
    fn keep_random(&self, x: &mut Self::Buf, draw: Draw, first: u64) -> Result<(), ExecError>;

    /// Sets to zero what `draw` drops. The block holds whole rows of `width` elements; `first` is the flat
    /// index of its first element.
    fn keep_ranked(
        &self,
        x: &mut Self::Buf,
        width: usize,
        draw: RankedDraw,
        first: u64,
    ) -> Result<(), ExecError>;

    /// The TIES vote (Yadav et al. 2023, section 3): of the weighted deltas `w_i * d_i`, an element
    /// takes the sum of those whose sign is that of the sum of all votes; a zero sum counts as positive.
    fn elect(
        &self,
        deltas: &[Self::Buf],
        weights: &[f32],
        vote: Vote,
        divisor: Divisor,
    ) -> Result<Self::Buf, ExecError>;

    /// [`Device::elect`] where every element has weights of its own, `weights[i]` of `weighted[i]`, which was multiplied with
    /// them already: those vote whose sign is that of the sum, and their sum is divided as asked for.
    fn elect_weighted(
        &self,
        weighted: &[Self::Buf],
        weights: &[Self::Buf],
        divisor: Divisor,
    ) -> Result<Self::Buf, ExecError>;

    /// The population variance of each element over the blocks, in f64, rounded once.
    fn variance(&self, x: &[Self::Buf]) -> Result<Self::Buf, ExecError>;

    /// The mean of each element over the blocks, weighted by `wᵢ · max(fᵢ / dᵢ, floor)^e` with its importance `fᵢ` in
    /// each; where all of these are zero, by `wᵢ`. In f64, blocks in order, rounded once.
    fn mean_by_importance(
        &self,
        x: &[Self::Buf],
        importance: &[Self::Buf],
        by: &Importance,
    ) -> Result<Self::Buf, ExecError>;

    /// NearSwap: `x` goes `w = t · (1 / max(|x - y|, 10⁻⁶))` of the way to `y`, `w` held in `[0, 1]`, as
    /// `w · y + (1 - w) · x`; every operation rounds.
    fn near_swap(&self, x: &mut Self::Buf, y: &Self::Buf, t: f32) -> Result<(), ExecError>;

    /// RAM (arXiv 2601.13572): of the deltas above `epsilon` in magnitude, an element takes the mean, or
    /// where there is only one, that delta times its factor of `alone`. Each is divided, then summed.
    fn pool(&self, deltas: &[Self::Buf], epsilon: f32, alone: &[f32]) -> Result<Self::Buf, ExecError>;

    /// How many deltas above `epsilon` in magnitude each model shares with others, or has alone.
    fn overlaps(&self, deltas: &[Self::Buf], epsilon: f32) -> Result<Vec<Overlap>, ExecError>;

    /// For each row of `width` elements the divergence of Kullback and Leibler `Σ p · ln(p / q)`, with
    /// `p` and `q` the softmax of the row of `x` and of `y`, each plus 10⁻⁸; in f64, never below zero.
    /// The block holds whole rows.
    fn row_divergences(&self, x: &Self::Buf, y: &Self::Buf, width: usize) -> Result<Vec<f64>, ExecError>;

    /// f32 to `dtype`, to nearest, ties to even, into `dtype.size()` bytes an element.
    fn store(&self, x: &Self::Buf, dtype: DType, out: &mut [u8]) -> Result<Finiteness, ExecError>;
}
